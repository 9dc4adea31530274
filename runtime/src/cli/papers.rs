//! The manual page and the completions of shells, made of the help that the program prints, so that none of them says
//! anything else. They are in `configs/`; `cargo run -p skiff --example papers` makes them anew, and a test compares.

mod bash;
mod fish;
mod man;
mod zsh;

use super::args;

/// Each file's path below `configs/`, and its text.
#[must_use]
pub fn papers() -> Vec<(&'static str, String)> {
    let help = Help::read();
    vec![
        ("man/skiff.8", man::page(&help)),
        ("completions/skiff.bash", bash::script(&help)),
        ("completions/_skiff", zsh::script(&help)),
        ("completions/skiff.fish", fish::script(&help)),
    ]
}

/// The help, read.
struct Help {
    /// Options before the verb.
    global: Vec<Flag>,
    verbs: Vec<Verb>,
}

/// A command.
struct Verb {
    name: String,
    /// What the overview says.
    line: String,
    /// What its own help says.
    text: String,
    /// `ID`, `[OPTIONS] ID COMMAND`, …; one or several forms.
    forms: Vec<String>,
    flags: Vec<Flag>,
}

/// An option.
struct Flag {
    short: Option<char>,
    long: String,
    value: Option<String>,
    text: String,
}

/// What stands in the place of an option's value.
enum Value<'a> {
    Folder,
    File,
    /// One of these.
    Words(Vec<&'a str>),
    /// Nobody knows.
    Any,
}

impl Help {
    fn read() -> Self {
        let overview = args::overview();
        let verbs = section(&overview, "Commands:").lines().filter_map(|line| {
            let (name, line) = line.trim().split_once(' ')?;
            Some(Verb::read(name, line.trim()))
        });
        Self { global: flags(section(&overview, "Global options:")), verbs: verbs.collect() }
    }
}

impl Verb {
    fn read(name: &str, line: &str) -> Self {
        let help = args::verb_help(name);
        let (text, rest) = help.split_once("\n\nUsage: ").unwrap_or((&help, ""));
        let usage = rest.lines().next().unwrap_or_default();
        let forms = usage.split(" | ").map(|form| form.trim_start_matches("skiff ").trim_start_matches(name).trim());
        Self {
            name: name.to_owned(),
            line: line.to_owned(),
            text: text.to_owned(),
            forms: forms.map(str::to_owned).collect(),
            flags: flags(section(rest, "Options:")),
        }
    }

    /// Whether a container's id comes next.
    fn takes_id(&self) -> bool {
        !matches!(self.name.as_str(), "create" | "run") && self.forms.iter().any(|form| form.contains("ID"))
    }
}

impl Flag {
    fn value(&self) -> Option<Value<'_>> {
        Some(match self.value.as_deref()? {
            "DIR" => Value::Folder,
            "FILE" | "PATH" => Value::File,
            words if words.contains('|') => Value::Words(words.split('|').collect()),
            _ => Value::Any,
        })
    }

    /// As it is typed: the short form, if there is one, and the long one.
    fn words(&self) -> Vec<String> {
        self.short.map(|short| format!("-{short}")).into_iter().chain([format!("--{}", self.long)]).collect()
    }
}

/// The lines below a heading, to the next empty one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let after = text.split_once(&format!("{heading}\n")).map_or("", |(_, after)| after);
    after.split_once("\n\n").map_or(after, |(lines, _)| lines)
}

/// `  -b, --bundle DIR         folder of config.json [.]`, with what is indented further below.
fn flags(lines: &str) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for line in lines.lines() {
        let begins = line.starts_with("  -");
        match flags.last_mut() {
            Some(flag) if !begins => {
                let space = if flag.text.is_empty() { "" } else { " " };
                flag.text.push_str(&format!("{space}{}", line.trim()));
            }
            _ => flags.extend(flag(line.trim())),
        }
    }
    flags
}

fn flag(line: &str) -> Option<Flag> {
    let (names, text) = line.split_once("  ").unwrap_or((line, ""));
    let (short, names) = match names.split_once(", ") {
        Some((short, names)) => (short.strip_prefix('-').and_then(|short| short.chars().next()), names),
        None => (None, names),
    };
    let long = names.strip_prefix("--")?;
    // `--no-new-privs[=false]` may have a value and is complete without.
    let long = long.split_once('[').map_or(long, |(long, _)| long);
    let (long, value) = long.split_once(' ').map_or((long, None), |(long, value)| (long, Some(value.to_owned())));
    Some(Flag { short, long: long.to_owned(), value, text: text.trim().to_owned() })
}

/// For a word within single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', r"'\''")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_is_read_whole() {
        let help = Help::read();
        let global: Vec<&str> = help.global.iter().map(|flag| flag.long.as_str()).collect();
        assert_eq!(global[..4], ["root", "log", "log-format", "debug"]);
        let names: Vec<&str> = help.verbs.iter().map(|verb| verb.name.as_str()).collect();
        assert!(names.contains(&"create") && names.contains(&"features"), "{names:?}");
        let verb = |name: &str| help.verbs.iter().find(|verb| verb.name == name).unwrap();
        let bundle = &verb("create").flags[0];
        assert_eq!((bundle.short, bundle.long.as_str(), bundle.value.as_deref()), (Some('b'), "bundle", Some("DIR")));
        assert_eq!(verb("exec").forms.len(), 2);
        let process = &verb("exec").flags[0];
        assert!(process.text.contains("the rest") || process.text.contains("for the rest"), "{}", process.text);
        let privileges = verb("exec").flags.iter().find(|flag| flag.long == "no-new-privs").unwrap();
        assert!(privileges.value.is_none());
        assert!(verb("kill").takes_id() && !verb("run").takes_id() && !verb("features").takes_id());
        for verb in &help.verbs {
            assert!(!verb.text.is_empty() && !verb.line.is_empty(), "{}", verb.name);
            assert!(verb.flags.iter().all(|flag| !flag.text.is_empty() || verb.name == "update"), "{}", verb.name);
        }
    }

    /// As they were when this was compiled: the test may run where the sources are not.
    const THERE: [&str; 4] = [
        include_str!("../../../configs/man/skiff.8"),
        include_str!("../../../configs/completions/skiff.bash"),
        include_str!("../../../configs/completions/_skiff"),
        include_str!("../../../configs/completions/skiff.fish"),
    ];

    #[test]
    fn what_lies_in_configs_is_this() {
        for ((path, text), there) in papers().into_iter().zip(THERE) {
            assert!(
                there == text,
                "configs/{path} is not what the help says; run `cargo run -p skiff --example papers`"
            );
        }
    }
}
