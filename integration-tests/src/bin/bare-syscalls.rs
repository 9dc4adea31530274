//! The floor of the benchmarks: the kernel work of `run` with the default configuration of `runc spec`, and nothing
//! else. No JSON, no state, no checks, no fallbacks, no defence against a hostile root: never use it for a container.
//!
//! `bare-syscalls run ROOTFS PROGRAM [ARGS]` wants cgroup2 on `/sys/fs/cgroup` and a root file system that has `/proc`,
//! `/dev` and `/sys`. The exit status is the program's, 128+n for a signal, 125 when a step fails.
#![no_main] // std's own start-up (poll, sigaction, sigaltstack) is not part of the work.

use libc::{c_char, c_int, c_long, c_ulong};
use std::ffi::CStr;
use std::ptr::null;

/// The capabilities that the default configuration keeps: `CAP_KILL`, `CAP_NET_BIND_SERVICE`, `CAP_AUDIT_WRITE`.
const KEPT_CAPS: u64 = 1 << 5 | 1 << 10 | 1 << 29;
const LAST_CAP: c_int = 40;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const MOUNT_ATTR_RDONLY: u64 = 1;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

const NO_EXEC: c_ulong = libc::MS_NOSUID | libc::MS_NOEXEC;
const NO_DEV: c_ulong = NO_EXEC | libc::MS_NODEV;

/// Type, target, flags and data of the default mounts; a target in `/dev` but not `/dev` itself is made first.
const MOUNTS: [(&CStr, &CStr, c_ulong, &CStr); 7] = [
    (c"proc", c"/proc", 0, c""),
    (c"tmpfs", c"/dev", libc::MS_NOSUID | libc::MS_STRICTATIME, c"mode=755,size=65536k"),
    (c"devpts", c"/dev/pts", NO_EXEC, c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    (c"tmpfs", c"/dev/shm", NO_DEV, c"mode=1777,size=65536k"),
    (c"mqueue", c"/dev/mqueue", NO_DEV, c""),
    (c"sysfs", c"/sys", NO_DEV | libc::MS_RDONLY, c""),
    (c"cgroup2", c"/sys/fs/cgroup", NO_DEV | libc::MS_RELATIME | libc::MS_RDONLY, c""),
];
/// Path, major and minor.
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];
/// Target and path of the link.
const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
    (c"/proc/kcore", c"/dev/core"),
    (c"pts/ptmx", c"/dev/ptmx"),
];
/// The masked paths of the default configuration, split by kind: the floor need not look.
const MASKED_FILES: [&CStr; 6] = [
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
];
const MASKED_DIRS: [&CStr; 4] = [c"/proc/acpi", c"/proc/asound", c"/sys/firmware", c"/proc/scsi"];
const READONLY: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];
const ENVIRONMENT: [&CStr; 2] = [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", c"TERM=xterm"];

/// The C entry point, called by libc's start code.
///
/// # Safety
/// `argv` is a vector of `argc` C strings ended by a null pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the start code passes `argc` strings, and the second is read only if there are four.
    if argc < 4 || unsafe { CStr::from_ptr(*argv.add(1)) } != c"run" {
        eprintln!("usage: bare-syscalls run ROOTFS PROGRAM [ARGS]");
        return 125;
    }
    // SAFETY: `argc` is at least 4, so the third entry is a C string that lives as long as the process.
    let rootfs = unsafe { CStr::from_ptr(*argv.add(2)) };
    // SAFETY: as above; the rest from the fourth entry on is a vector ended by a null pointer.
    run(rootfs, unsafe { argv.add(3) })
}

