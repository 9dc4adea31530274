//! For fish, whose completions are one command for each word.

use super::{Flag, Help, Value, quoted};
use std::fmt::Write as _;

/// The script.
pub(super) fn script(help: &Help) -> String {
    let names: Vec<&str> = help.verbs.iter().map(|verb| verb.name.as_str()).collect();
    let mut script = format!(
        "# fish completion for skiff(8). Made of its help; changes would be lost.
complete -c skiff -f
set -l verbs {}
",
        names.join(" ")
    );
    let none = "not __fish_seen_subcommand_from $verbs";
    help.global.iter().for_each(|flag| option(&mut script, none, flag));
    for verb in &help.verbs {
        let _never_fails =
            writeln!(script, "complete -c skiff -n \"{none}\" -a {} -d '{}'", verb.name, quoted(&verb.line));
        let seen = format!("__fish_seen_subcommand_from {}", verb.name);
        if verb.takes_id() {
            let _never_fails =
                writeln!(script, "complete -c skiff -n \"{seen}\" -a '(skiff list --quiet 2>/dev/null)'");
        }
        verb.flags.iter().for_each(|flag| option(&mut script, &seen, flag));
    }
    script
}

fn option(script: &mut String, condition: &str, flag: &Flag) {
    let short = flag.short.map(|short| format!(" -s {short}")).unwrap_or_default();
    let value = match flag.value() {
        None => String::new(),
        Some(Value::Folder) => " -x -a '(__fish_complete_directories)'".to_owned(),
        Some(Value::File) => " -r -F".to_owned(),
        Some(Value::Words(words)) => format!(" -x -a '{}'", words.join(" ")),
        Some(Value::Any) => " -x".to_owned(),
    };
    let text = quoted(&flag.text);
    let _never_fails =
        writeln!(script, "complete -c skiff -n \"{condition}\"{short} -l {}{value} -d '{text}'", flag.long);
}
