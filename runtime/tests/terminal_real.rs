//! Makes terminals below roots of a private mount name space: a good one, and each kind of trap that an image can set.
//! The test executes itself with `SKIFF_ROOT` set, under strace where a call is to fail.
// The bans protect the runtime; these are whole programs that only play its part.
#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, reason = "a test: every failure is to be loud")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use skiff::terminal::{self, Size};

const ROOT: &str = "SKIFF_ROOT";

fn main() {
    if let Some(root) = std::env::var_os(ROOT) {
        allocate(Path::new(&root));
        return;
    }
    if std::env::args().any(|argument| argument == "--list") {
        println!("terminal_real: test");
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();

    check(&fresh(root, "good", devpts), &[], "good 0");
    check(&fresh(root, "no-openat2", devpts), &["openat2:error=ENOSYS"], "good 0");
    // TIOCSPTLCK, TIOCGPTN, TIOCGPTPEER.
    check(&fresh(root, "no-peer", devpts), &["ioctl:error=ENOTTY:when=3"], "good 0");
    let absent = "cannot open `/dev/pts/ptmx` in the container; `mounts` must have a `devpts` at `/dev/pts`";
    for injection in [&[][..], &["openat2:error=ENOSYS"][..]] {
        let name = |what: &str| format!("{what}-{}", injection.len());
        check(&fresh(root, &name("empty"), |_| ()), injection, absent);
        check(&fresh(root, &name("pts-link"), |dev| symlink("/dev/pts", dev.join("pts")).unwrap()), injection, absent);
        let dev_link = |dev: &Path| {
            fs::remove_dir(dev).unwrap();
            symlink("/dev", dev).unwrap();
        };
        check(&fresh(root, &name("dev-link"), dev_link), injection, absent);
        let fake = |dev: &Path| {
            fs::create_dir(dev.join("pts")).unwrap();
            let kind = SFlag::S_IFCHR;
            mknod(&dev.join("pts/ptmx"), kind, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
        };
        let impostor = "`/dev/pts` in the container is not what a devpts has there; refusing to use it as a terminal";
        check(&fresh(root, &name("fake"), fake), injection, impostor);
    }
    // With everything in it, or the folder could not be removed.
    umount2(root, MntFlags::MNT_DETACH).unwrap();
    println!("terminal_real: ok");
}

fn fresh(base: &Path, name: &str, build: impl FnOnce(&Path)) -> std::path::PathBuf {
    let root = base.join(name);
    fs::create_dir(&root).unwrap();
    mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::create_dir(root.join("dev")).unwrap();
    build(&root.join("dev"));
    root
}

fn devpts(dev: &Path) {
    let pts = dev.join("pts");
    fs::create_dir(&pts).unwrap();
    mount(Some("devpts"), &pts, Some("devpts"), MsFlags::empty(), Some("newinstance,ptmxmode=0666,gid=5")).unwrap();
}

fn check(root: &Path, injections: &[&str], expected: &str) {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "trace=openat2,ioctl"]);
    for injection in injections {
        command.args(["-e", &format!("inject={injection}")]);
    }
    let output = command.arg(own).env(ROOT, root).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{} {injections:?}: {}", root.display(), said.trim());
    assert_eq!(said.trim(), expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the container's child does.
fn allocate(root: &Path) {
    let root_descriptor = File::open(root).unwrap();
    let pty = match terminal::allocate(root_descriptor.as_fd()) {
        Ok(pty) => pty,
        Err(error) => {
            println!("{error}");
            return;
        }
    };
    pty.set_size(Size { rows: 33, columns: 101 }).unwrap();
    pty.give_to(1000).unwrap();
    let slave = fs::metadata(root.join(format!("dev/pts/{}", pty.number))).unwrap();
    assert_eq!((slave.uid(), slave.gid()), (1000, 5), "the group is devpts's");
    let size = rustix::termios::tcgetwinsize(&pty.slave).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 101));

    let words = format!("good {}", pty.number);
    nix::unistd::setsid().unwrap();
    let before = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let master = pty.make_controlling().unwrap();
    println!("inside");
    assert_eq!(rustix::process::getsid(None).unwrap(), rustix::termios::tcgetsid(std::io::stdin()).unwrap());
    assert!(File::open("/dev/tty").is_ok(), "it is the controlling terminal");
    let mut bytes = [0; 64];
    let length = rustix::io::read(&master, &mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"inside\r\n");
    rustix::io::write(&before, words.as_bytes()).unwrap();
}
