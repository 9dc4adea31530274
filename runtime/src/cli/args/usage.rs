//! What `--help` and `--version` print.

use skiff_contract::document::OCI_VERSION;

const OVERVIEW: &str = "\
skiff - run OCI containers on one small Linux machine

Usage: skiff [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]

Commands:
  create    make a container from a bundle; its program waits for `start`
  start     start the program of a created container
  run       create and start a container, and wait for its program
  state     print the state of a container as JSON
  kill      send a signal to a container
  delete    remove what a container left on this machine
  list      list the containers of this state folder
  spec      write an example config.json
  features  print what this runtime can enforce, as JSON

Global options:
  --root DIR               folder of the containers' state [/run/skiff/runtime]
  --log FILE               append log lines to FILE instead of standard error
  --log-format text|json   how log lines are laid out [text]
  --debug                  log each step
  --cgroup-manager NAME    cgroupfs, or disabled (no limits, no device rules) [cgroupfs]
  -h, --help               this text; `skiff COMMAND --help` for a command
  -v, --version            version of skiff and of the OCI runtime specification

Example:
  mkdir -p /tmp/hello/rootfs/bin && cp /bin/busybox /tmp/hello/rootfs/bin/sh
  skiff spec --bundle /tmp/hello && skiff run --bundle /tmp/hello hello
";

const MAKE: &str = "\
  -b, --bundle DIR         folder of config.json [.]
  --console-socket PATH    UNIX socket that receives the terminal's master end
  --pidfd-socket PATH      UNIX socket that receives a pidfd of the container's first process
  --pid-file FILE          write the pid of the container's first process to FILE
  --no-pivot               enter the root by MS_MOVE and chroot (for a root on a ramdisk)
  --no-new-keyring         keep the caller's session keyring
  --preserve-fds N         pass on N descriptors after standard error [0]
";

const RUN: &str = "\
  -d, --detach             return when the program has been started
  --keep                   keep the container when its program has ended
  --no-subreaper           do not adopt orphans of the container's processes
";

/// The text for `skiff --help`.
pub(super) fn overview() -> String {
    OVERVIEW.to_owned()
}

/// The text for `skiff --version`, in runc's form.
pub(crate) fn version() -> String {
    format!("skiff version {}\nspec: {OCI_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

/// The text for `skiff VERB --help`.
pub(super) fn verb(verb: &str) -> String {
    let (line, what, options) = match verb {
        "create" => ("create [OPTIONS] ID", "Makes a container; its program waits for `skiff start`.", MAKE.to_owned()),
        "run" => ("run [OPTIONS] ID", "Creates and starts a container.", [MAKE, RUN].concat()),
        "start" => ("start ID", "Starts the program of a created container.", String::new()),
        "state" => ("state ID", "Prints the state of a container as JSON.", String::new()),
        "kill" => (
            "kill [OPTIONS] ID [SIGNAL]",
            "Sends a signal (name or number, TERM without one) to the container's first process.",
            "  -a, --all                to every process of the container\n".to_owned(),
        ),
        "delete" => (
            "delete [OPTIONS] ID",
            "Removes a stopped container.",
            "  -f, --force              kill it first if it runs; absence is fine\n".to_owned(),
        ),
        "list" => (
            "list [OPTIONS]",
            "Lists containers.",
            "  -f, --format table|json  how [table]\n  -q, --quiet              ids only\n".to_owned(),
        ),
        "spec" => (
            "spec [OPTIONS]",
            "Writes an example config.json; never over an existing one.",
            "  -b, --bundle DIR         where [.]\n  --rootless               for a user who is not root\n".to_owned(),
        ),
        _ => ("features", "Prints what this runtime can enforce, as JSON.", String::new()),
    };
    let options = if options.is_empty() { options } else { format!("\nOptions:\n{options}") };
    format!("{what}\n\nUsage: skiff {line}\n{options}")
}
