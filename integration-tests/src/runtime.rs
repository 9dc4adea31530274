//! Who is driven: `skiff` and the reference runtimes, each with a state folder of its own, and the guard that removes
//! a container however its test ends.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::bundle::{Bundle, copy_program};
use crate::cgroups::{Layout, layout};
use crate::command::{Invocation, Outcome, eventually};
use crate::leftovers;

/// Which runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ours.
    Skiff,
    /// Debian's runc.
    Runc,
    /// Debian's crun.
    Crun,
    /// The small program around libcontainer in this crate.
    Reference,
}

impl Kind {
    /// Every kind, ours first.
    pub const ALL: [Self; 4] = [Self::Skiff, Self::Runc, Self::Crun, Self::Reference];

    /// Its word in `SKIFF_RUNTIMES`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skiff => "skiff",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Reference => "reference",
        }
    }

    fn binary(self) -> Option<PathBuf> {
        match self {
            Self::Skiff => named_or_built("SKIFF_BIN", "skiff"),
            Self::Reference => named_or_built("SKIFF_REFERENCE_BIN", "reference"),
            Self::Runc | Self::Crun => on_path(self.name()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Whether `word` of `SKIFF_RUNTIMES` asks for the runtime `name` in `test`: `crun:cgroups+guest` does for those that are
/// marked to run on cgroups or in the guest.
fn is_wanted(word: &str, name: &str, test: &str) -> bool {
    match word.split_once(':') {
        Some((kind, marks)) => kind == name && marks.split('+').any(|mark| test.ends_with(&format!("::on_{mark}"))),
        None => word == name,
    }
}

fn named_or_built(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    // target/<profile>/deps/<this test> has its siblings one folder up.
    let own = std::env::current_exe().expect("a running program has a path");
    let profile = own.parent().and_then(Path::parent)?;
    let release = profile.parent().map(|target| target.join("release").join(name));
    [Some(profile.join(name)), release].into_iter().flatten().find(|path| path.exists())
}

/// The first executable of this name on `PATH`, or in the folders of the administrator.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    folders.map(|folder| Path::new(folder).join(name)).find(|candidate| candidate.is_file())
}

/// A runtime with a state folder of its own.
#[derive(Debug)]
pub struct Runtime {
    /// Which one.
    pub kind: Kind,
    /// The program.
    pub binary: PathBuf,
    state: TempDir,
    /// Options before the verb.
    global: &'static [&'static str],
}

impl Runtime {
    /// Every runtime that is wanted (`SKIFF_RUNTIMES`) and there; `skiff` must be there when it is wanted.
    pub fn wanted() -> Vec<Self> {
        let wanted = std::env::var("SKIFF_RUNTIMES").unwrap_or_else(|_| "skiff,runc,crun,reference".to_owned());
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let mut runtimes = Vec::new();
        for kind in
            Kind::ALL.into_iter().filter(|kind| wanted.split(',').any(|word| is_wanted(word, kind.name(), test)))
        {
            match kind.binary() {
                Some(binary) => runtimes.push(Self::with_binary(kind, binary)),
                None => assert!(kind != Kind::Skiff, "skiff is not built: cargo build -p skiff, or set SKIFF_BIN"),
            }
        }
        runtimes
    }

    /// The same runtime from a copy of its program in `folder`, for tests that attack the program.
    pub fn copied_to(&self, folder: &Path) -> Self {
        let copy = folder.join(self.kind.name());
        copy_program(&self.binary, &copy);
        Self::with_binary(self.kind, copy)
    }

    /// The same runtime where every user may execute it; what `SKIFF_BIN` names may be below a private folder.
    pub fn for_everybody(&self) -> (Self, TempDir) {
        let folder = tempfile::Builder::new().prefix("skt-copy-").tempdir().expect("temporary folder");
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("own folder");
        (self.copied_to(folder.path()), folder)
    }

    fn with_binary(kind: Kind, binary: PathBuf) -> Self {
        let state = tempfile::Builder::new().prefix("skt-state-").tempdir().expect("temporary folder");
        Self { kind, binary, state, global: &[] }
    }

    /// The same runtime with another state folder, whose cgroups systemd makes.
    pub fn through_systemd(&self) -> Self {
        Self { global: &["--systemd-cgroup"], ..Self::with_binary(self.kind, self.binary.clone()) }
    }

    /// crun 1.8 refuses a hybrid host; it runs in a mount namespace that has cgroup2 alone on `/sys/fs/cgroup`.
    pub fn is_wrapped(&self) -> bool {
        self.kind == Kind::Crun && layout() != Layout::Unified
    }

    /// The folder given as `--root`.
    pub fn root(&self) -> &Path {
        self.state.path()
    }

    /// A command line of this runtime, `--root` included.
    pub fn command(&self, arguments: &[&str]) -> Invocation {
        self.command_of(&self.binary, arguments)
    }

    /// Like [`Self::command`], started through `prefix` (strace, a shell that opens descriptors).
    pub fn command_under(&self, prefix: &[&str], arguments: &[&str]) -> Invocation {
        let binary = self.binary.to_string_lossy();
        let mut all: Vec<&str> = prefix[1..].to_vec();
        let root = self.root().to_string_lossy();
        all.extend([&*binary, "--root", &*root]);
        all.extend(self.global);
        all.extend(arguments);
        self.wrap(OsStr::new(prefix[0]), &all)
    }

    fn command_of(&self, binary: &Path, arguments: &[&str]) -> Invocation {
        let root = self.root().to_string_lossy();
        let mut all = vec!["--root", &*root];
        all.extend(self.global);
        all.extend(arguments);
        self.wrap(binary.as_os_str(), &all)
    }

    fn wrap(&self, program: &OsStr, arguments: &[&str]) -> Invocation {
        if !self.is_wrapped() {
            return Invocation::new(program, arguments);
        }
        let program = program.to_string_lossy();
        let mut all = vec!["-m", "sh", "-c", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "sh", &*program];
        all.extend(arguments);
        Invocation::new("unshare", &all)
    }

    /// Writes `config.json` as this runtime can take it here.
    pub fn write(&self, bundle: &Bundle) {
        if !self.is_wrapped() {
            return bundle.write();
        }
        // Loading a device program needs RLIMIT_MEMLOCK raised, which crun 1.8 does and this host forbids; and the
        // private cgroup2 has none of the controllers.
        let mut config = bundle.config.clone();
        if let Some(linux) = config["linux"].as_object_mut() {
            linux.remove("resources");
        }
        bundle.write_config(&config);
    }

    /// A guard for one container of `bundle`, with an id of its own; nothing is created yet.
    pub fn container<'a>(&'a self, bundle: &'a Bundle) -> Container<'a> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Container { runtime: self, bundle, id: format!("{}-{}-{number}", bundle.id, self.kind) }
    }

    /// `run` in the foreground, to its end.
    pub fn run(&self, bundle: &Bundle) -> Outcome {
        self.container(bundle).run(&[])
    }
}

