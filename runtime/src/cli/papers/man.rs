//! skiff(8), in the macros of man(7).

use super::{Flag, Help, Verb};

/// The page.
pub(super) fn page(help: &Help) -> String {
    let mut page = format!(".TH SKIFF 8 \"\" \"skiff {}\" \"System Manager's Manual\"\n", env!("CARGO_PKG_VERSION"));
    page.push_str(".SH NAME\nskiff \\- run OCI containers on one small Linux machine\n");
    page.push_str(
        ".SH SYNOPSIS\n.B skiff\n.RI [ \"GLOBAL OPTIONS\" ]\n.I COMMAND\n.RI [ OPTIONS ]\n.RI [ ARGUMENTS ]\n",
    );
    page.push_str(".SH DESCRIPTION\n");
    for paragraph in DESCRIPTION {
        page.push_str(&format!("{}\n.PP\n", text(paragraph)));
    }
    page.push_str(".SH GLOBAL OPTIONS\n");
    help.global.iter().for_each(|flag| page.push_str(&option(flag)));
    page.push_str(".SH COMMANDS\n");
    help.verbs.iter().for_each(|verb| page.push_str(&command(verb)));
    for (heading, entries) in [("EXIT STATUS", EXIT), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
        page.push_str(&format!(".SH {heading}\n"));
        for (term, words) in entries {
            page.push_str(&format!(".TP\n.B {}\n{}\n", text(term), text(words)));
        }
    }
    page.push_str(
        ".SH SEE ALSO\n.BR runc (8),\n.BR crun (1),\n.BR cgroups (7),\n.BR namespaces (7),\n.BR sd_notify (3)\n",
    );
    page
}

const DESCRIPTION: &[&str] = &[
    "Makes containers from bundles: a folder with a root file system and a config.json, as the OCI runtime specification describes it. \
     What the configuration asks for is applied, or the container is not made and the message names the property. Verbs, options, output \
     and exit status are those of runc, in whose place it can be used.",
    "It is executed for each command and ends with it; only run in the foreground lives as long as its container. Nothing is kept but a \
     folder of state, which means nothing after a reboot.",
];

const EXIT: &[(&str, &str)] = &[
    ("0", "It is done; of run and exec in the foreground: the program has ended with 0."),
    ("1", "It could not be done. One line on standard error says why."),
    ("126, 127", "Of run and exec in the foreground: the program cannot be executed, or is not there."),
    (
        "other",
        "Of run and exec in the foreground: what the program has ended with, or 128 and the number of the signal that ended it.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "NOTIFY_SOCKET",
        "The socket of a service manager. What the container's program says of its readiness through /run/notify/notify.sock, \
     which its own NOTIFY_SOCKET names, is passed on; start and a detached run wait until it is ready.",
    ),
    ("LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "Sockets that a service manager passes on reach the program."),
    ("XDG_RUNTIME_DIR", "Of a user who is not root: state is in skiff/runtime below it."),
];

const FILES: &[(&str, &str)] = &[
    ("/run/skiff/runtime", "State, a folder for each container; \\-\\-root moves it."),
    ("config.json", "The configuration, in the bundle. skiff spec writes an example."),
];

fn command(verb: &Verb) -> String {
    let mut page = format!(".SS {}\n", text(&verb.name));
    for form in &verb.forms {
        page.push_str(&format!(".B skiff {}\n{}\n.br\n", text(&verb.name), text(form)));
    }
    page.push_str(&format!(".PP\n{}\n", text(&verb.text)));
    verb.flags.iter().for_each(|flag| page.push_str(&option(flag)));
    page
}

fn option(flag: &Flag) -> String {
    let names = flag.words().iter().map(|word| format!("\\fB{}\\fR", text(word))).collect::<Vec<_>>().join(", ");
    let value = flag.value.as_ref().map(|value| format!(" \\fI{}\\fR", text(value))).unwrap_or_default();
    let words = if flag.text.is_empty() { "As above.".to_owned() } else { text(&flag.text) };
    format!(".TP\n{names}{value}\n{words}\n")
}

/// No character and no line is an instruction.
fn text(plain: &str) -> String {
    let escaped = plain.replace("\\-", "-").replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect();
    lines.join("\n")
}
