//! A pseudo-terminal from the container's own devpts, and what is done with its two ends (pty(7)).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::Error;

/// `DEVPTS_SUPER_MAGIC` of <linux/magic.h>.
const DEVPTS_MAGIC: i64 = 0x1cd1;
/// The device number of every ptmx (Documentation/admin-guide/devices.txt: 5 char, 2).
const MULTIPLEXER: (u32, u32) = (5, 2);
/// The first major of Unix98 terminals (136 char); eight majors follow each other.
const TERMINAL_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// How many characters a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Both ends of a new terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end that a person, a shim or our proxy holds.
    pub master: OwnedFd,
    /// The end that the container's process gets as its standard streams.
    pub slave: OwnedFd,
    /// Its number: the slave is `/dev/pts/<number>` in the container.
    pub number: u32,
}

/// Makes a terminal from the devpts at `dev/pts` below `root`, a directory descriptor (O_PATH will do) of the
/// container's root. To be called when the root is built: in the child before or after it pivots, or by `exec`.
///
/// # Errors
/// [`Error::Multiplexer`] without a devpts, [`Error::Impostor`] when something else lies there.
pub fn allocate(root: BorrowedFd<'_>) -> Result<Pty, Error> {
    let missing = |errno: Errno| Error::Multiplexer(errno.into());
    // The file system is asked before anything in it is opened: opening a device that an image planted does things.
    let devpts = open_folder(root, &[c"dev", c"pts"]).map_err(missing)?;
    if !is_devpts(&devpts)? {
        return Err(Error::Impostor { path: "/dev/pts".to_string() });
    }
    let master = rustix::fs::openat(&devpts, c"ptmx", DEVICE, Mode::empty()).map_err(missing)?;
    verify(&master, "/dev/pts/ptmx", |device| device == MULTIPLEXER)?;
    rustix::pty::unlockpt(&master).map_err(terminal("unlock"))?;
    let path = rustix::pty::ptsname(&master, Vec::new()).map_err(terminal("number"))?;
    let number = number(&path).ok_or_else(|| terminal("number")(Errno::RANGE))?;
    let slave = open_slave(&devpts, &master, number)?;
    verify(&slave, &format!("/dev/pts/{number}"), |(major, _)| TERMINAL_MAJORS.contains(&major))?;
    Ok(Pty { master, slave, number })
}

impl Pty {
    /// Tells the terminal how large it is (`process.consoleSize`); TIOCSWINSZ of ioctl_tty(2).
    ///
    /// # Errors
    /// [`Error::Terminal`] with the ioctl's reason.
    pub fn set_size(&self, size: Size) -> Result<(), Error> {
        set_size(self.master.as_fd(), size).map_err(terminal("size"))
    }

    /// Gives the slave to the process's user; the group stays the one of devpts's `gid=` option, as tty(4) wants it.
    /// An id that is not mapped in the user name space (EINVAL) or a file system that will not (EPERM, EROFS) leave
    /// the owner as it is: runc does the same, and the process still has the open descriptors.
    ///
    /// # Errors
    /// [`Error::Terminal`] for any other reason.
    pub fn give_to(&self, uid: u32) -> Result<(), Error> {
        match rustix::fs::fchown(&self.slave, Some(rustix::fs::Uid::from_raw(uid)), None) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => Ok(()),
            Err(errno) => Err(terminal("change the owner of")(errno)),
        }
    }

    /// Makes the slave the controlling terminal and the three standard streams of this process, which must lead a
    /// session that has none yet (setsid(2)), and gives the master back.
    ///
    /// # Errors
    /// [`Error::Terminal`] when this process leads no session or the streams cannot be replaced.
    pub fn make_controlling(self) -> Result<OwnedFd, Error> {
        rustix::process::ioctl_tiocsctty(&self.slave).map_err(terminal("take control of"))?;
        self.make_streams()
    }

    /// Makes the slave the three standard streams of this process, and gives the master back. [`take_control`] is left
    /// to whoever leads a session.
    ///
    /// # Errors
    /// [`Error::Terminal`] when the streams cannot be replaced.
    pub fn make_streams(self) -> Result<OwnedFd, Error> {
        rustix::stdio::dup2_stdin(&self.slave)
            .and_then(|()| rustix::stdio::dup2_stdout(&self.slave))
            .and_then(|()| rustix::stdio::dup2_stderr(&self.slave))
            .map_err(terminal("make standard streams of"))?;
        Ok(self.master)
    }
}

