//! For bash, with nothing but what bash itself has.

use super::{Flag, Help, Value};
use std::fmt::Write as _;

/// The script.
pub(super) fn script(help: &Help) -> String {
    let names: Vec<&str> = help.verbs.iter().map(|verb| verb.name.as_str()).collect();
    let mut script = format!(
        "# bash completion for skiff(8). Made of its help; changes would be lost.
_skiff() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} verb='' root=() i
    COMPREPLY=()
    # bash takes a word apart at `=`.
    [[ $current != = ]] || current=''
    [[ $previous != = ]] || previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            --root) [[ ${{COMP_WORDS[i + 1]}} = '=' ]] && ((i++)); root=(--root \"${{COMP_WORDS[i + 1]}}\") ;;&
            {}) [[ ${{COMP_WORDS[i + 1]}} = '=' ]] && ((i++)); ((i++)) ;;
            -*) ;;
            *) verb=${{COMP_WORDS[i]}} && break ;;
        esac
    done
    case $verb:$previous in
",
        with_values(&help.global, "")
    );
    values(&mut script, "", &help.global);
    help.verbs.iter().for_each(|verb| values(&mut script, &verb.name, &verb.flags));
    script.push_str("    esac\n    case $verb:$current in\n");
    options(&mut script, "", &help.global);
    help.verbs.iter().for_each(|verb| options(&mut script, &verb.name, &verb.flags));
    let _never_fails =
        writeln!(script, "        :*) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\") ;;", names.join(" "));
    let ids: Vec<String> =
        help.verbs.iter().filter(|verb| verb.takes_id()).map(|verb| format!("{}:*", verb.name)).collect();
    let _never_fails = write!(
        script,
        "        {})
            mapfile -t COMPREPLY < <(compgen -W \"$(skiff \"${{root[@]}}\" list --quiet 2>/dev/null)\" -- \"$current\") ;;
    esac
}}
complete -o default -F _skiff skiff
",
        ids.join(" | ")
    );
    script
}

fn with_values(flags: &[Flag], verb: &str) -> String {
    let words = flags.iter().filter(|flag| flag.value.is_some()).flat_map(Flag::words);
    let words: Vec<String> = words.map(|word| if verb.is_empty() { word } else { format!("{verb}:{word}") }).collect();
    words.join(" | ")
}

/// What comes after an option that takes a value.
fn values(script: &mut String, verb: &str, flags: &[Flag]) {
    for flag in flags {
        let Some(value) = flag.value() else { continue };
        let patterns: Vec<String> = flag.words().iter().map(|word| format!("{verb}:{word}")).collect();
        let made = match value {
            Value::Folder => "compgen -d -- \"$current\"".to_owned(),
            Value::File => "compgen -f -- \"$current\"".to_owned(),
            Value::Words(words) => format!("compgen -W '{}' -- \"$current\"", words.join(" ")),
            Value::Any => "true".to_owned(),
        };
        let _never_fails =
            writeln!(script, "        {}) mapfile -t COMPREPLY < <({made}) && return ;;", patterns.join(" | "));
    }
}

fn options(script: &mut String, verb: &str, flags: &[Flag]) {
    // The help of a verb does not name itself.
    let help = (!verb.is_empty()).then(|| "--help".to_owned());
    let words: Vec<String> = flags.iter().flat_map(Flag::words).chain(help).collect();
    let _never_fails = writeln!(
        script,
        "        {verb}:-*) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\") ;;",
        words.join(" ")
    );
}
