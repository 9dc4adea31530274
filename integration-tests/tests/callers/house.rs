//! A folder of one's own for a caller: what it keeps, whom it starts, and that nothing stays behind.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use skiff_integration_tests::image::{self, Image};
use skiff_integration_tests::runtime::{Kind, Runtime, on_path};
use skiff_integration_tests::{leftovers, skip};
use tempfile::TempDir;

/// Words of a script that ends with 3 when it is asked to, and at once.
pub(crate) const POLITE: &str = "trap 'echo bye; exit 3' TERM; echo started; while true; do sleep 1000 & wait $!; done";

/// Runs a test over skiff and over runc, if `program` is there.
pub(crate) fn over_each(program: &str, test: impl Fn(House)) {
    if on_path(program).is_none() {
        return skip::skip(&format!("{program} is not installed"));
    }
    for runtime in Runtime::wanted() {
        if matches!(runtime.kind, Kind::Skiff | Kind::Runc) {
            println!("over {}", runtime.kind);
            test(House::new(runtime));
        }
    }
}

/// A caller's folder, and the runtime that it starts.
pub(crate) struct House {
    pub(crate) runtime: Runtime,
    pub(crate) image: Image,
    /// Unique; every process that the caller starts has it in its environment, every cgroup in its name.
    pub(crate) id: String,
    folder: TempDir,
    /// Ends of what the caller makes for itself, and keeps.
    own: RefCell<Vec<String>>,
}

impl House {
    fn new(runtime: Runtime) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("skt-call-{}-{}x", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix("skh-").tempdir().unwrap();
        let image = image::make(folder.path());
        let own = RefCell::new(vec![id.clone(), "/conmon".to_owned()]);
        Self { runtime, image, id, folder, own }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file of this house, as a word.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path().join(name).to_string_lossy().into_owned()
    }

    /// The runtime's program, as a word.
    pub(crate) fn program(&self) -> String {
        self.runtime.binary.to_string_lossy().into_owned()
    }

    /// The caller keeps a folder of cgroups with this name, whatever its runtime does.
    pub(crate) fn keeps(&self, name: &str) {
        self.own.borrow_mut().push(name.to_owned());
    }

    /// A file of `containers-common` that asks for no more than this machine grants: there are those whose root may not
    /// raise a limit.
    pub(crate) fn containers_conf(&self) -> PathBuf {
        let path = self.path().join("containers.conf");
        fs::write(&path, "[containers]\ndefault_ulimits = [\"nofile=512:1024\", \"nproc=1024:2048\"]\n").unwrap();
        path
    }

    /// What is left of containers of this house: also of the runtime's state, which is where each caller has it.
    fn leftovers(&self) -> Vec<String> {
        let mut left = leftovers::of(&self.id, self.path(), self.runtime.root());
        // The caller's own: folders of cgroups, servers, mounts of what it keeps.
        let is_own = |line: &String| self.own.borrow().iter().any(|end| line.ends_with(end));
        left.retain(|line| !line.starts_with("cgroup ") || !is_own(line));
        left.retain(|line| !line.contains("dockerd") && !line.contains("containerd --config"));
        left.retain(|line| !line.starts_with("mount "));
        let kind = self.runtime.kind;
        let roots = [format!("/run/{kind}"), self.word("exec/runtime-runc/moby")];
        let states = roots.iter().flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
        left.extend(
            states.filter(|entry| self.is_of(&entry.path())).map(|entry| format!("state {}", entry.path().display())),
        );
        left
    }

    /// Whether this is the state of a container whose bundle lies in this house.
    fn is_of(&self, state: &Path) -> bool {
        let own = self.path().to_string_lossy().into_owned();
        let files = fs::read_dir(state).into_iter().flatten().flatten();
        // runc has a pipe among them, which nobody writes to.
        let files = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()));
        let mut texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        state.starts_with(self.path()) || texts.any(|text| text.contains(&own))
    }

    /// Asserts that no container left anything.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        let left = leftovers::until_none(|| self.leftovers());
        assert!(left.is_empty(), "left behind by {}: {left:#?}", self.runtime.kind);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        leftovers::sweep(&self.id, self.path());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.path().to_string_lossy().into_owned();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for place in places.filter(|place| place.starts_with(&own)).collect::<Vec<_>>().into_iter().rev() {
            let _may_be_gone = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
        }
    }
}