fn run(rootfs: &CStr, argv: *const *const c_char) -> c_int {
    // SAFETY: getpid has no requirements.
    let path = format!("/sys/fs/cgroup/bare-syscalls-{}\0", unsafe { libc::getpid() });
    let path = CStr::from_bytes_with_nul(path.as_bytes()).expect("the format ends in the only NUL");
    // SAFETY: `path` is a C string.
    check("mkdir cgroup", unsafe { libc::mkdir(path.as_ptr(), 0o755) }.into());
    // SAFETY: `path` is a C string.
    let cgroup = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    check("open cgroup", cgroup.into());
    let child = clone_into(cgroup);
    if child == 0 {
        build(rootfs);
        restrict();
        exec(argv);
    }
    let mut status = 0;
    // SAFETY: `status` is a live integer; the child is ours.
    check("waitpid", unsafe { libc::waitpid(child, &mut status, 0) }.into());
    // SAFETY: `path` is a C string.
    check("rmdir cgroup", unsafe { libc::rmdir(path.as_ptr()) }.into());
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// `struct clone_args` of clone(2), which libc has not got on every machine.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes the child with every new namespace but the cgroup one, whose root would be the parent's cgroup.
fn clone_into(cgroup: c_int) -> c_int {
    let namespaces =
        libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS;
    let args = CloneArgs {
        flags: namespaces as u64 | CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `args` is live and its true size is given; without CLONE_VM the child has its own copy of this
    // single-threaded process, so it may go on in it.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) };
    check("clone3", child) as c_int
}

/// Builds the file system of the container and goes into it.
fn build(rootfs: &CStr) {
    // SAFETY: these calls take integers only.
    unsafe {
        check("unshare cgroup namespace", libc::unshare(libc::CLONE_NEWCGROUP).into());
        check("setsid", libc::setsid().into());
        libc::umask(0); // the modes of the devices are meant as they stand
    }
    enter(rootfs);
    for (kind, target, flags, data) in MOUNTS {
        if target.to_bytes().starts_with(b"/dev/") {
            // SAFETY: `target` is a C string.
            check("mkdir", unsafe { libc::mkdir(target.as_ptr(), 0o755) }.into());
        }
        mount(kind, target, flags, data);
    }
    for (path, major, minor) in DEVICES {
        // SAFETY: `path` is a C string.
        let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)) };
        check("mknod", made.into());
    }
    for (target, path) in LINKS {
        // SAFETY: both are C strings.
        check("symlink", unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }.into());
    }
    mask();
    for path in READONLY {
        if let Some(tree) = open_tree(path) {
            set_readonly(tree);
            check("move_mount read-only path", move_mount(tree, path));
        }
    }
    // SAFETY: takes an integer only.
    unsafe { libc::umask(0o022) };
}

/// Makes the root file system `/`, read-only, and drops the old one.
fn enter(rootfs: &CStr) {
    // SAFETY: the strings are C strings or null where mount(2) ignores the argument.
    let private = unsafe { libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) };
    check("make / private", private.into());
    let root = open_tree(rootfs).unwrap_or_else(|| fail("open_tree ROOTFS"));
    set_readonly(root);
    check("move_mount ROOTFS", move_mount(root, rootfs));
    // SAFETY: `root` is an open descriptor and the strings are C strings. pivot_root(2): with both paths "." the old
    // root ends up stacked on the new one at ".", which umount2 then takes away.
    unsafe {
        check("fchdir", libc::fchdir(root).into());
        check("pivot_root", libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()));
        check("umount2", libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into());
        check("chdir", libc::chdir(c"/".as_ptr()).into());
    }
}

/// Hides files under `/dev/null` and directories under one shared, empty, read-only tmpfs.
fn mask() {
    let mut tree = None;
    for path in MASKED_FILES {
        tree = cover(tree.or_else(|| open_tree(c"/dev/null")), path);
    }
    let Some(shared) = MASKED_DIRS.iter().position(|path| cover_with_tmpfs(path)) else { return };
    let mut tree = None;
    for path in &MASKED_DIRS[shared + 1..] {
        tree = cover(tree.or_else(|| open_tree(MASKED_DIRS[shared])), path);
    }
}

/// Puts `tree` over `path`, or gives it back when there is no such path.
fn cover(tree: Option<c_int>, path: &CStr) -> Option<c_int> {
    let tree = tree.unwrap_or_else(|| fail("open_tree mask"));
    if move_mount(tree, path) == 0 {
        return None;
    }
    absent("move_mount masked path");
    Some(tree)
}

