//! Where the tests run: each lane is a kernel, a layout of cgroups, an architecture or something taken away, with the tests
//! that run there. `#[runs(...)]` marks a test (`integration-tests/lanes`), the program `lane` runs a lane and tells what
//! came of it, a line a lane.
//!
//! `selection` (which tests) and `tally` (what a test program's output says) decide and are pure, as is what `record`
//! prints; `build`, `host` and `guest` do, and `voice` keeps apart what lanes say that run side by side.

pub mod build;
pub mod guest;
pub mod host;
pub mod record;
pub mod selection;
pub mod tally;
pub mod voice;

/// Where a lane's tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever this command takes them; it prints what libtest prints.
    Command(&'static [&'static str]),
    /// This machine. The words stand between `skiff` and whoever starts it.
    Host(Between),
    /// A virtual machine.
    Guest(Machine),
}

/// What stands between the tests and `skiff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Nothing.
    Nothing,
    /// `without` and these words: system calls that are missing.
    Without(&'static str),
    /// These words are given to `skiff` before all others.
    Flags(&'static str),
}

/// A virtual machine of `integration-tests/guest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Debian's name of the release.
    pub suite: &'static str,
    /// Debian's name of the architecture.
    pub arch: &'static str,
    /// MiB.
    pub memory: u32,
    /// Words for its kernel.
    pub kernel_arguments: &'static str,
}

/// Which tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tests {
    /// All that are not marked for other lanes.
    All,
    /// The core: those that are marked to run everywhere, or in this lane.
    Core,
    /// The core without what needs a cgroup.
    CoreWithoutCgroups,
    /// Of the core what needs a cgroup, with what is marked for this lane: where it is the layout alone that is special.
    Cgroups,
}

/// A lane.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// What it is called on the command line and in the table.
    pub name: &'static str,
    /// The word in `#[runs(...)]` that is for this lane alone; empty if there is none.
    pub word: &'static str,
    /// What is special about it.
    pub about: &'static str,
    /// Where.
    pub place: Place,
    /// Which.
    pub tests: Tests,
    /// The test programs, by the names of their cargo targets.
    pub suites: &'static [&'static str],
    /// Variables for the tests.
    pub environment: Environment,
}

/// One run of a lane.
pub struct Round<'a> {
    /// Which lane.
    pub lane: &'a Lane,
    /// Of its tests, those whose names have one of these words; all without.
    pub filters: &'a [String],
    /// The file in which tests say that they could not be made (`SKIFF_SKIP_LOG`).
    pub skips: &'a std::path::Path,
    /// Where its output goes.
    pub out: &'a mut dyn std::io::Write,
}

const EVERY_SUITE: &[&str] = &["runtime", "shim", "supervisor", "callers"];
/// The callers are packages of Debian that would make a guest's image twice as large.
const SUITES_OF_THE_GUEST: &[&str] = &["runtime", "shim", "supervisor"];
const BOOKWORM: Machine = Machine { suite: "bookworm", arch: "amd64", memory: 768, kernel_arguments: "" };
const V1: Machine = Machine {
    kernel_arguments: "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
    ..BOOKWORM
};
const HYBRID: Machine =
    Machine { kernel_arguments: "systemd.unified_cgroup_hierarchy=0 cgroup_no_v1=pids,hugetlb", ..BOOKWORM };
const TRIXIE: Machine = Machine { suite: "trixie", ..BOOKWORM };
const ARM64: Machine = Machine { arch: "arm64", ..BOOKWORM };

type Environment = &'static [(&'static str, &'static str)];
/// Compilers and emulators run beside, so that what takes a second may take ten.
const BESIDE: Environment = &[("SKIFF_TEST_TIMEOUT", "120")];
/// What is tried often is tried in full by the host's lane.
const ALONE: Environment = &[("SKIFF_RUNTIMES", "skiff"), ("SKIFF_ROUNDS", "30"), ("SKIFF_TEST_TIMEOUT", "120")];
/// The sweep of kills and hundreds of repetitions are the host's: under emulation they take longer than all the rest. crun's limits cannot be
/// compared with on a hybrid host, so they are here; runc, whose can, is the slowest by far under emulation.
const EMULATED: Environment = &[
    ("SKIFF_RUNTIMES", "skiff,crun:cgroups+guest"),
    ("SKIFF_SWEEP", "quick"),
    ("SKIFF_ROUNDS", "20"),
    ("SKIFF_KILLS", "10"),
    ("SKIFF_TEST_TIMEOUT", "240"),
];
const EMULATED_ALONE: Environment =
    &[("SKIFF_RUNTIMES", "skiff"), ("SKIFF_SWEEP", "quick"), ("SKIFF_ROUNDS", "20"), ("SKIFF_TEST_TIMEOUT", "240")];
