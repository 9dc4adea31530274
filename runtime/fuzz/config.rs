//! libFuzzer's target: any bytes as a `config.json`.
#![no_main]

mod rooms;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Err(message) = rooms::decide(text) {
        assert!(!message.is_empty(), "refused without a word");
    }
});