fn cover_with_tmpfs(path: &CStr) -> bool {
    let (kind, data) = (c"tmpfs".as_ptr(), c"nr_inodes=1".as_ptr());
    // SAFETY: all are C strings.
    let mounted = unsafe { libc::mount(kind, path.as_ptr(), kind, libc::MS_RDONLY, data.cast()) };
    if mounted != 0 {
        absent("mount masked path");
    }
    mounted == 0
}

/// Everything after the file system: network, host name, keyring, limits, user, capabilities.
fn restrict() {
    bring_loopback_up();
    let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: the pointers are to live values or strings of the length given; the rest are integers.
    unsafe {
        check("sethostname", libc::sethostname(c"runc".as_ptr(), 4).into());
        check("keyctl", libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, null::<c_char>()));
        check("setrlimit", libc::setrlimit(libc::RLIMIT_NOFILE, &limit).into());
        check("setgroups", libc::setgroups(0, null()).into());
        check("close_range", libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOSE_RANGE_CLOEXEC));
    }
    for cap in (0..=LAST_CAP).filter(|cap| KEPT_CAPS >> cap & 1 == 0) {
        // SAFETY: takes integers only.
        check("prctl PR_CAPBSET_DROP", unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap) }.into());
    }
    let header = [CAPABILITY_VERSION_3, 0];
    // capset(2): effective, permitted, inheritable for the low 32 capabilities, then the same for the high ones.
    let sets = [KEPT_CAPS as u32, KEPT_CAPS as u32, 0, 0, 0, 0];
    // SAFETY: header and sets have the layout and length that version 3 of capset(2) reads.
    check("capset", unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) });
    // SAFETY: takes integers only.
    check("prctl PR_SET_NO_NEW_PRIVS", unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into());
}

fn bring_loopback_up() {
    // SAFETY: ifreq is plain data for which zero is valid; the socket is used and closed here only.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check("socket", socket.into());
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as c_char, b'o' as c_char]);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        check("SIOCSIFFLAGS", libc::ioctl(socket, libc::SIOCSIFFLAGS, &request).into());
        libc::close(socket);
    }
}

fn exec(argv: *const *const c_char) -> ! {
    let environment = [ENVIRONMENT[0].as_ptr(), ENVIRONMENT[1].as_ptr(), null()];
    // SAFETY: `argv` and `environment` are vectors of C strings ended by null; argv has a first entry (see main).
    unsafe { libc::execve(*argv, argv, environment.as_ptr()) };
    fail("execve")
}

fn mount(kind: &CStr, target: &CStr, flags: c_ulong, data: &CStr) {
    // SAFETY: all are C strings.
    let mounted = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    check(target.to_str().unwrap_or("mount"), mounted.into());
}

/// A detached copy of the mount at `path`; none when there is no such path. It is closed by execve.
fn open_tree(path: &CStr) -> Option<c_int> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    // SAFETY: `path` is a C string.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if tree < 0 {
        absent("open_tree");
        return None;
    }
    Some(tree as c_int)
}

fn set_readonly(tree: c_int) {
    let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    let size = size_of_val(&attributes);
    // SAFETY: `tree` is open, the path is a C string, and the array has the layout of struct mount_attr.
    let set = unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree, c"".as_ptr(), libc::AT_EMPTY_PATH, attributes.as_ptr(), size)
    };
    check("mount_setattr", set);
}

fn move_mount(tree: c_int, path: &CStr) -> c_long {
    let (empty, target) = (c"".as_ptr(), path.as_ptr());
    // SAFETY: `tree` is open and both paths are C strings.
    unsafe { libc::syscall(libc::SYS_move_mount, tree, empty, libc::AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) }
}

fn check(step: &str, result: c_long) -> c_long {
    if result < 0 {
        fail(step);
    }
    result
}

/// Goes on after a failure that only says the path is not there.
fn absent(step: &str) {
    if std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOENT) {
        fail(step);
    }
}

fn fail(step: &str) -> ! {
    eprintln!("bare-syscalls: {step}: {}", std::io::Error::last_os_error());
    // SAFETY: _exit has no requirements; nothing here needs to be flushed.
    unsafe { libc::_exit(125) }
}
