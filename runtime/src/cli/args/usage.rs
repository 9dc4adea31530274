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
  exec      run a further program in a container
  kill      send a signal to a container
  delete    remove what a container left on this machine
  pause     stop every process of a container where it is
  resume    let the processes of a paused container go on
  update    change the limits of a container that lives
  ps        list the processes of a container
  events    tell what a container uses, and when it lacked memory, as JSON
  list      list the containers of this state folder
  spec      write an example config.json
  features  print what this runtime can enforce, as JSON

Global options:
  --root DIR               folder of the containers' state [/run/skiff/runtime]
  --log FILE               append log lines to FILE instead of standard error
  --log-format text|json   how log lines are laid out [text]
  --debug                  log each step
  --cgroup-manager cgroupfs|systemd|disabled
                           who makes the cgroup; disabled: no limits, no device rules [cgroupfs]
  --systemd-cgroup         the same as --cgroup-manager systemd: a transient scope, by D-Bus
  --rootless true|false|auto
                           whether a container may stay in the cgroup of its maker where none can be
                           made and it has no limits; auto: for users who are not root [auto]
  -h, --help               this text; `skiff COMMAND --help` for a command
  -v, --version            version of skiff and of the OCI runtime specification

Example:
  mkdir -p /tmp/hello/rootfs/bin && cp /bin/busybox /tmp/hello/rootfs/bin/sh
  skiff spec --bundle /tmp/hello && skiff run --bundle /tmp/hello hello
";

const MAKE: &str = "  -b, --bundle DIR         folder of config.json, from which its relative paths are taken [.]
  --config FILE            the configuration, in place of the bundle's config.json
  --console-socket PATH    UNIX socket that receives the terminal's master end
  --pidfd-socket PATH      UNIX socket that receives a pidfd of the container's first process
  --pid-file FILE          write the pid of the container's first process to FILE
  --no-pivot               enter the root by MS_MOVE and chroot (for a root on a ramdisk)
  --no-new-keyring         keep the caller's session keyring
  --preserve-fds N         pass on N descriptors after standard error [0]
";

const RUN: &str = "  -d, --detach             return when the program has been started
  --keep                   keep the container when its program has ended
  --no-subreaper           do not adopt orphans of the container's processes
";

const EXEC: &str =
    "  -p, --process FILE       the process as JSON, as `process` in config.json; else COMMAND, and for the
                           rest what the container's own process has, changed by:
  --cwd DIR                working directory
  -e, --env NAME=VALUE     add a variable (any number of times)
  -u, --user UID[:GID]     user, and group
  -g, --additional-gids N  add a group (any number of times)
  -c, --cap CAP_NAME       add a capability (any number of times)
  --apparmor PROFILE       confine it by this AppArmor profile
  --no-new-privs[=false]   whether it may gain privileges by executing others
  -t, --tty                give it a terminal
  -d, --detach             return when the program has been started
  --pid-file FILE          write the pid of the process to FILE
  --console-socket PATH    UNIX socket that receives the terminal's master end
  --pidfd-socket PATH      UNIX socket that receives a pidfd of the process
  --preserve-fds N         pass on N descriptors after standard error [0]
  --ignore-paused          in a paused container, wait until it is resumed
  --cgroup [CONTROLLER[,CONTROLLER]:]PATH
                           a cgroup below the container's own, which must be there; with controllers of
                           version 1, in their hierarchies only; may be repeated
";

const UPDATE: &str =
    "  -r, --resources FILE     all new limits as JSON of linux.resources, from FILE or - (standard input);
                           devices stay as they are
  --memory SIZE            bytes, also as 64M or 1.5G; -1 lifts the limit, and so do the next two
  --memory-reservation SIZE
  --memory-swap SIZE       memory and swap together
  --cpu-period N           microseconds
  --cpu-quota N            microseconds of each period; -1 lifts the limit
  --cpu-burst N            microseconds that may be saved up
  --cpu-share N            relative weight from 2 to 262144
  --cpu-idle 0|1           run only when nobody else wants to
  --cpu-rt-period N        microseconds, for realtime tasks (cgroup v1)
  --cpu-rt-runtime N       microseconds, for realtime tasks (cgroup v1)
  --cpuset-cpus LIST       such as 0-2,4
  --cpuset-mems LIST       memory nodes
  --pids-limit N           number of processes; -1 lifts the limit
  --blkio-weight N         relative weight from 10 to 1000
";

/// The text for `skiff --help`.
pub(crate) fn overview() -> String {
    OVERVIEW.to_owned()
}

/// The text for `skiff --version`, in runc's form.
pub(crate) fn version() -> String {
    format!("skiff version {}\nspec: {OCI_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

/// The text for `skiff VERB --help`.
pub(crate) fn verb(verb: &str) -> String {
    let (line, what, options) = match verb {
        "create" => ("create [OPTIONS] ID", "Makes a container; its program waits for `skiff start`.", MAKE.to_owned()),
        "run" => ("run [OPTIONS] ID", "Creates and starts a container.", [MAKE, RUN].concat()),
        "start" => ("start ID", "Starts the program of a created container.", String::new()),
        "state" => ("state ID", "Prints the state of a container as JSON.", String::new()),
        "exec" => (
            "exec [OPTIONS] ID COMMAND [ARGUMENTS] | exec [OPTIONS] --process FILE ID",
            "Runs a further program in a created or running container.",
            EXEC.to_owned(),
        ),
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
        "pause" => ("pause ID", "Stops every process of a container where it is.", String::new()),
        "resume" => ("resume ID", "Lets the processes of a paused container go on.", String::new()),
        "update" => (
            "update [OPTIONS] ID",
            "Changes limits of a created, running or paused container; what is not named stays as it is.",
            UPDATE.to_owned(),
        ),
        "ps" => (
            "ps [OPTIONS] ID [PS OPTIONS]",
            "Lists the processes of a container, as ps(1) shows them; -ef without options for it.",
            "  -f, --format table|json  how; json is an array of process ids [table]\n".to_owned(),
        ),
        "events" => (
            "events [OPTIONS] ID",
            "Tells what a container uses, and each time that the kernel kills at its memory limit, a JSON object a line,\nuntil its program ends.",
            "  --interval TIME          between figures, such as 500ms, 5s or 1m30s [5s]\n  --stats                  print the figures once, and end\n".to_owned(),
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
