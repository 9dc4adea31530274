//! `#[runs(guest, arm64)]` in place of `#[test]`: where a test must run. The test is written once; for each word there is
//! a test of libtest's named `<name>::on_<word>`, by which the lane runner (`integration-tests/src/lane.rs`) picks it out.
//!
//! A plain `#[test]` runs in the two lanes that run everything, on the host and in the guest. The words:
//! `host`, `guest`, `trixie`, `arm64`, `v1` - in that lane alone; `everywhere` - the core of the suite, in every lane;
//! `cgroups` - as `everywhere`, but for the lane in which there are no cgroups.

use proc_macro::{TokenStream, TokenTree};

/// The words, and whether a plain `cargo test` (which is the host's lane without its name) runs such a test.
const WORDS: [(&str, bool); 7] = [
    ("host", true),
    ("guest", false),
    ("trixie", false),
    ("arm64", false),
    ("v1", false),
    ("everywhere", true),
    ("cgroups", true),
];

/// See the crate.
///
/// ```
/// #[skiff_lanes::runs(host, everywhere)]
/// fn a_container_ends() {}
/// ```
///
/// ```compile_fail
/// #[skiff_lanes::runs(moon)]
/// fn a_container_ends() {}
/// ```
///
/// ```compile_fail
/// #[skiff_lanes::runs]
/// fn a_container_ends() {}
/// ```
#[proc_macro_attribute]
pub fn runs(words: TokenStream, test: TokenStream) -> TokenStream {
    match expand(&words.to_string(), &test) {
        Ok(modules) => {
            let modules: TokenStream = modules.parse().expect("the words are checked and the name is an identifier");
            test.into_iter().chain(modules).collect()
        }
        Err(complaint) => format!("compile_error!({complaint:?});").parse().expect("a string literal"),
    }
}

fn expand(words: &str, test: &TokenStream) -> Result<String, String> {
    let name = function(test).ok_or("`#[runs(...)]` stands before a function")?;
    let mut tests = String::new();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let known = WORDS.iter().find(|(known, _)| *known == word);
        let Some((_, plain)) = known else {
            let all: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            return Err(format!("`{word}` is no lane's word; there are {}", all.join(", ")));
        };
        let ignore = if *plain { String::new() } else { format!("#[ignore = \"runs in lane {word}\"]") };
        tests.push_str(&format!("#[test] {ignore} fn on_{word}() {{ super::{name}() }} "));
    }
    if tests.is_empty() {
        return Err("`#[runs(...)]` names at least one lane".to_owned());
    }
    Ok(format!("#[cfg(test)] mod {name} {{ {tests} }}"))
}

/// The name of the first function among the tokens: attributes, visibility and `fn` stand before it.
fn function(test: &TokenStream) -> Option<String> {
    let mut tokens = test.clone().into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    tokens.next().map(|name| name.to_string())
}
