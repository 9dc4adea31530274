//! For zsh, by its function `_arguments`.

use super::{Flag, Help, Value, quoted};
use std::fmt::Write as _;

/// The script.
pub(super) fn script(help: &Help) -> String {
    let mut script = "#compdef skiff
# zsh completion for skiff(8). Made of its help; changes would be lost.
_skiff_ids() {
    local -a ids
    ids=(${(f)\"$(_call_program ids skiff list --quiet 2>/dev/null)\"})
    _describe -t containers container ids
}
_skiff() {
    local context state state_descr line curcontext=$curcontext
    typeset -A opt_args
    _arguments -C \\\n"
        .to_owned();
    help.global.iter().for_each(|flag| argument(&mut script, flag, "        "));
    script.push_str("        '1: :->verb' '*:: :->rest' && return\n    case $state in\n        verb)\n            local -a verbs=(\n");
    for verb in &help.verbs {
        let _never_fails = writeln!(script, "                '{}:{}'", verb.name, quoted(&verb.line));
    }
    script.push_str("            )\n            _describe -t commands command verbs ;;\n        rest)\n            case $line[1] in\n");
    for verb in &help.verbs {
        let _never_fails = write!(script, "                {})\n                    _arguments \\\n", verb.name);
        verb.flags.iter().for_each(|flag| argument(&mut script, flag, "                        "));
        let rest =
            if verb.takes_id() { "'1:container:_skiff_ids' '*:argument:_normal'" } else { "'*:argument:_files'" };
        let _never_fails = writeln!(script, "                        {rest} ;;");
    }
    script.push_str("            esac ;;\n    esac\n}\n_skiff \"$@\"\n");
    script
}

fn argument(script: &mut String, flag: &Flag, indent: &str) {
    let text = quoted(&flag.text.replace('[', "(").replace(']', ")").replace(':', "\\:"));
    let value = match flag.value() {
        None => String::new(),
        Some(Value::Folder) => ":folder:_files -/".to_owned(),
        Some(Value::File) => ":file:_files".to_owned(),
        Some(Value::Words(words)) => format!(":word:({})", words.join(" ")),
        Some(Value::Any) => ":value: ".to_owned(),
    };
    for word in flag.words() {
        let _never_fails = writeln!(script, "{indent}'{word}[{text}]{value}' \\");
    }
}