/// Makes standard input, which is a terminal, the controlling one of this process, which must lead a session that has none
/// yet (setsid(2)).
///
/// # Errors
/// [`Error::Terminal`].
pub fn take_control() -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(std::io::stdin()).map_err(terminal("take control of"))
}

/// TIOCSWINSZ with no pixels.
pub(crate) fn set_size(terminal: BorrowedFd<'_>, size: Size) -> Result<(), Errno> {
    let wanted = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, wanted)
}

fn terminal(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Terminal { operation, source: errno.into() }
}

/// The slave by way of the master (TIOCGPTPEER, Linux 4.13), which no mount can redirect; else by its number.
fn open_slave(devpts: &OwnedFd, master: &OwnedFd, number: u32) -> Result<OwnedFd, Error> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    match rustix::pty::ioctl_tiocgptpeer(master, flags) {
        Err(Errno::NOTTY | Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::openat(devpts, number.to_string(), DEVICE, Mode::empty()).map_err(terminal("open"))
        }
        opened => opened.map_err(terminal("open")),
    }
}

/// The number at the end of the `/dev/pts/<number>` that ptsname(3) composes.
fn number(path: &CStr) -> Option<u32> {
    path.to_str().ok()?.strip_prefix("/dev/pts/")?.parse().ok()
}

const DEVICE: OFlags = OFlags::RDWR.union(OFlags::NOCTTY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the folder `root/a/b` without following any link, whoever planted it; mounts are crossed, devpts is one.
fn open_folder(root: BorrowedFd<'_>, names: &[&CStr]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let whole = names.iter().map(|name| name.to_bytes()).collect::<Vec<_>>().join(&b'/');
    match rustix::fs::openat2(root, whole, FOLDER, Mode::empty(), resolve) {
        // Before Linux 5.6, or in a sandbox whose filter does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_stepwise(root, names),
        opened => opened,
    }
}

fn open_stepwise(root: BorrowedFd<'_>, names: &[&CStr]) -> Result<OwnedFd, Errno> {
    let mut folder: Option<OwnedFd> = None;
    for name in names {
        let above = folder.as_ref().map_or(root, AsFd::as_fd);
        folder = Some(rustix::fs::openat(above, *name, FOLDER, Mode::empty())?);
    }
    folder.ok_or(Errno::INVAL)
}

fn is_devpts(opened: &OwnedFd) -> Result<bool, Error> {
    let system = rustix::fs::fstatfs(opened).map_err(terminal("inspect"))?;
    #[allow(clippy::unnecessary_cast)] // 32 bits wide on 32-bit machines
    Ok(system.f_type as i64 == DEVPTS_MAGIC)
}

/// Asks the open descriptor, not the path, what it is.
fn verify(opened: &OwnedFd, path: &str, is_right: impl Fn((u32, u32)) -> bool) -> Result<(), Error> {
    let stat = rustix::fs::fstat(opened).map_err(terminal("inspect"))?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_device && is_right(device) && is_devpts(opened)? {
        return Ok(());
    }
    Err(Error::Impostor { path: path.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_name_alone() {
        assert_eq!(number(c"/dev/pts/17"), Some(17));
        assert_eq!(number(c"/dev/pts/x"), None);
        assert_eq!(number(c"/dev/tty1"), None);
    }

    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::fs::create_dir(folder.path().join("real/pts")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("pts", folder.path().join("real/alias")).unwrap();
        let root = std::fs::File::open(folder.path()).unwrap();
        for open in [open_folder, open_stepwise] {
            assert!(open(root.as_fd(), &[c"real", c"pts"]).is_ok());
            for trap in [[c"link", c"pts"], [c"real", c"alias"]] {
                assert!(matches!(open(root.as_fd(), &trap), Err(Errno::LOOP | Errno::NOTDIR)), "{trap:?}");
            }
        }
    }
}
