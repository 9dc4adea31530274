//! Caps on files and functions. Source text is read as tokens, so that comments and strings hide no brace.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

const FILE: usize = 600;
const FUNCTION: usize = 90;
const MAIN: usize = 100;
const TESTS_INSIDE: usize = 100;

pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    let tokens: TokenStream = match text.parse() {
        Ok(tokens) => tokens,
        Err(error) => return vec![format!("{path}: is not Rust: {error}")],
    };
    let mut found = Found::default();
    found.walk(&tokens.into_iter().collect::<Vec<_>>());
    let mut complaints = Vec::new();
    for (name, line, lines) in &found.functions {
        cap(&mut complaints, *lines, FUNCTION, &format!("{path}:{line}: function `{name}`"));
    }
    let tests: usize = found.tests.iter().sum();
    let all_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    if !all_tests || path.starts_with("integration-tests/tests/") {
        let limit = if path.ends_with("/main.rs") && !path.contains("/tests/") { MAIN } else { FILE };
        cap(&mut complaints, text.lines().count() - tests, limit, &format!("{path}: file without its tests"));
        cap(&mut complaints, tests, TESTS_INSIDE, &format!("{path}: tests inside (move them to a sibling `tests.rs`)"));
    }
    complaints
}

fn cap(complaints: &mut Vec<String>, lines: usize, limit: usize, what: &str) {
    if lines > limit {
        complaints.push(format!("{what} has {lines} lines; the cap is {limit}"));
    }
}

#[derive(Default)]
struct Found {
    /// Name, first line, lines.
    functions: Vec<(String, usize, usize)>,
    /// Lines of each `mod tests { … }`.
    tests: Vec<usize>,
}

impl Found {
    fn walk(&mut self, tokens: &[TokenTree]) {
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.walk(&group.stream().into_iter().collect::<Vec<_>>()),
                TokenTree::Ident(word) if word == "fn" => self.function(tokens, at),
                TokenTree::Ident(word) if word == "mod" => self.test_module(tokens, at),
                _ => {}
            }
        }
    }

    /// A function is `fn`, a name, and the first braces before a semicolon; `fn(u8)` is a type.
    fn function(&mut self, tokens: &[TokenTree], at: usize) {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return };
        for token in &tokens[at + 2..] {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ';' => return,
                TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                    let first = tokens[at].span().start().line;
                    self.functions.push((name.to_string(), first, last_line(body) + 1 - first));
                    return;
                }
                _ => {}
            }
        }
    }

    fn test_module(&mut self, tokens: &[TokenTree], at: usize) {
        if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) = (tokens.get(at + 1), tokens.get(at + 2)) {
            if name == "tests" {
                // The line of `#[cfg(test)]` counts too.
                self.tests.push(last_line(body) + 2 - tokens[at].span().start().line);
            }
        }
    }
}

fn last_line(group: &Group) -> usize {
    group.span_close().end().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("fn long() {{ // }}\n{}}}\n", "    let _text = \"{\";\n".repeat(lines - 2))
    }

    fn complaints(path: &str, text: &str) -> usize {
        check(path, text).len()
    }

    #[test]
    fn functions() {
        assert_eq!(complaints("runtime/src/a.rs", &function_of(FUNCTION)), 0);
        assert_eq!(complaints("runtime/src/a.rs", &function_of(FUNCTION + 1)), 1);
        assert_eq!(complaints("runtime/src/a.rs", &format!("impl A {{ {} }}", function_of(FUNCTION + 1))), 1);
        assert_eq!(complaints("runtime/src/a/tests.rs", &function_of(FUNCTION + 1)), 1);
        assert_eq!(check("a.rs", "trait A { fn declared(f: fn(u8)); }\nstruct B {}"), Vec::<String>::new());
    }

    #[test]
    fn files() {
        let lines = |count: usize| "const _: u8 = 1;\n".repeat(count);
        assert_eq!(complaints("runtime/src/a.rs", &lines(FILE)), 0);
        assert_eq!(complaints("runtime/src/a.rs", &lines(FILE + 1)), 1);
        assert_eq!(complaints("integration-tests/tests/runtime/a.rs", &lines(FILE + 1)), 1);
        assert_eq!(complaints("runtime/src/a/tests.rs", &lines(FILE + 1)), 0);
        assert_eq!(complaints("runtime/src/main.rs", &lines(MAIN + 1)), 1);
        let tests = |count: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(count - 3));
        assert_eq!(complaints("runtime/src/a.rs", &(lines(FILE) + &tests(TESTS_INSIDE))), 0);
        assert_eq!(complaints("runtime/src/a.rs", &tests(TESTS_INSIDE + 1)), 1);
        assert_eq!(complaints("runtime/src/a.rs", "fn {"), 1);
    }
}