/// A container and whatever may exist of it: removed when dropped.
#[derive(Debug)]
pub struct Container<'a> {
    /// Who makes it.
    pub runtime: &'a Runtime,
    /// Of what.
    pub bundle: &'a Bundle,
    /// Its id.
    pub id: String,
}

impl Container<'_> {
    fn with_bundle(&self, verb: &str, options: &[&str]) -> Invocation {
        self.runtime.write(self.bundle);
        let path = self.bundle.path().to_string_lossy();
        let mut arguments = vec![verb, "--bundle", &*path];
        arguments.extend(options);
        arguments.push(&self.id);
        self.runtime.command(&arguments).env("SKIFF_TEST_ID", &self.id)
    }

    /// A verb with the id as its last word but `rest`.
    pub fn verb(&self, verb: &str, options: &[&str], rest: &[&str]) -> Invocation {
        let mut arguments = vec![verb];
        arguments.extend(options);
        arguments.push(&self.id);
        arguments.extend(rest);
        self.runtime.command(&arguments).env("SKIFF_TEST_ID", &self.id)
    }

    /// `create`.
    pub fn create(&self, options: &[&str]) -> Outcome {
        self.with_bundle("create", options).run()
    }

    /// `start`.
    pub fn start(&self) -> Outcome {
        self.verb("start", &[], &[]).run()
    }

    /// `run`, to its end (or to its detaching).
    pub fn run(&self, options: &[&str]) -> Outcome {
        self.run_command(options).run()
    }

    /// `run`, not started yet.
    pub fn run_command(&self, options: &[&str]) -> Invocation {
        self.with_bundle("run", options)
    }

    /// `run` under another program.
    pub fn run_under(&self, prefix: &[&str], options: &[&str]) -> Invocation {
        self.under(prefix, "run", options)
    }

    /// `create` or `run` under another program.
    pub fn under(&self, prefix: &[&str], verb: &str, options: &[&str]) -> Invocation {
        self.runtime.write(self.bundle);
        let path = self.bundle.path().to_string_lossy();
        let mut arguments = vec![verb, "--bundle", &*path];
        arguments.extend(options);
        arguments.push(&self.id);
        self.runtime.command_under(prefix, &arguments).env("SKIFF_TEST_ID", &self.id)
    }

    /// `run --detach` without any cgroup; the bundle must have no limits then.
    pub fn run_without_cgroup(&self) -> Outcome {
        self.runtime.write(self.bundle);
        let path = self.bundle.path().to_string_lossy();
        let words = ["--cgroup-manager", "disabled", "run", "--detach", "--bundle", &*path, &*self.id];
        self.runtime.command(&words).run()
    }

    /// `state`, parsed; `None` when the runtime says that there is no such container.
    pub fn state(&self) -> Option<Value> {
        let outcome = self.verb("state", &[], &[]).run();
        assert!(!outcome.hung && outcome.signal.is_none(), "state must always answer: {outcome}");
        outcome.succeeded().then(|| serde_json::from_str(&outcome.stdout).expect("state prints JSON"))
    }

    /// `status` of `state`, or `absent`.
    pub fn status(&self) -> String {
        self.state().map_or_else(|| "absent".to_owned(), |state| state["status"].as_str().unwrap_or("?").to_owned())
    }

    /// Waits until `state` says `status`.
    pub fn reaches(&self, status: &str) {
        eventually(&format!("{} of {} is {status}", self.id, self.runtime.kind), || {
            (self.status() == status).then_some(())
        });
    }

    /// Process id from `state`.
    pub fn pid(&self) -> u32 {
        let state = self.state().expect("the container exists");
        u32::try_from(state["pid"].as_u64().expect("state has a pid")).expect("a pid fits")
    }

    /// `kill`.
    pub fn kill(&self, signal: &str) -> Outcome {
        self.verb("kill", &[], &[signal]).run()
    }

    /// `delete`.
    pub fn delete(&self, options: &[&str]) -> Outcome {
        self.verb("delete", options, &[]).run()
    }

    /// What is left of this container on the host; empty when all is well.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers::of(&self.id, self.bundle.path(), self.runtime.root())
    }

    /// Asserts that nothing is left.
    #[track_caller]
    pub fn assert_gone(&self) {
        let left = leftovers::until_none(|| self.leftovers());
        assert!(left.is_empty(), "{} left behind by {}: {left:#?}", self.id, self.runtime.kind);
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.leftovers().is_empty() {
            return;
        }
        // Whatever this says, the sweep after it removes the rest.
        let _sweep_follows = self.delete(&["--force"]);
        leftovers::sweep(&self.id, self.bundle.path());
    }
}
