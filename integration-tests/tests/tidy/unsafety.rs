//! Where unsafe code may stand: the `sys` room of a wing, and the bare programs that the benchmarks measure against.

use proc_macro2::{TokenStream, TokenTree};

const ROOMS: [&str; 6] = [
    "runtime/src/sys/",
    "shim/src/sys/",
    "integration-tests/src/sys/",
    "integration-tests/src/bin/bare-syscalls",
    "integration-tests/src/bin/empty.rs",
    "integration-tests/src/bin/without/",
];

pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    if ROOMS.iter().any(|room| path.starts_with(room)) {
        return Vec::new();
    }
    let tokens: TokenStream = text.parse().unwrap_or_default();
    let mut lines = Vec::new();
    find(tokens, &mut lines);
    lines.iter().map(|line| format!("{path}:{line}: unsafe code outside a `sys` room")).collect()
}

fn find(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => find(group.stream(), lines),
            TokenTree::Ident(word) if word == "unsafe" => lines.push(word.span().start().line),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_counts() {
        let quiet = "#![deny(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";";
        assert!(check("runtime/src/lib.rs", quiet).is_empty());
        let loud =
            "fn a() {\n    unsafe { b() }\n}\nmacro_rules! m { () => { unsafe { c() } } }\nunsafe impl Send for D {}";
        assert_eq!(check("runtime/src/init.rs", loud).len(), 3);
        assert!(check("runtime/src/sys/clone.rs", loud).is_empty());
        assert_eq!(check("runtime/src/sys.rs", loud).len(), 3, "the room's door has no unsafe code");
    }
}