const EMULATED_IN_USER_NAMESPACES: Environment = &[
    ("SKIFF_RUNTIMES", "skiff"),
    ("SKIFF_SWEEP", "quick"),
    ("SKIFF_ROUNDS", "20"),
    ("SKIFF_TEST_TIMEOUT", "240"),
    ("SKIFF_TEST_USER_NAMESPACE", "1"),
];

const fn core(name: &'static str, about: &'static str, place: Place) -> Lane {
    Lane { name, word: "", about, place, tests: Tests::Core, suites: &["runtime"], environment: ALONE }
}

const fn command(name: &'static str, about: &'static str, words: &'static [&'static str]) -> Lane {
    Lane { suites: &[], environment: &[], ..core(name, about, Place::Command(words)) }
}

const fn old(name: &'static str, words: &'static str) -> Lane {
    core(name, "this kernel, as if it lacked these", Place::Host(Between::Without(words)))
}

/// Every lane, in the order in which `make test` tells of them.
pub const LANES: [Lane; 20] = [
    command("lint", "what can be said without running a container", &["make", "lint"]),
    command("unit", "each crate by itself", &["make", "test-unit"]),
    Lane {
        word: "host",
        tests: Tests::All,
        suites: EVERY_SUITE,
        environment: BESIDE,
        ..core(
            "host",
            "everything, on this kernel and its cgroups; runc, crun and libcontainer beside",
            Place::Host(Between::Nothing),
        )
    },
    Lane {
        tests: Tests::CoreWithoutCgroups,
        ..core("no-cgroups", "`--cgroup-manager disabled`", Place::Host(Between::Flags("--cgroup-manager disabled")))
    },
    old("without-clone3", "clone3"),
    old("without-openat2", "openat2"),
    old("without-mount-api", "open_tree,move_mount,fsopen,fsconfig,fsmount,fspick,mount_setattr"),
    old("without-mount-setattr", "mount_setattr"),
    old("without-pidfd", "pidfd_open,pidfd_send_signal,pidfd_getfd"),
    old("without-close-range", "close_range"),
    old("without-cgroup-kill", "cgroup.kill"),
    old("linux-4.19", "linux-4.19"),
    Lane {
        word: "guest",
        tests: Tests::All,
        suites: SUITES_OF_THE_GUEST,
        environment: EMULATED,
        ..core(
            "guest",
            "everything that a kernel or a systemd has a part in, with cgroup v2 alone",
            Place::Guest(BOOKWORM),
        )
    },
    Lane {
        tests: Tests::All,
        environment: EMULATED_IN_USER_NAMESPACES,
        ..core("guest-userns", "the runtime's, each container in a user namespace", Place::Guest(BOOKWORM))
    },
    Lane {
        word: "v1",
        tests: Tests::Cgroups,
        environment: EMULATED_ALONE,
        ..core("guest-v1", "what needs a cgroup, on cgroup v1 alone", Place::Guest(V1))
    },
    Lane {
        tests: Tests::Cgroups,
        environment: EMULATED_ALONE,
        ..core("guest-hybrid", "what needs a cgroup, with controllers on v1 and some on v2", Place::Guest(HYBRID))
    },
    Lane {
        word: "trixie",
        environment: EMULATED_ALONE,
        ..core("guest-trixie", "Debian 13: a newer kernel, a newer systemd", Place::Guest(TRIXIE))
    },
    command("unit-arm", "each crate by itself, for aarch64 and armv7, under qemu-user", &["make", "test-arm-unit"]),
    Lane {
        word: "arm64",
        environment: EMULATED_ALONE,
        ..core("arm64", "a 64-bit ARM machine with systemd and cgroup v2", Place::Guest(ARM64))
    },
    command("armv7", "each crate by itself, 32-bit, on the kernel of the same machine", &["make", "test-arm-guest"]),
];

impl Lane {
    /// The variables for its tests. A developer's own setting wins: `SKIFF_KILLS=100 make test-guest`.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let own =
            |(name, value): &(&'static str, &str)| (*name, std::env::var(name).unwrap_or_else(|_| (*value).to_owned()));
        self.environment.iter().map(own)
    }

    /// Whether it is about this machine: a developer's loop has these. The others are emulated.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        match self.place {
            Place::Command(words) => words.iter().all(|word| !word.starts_with("test-arm")),
            Place::Host(_) => true,
            Place::Guest(_) => false,
        }
    }
}

/// The lane of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Lane> {
    LANES.iter().find(|lane| lane.name == name)
}
