//! The socket on which a runtime sends the terminal of a process. It lies in the bundle and is named through a
//! descriptor of ours, because the path of a bundle is often longer than the address of a socket may be.

use rustix::fs::{Mode, OFlags, open, unlinkat};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixListener;

/// How long a runtime that has ended well may have left the terminal on the way.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening console socket; its name goes when this is dropped.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    folder: OwnedFd,
    name: String,
}

impl ConsoleSocket {
    /// Listens in `bundle` on a name that belongs to one process of the container.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn listen(bundle: &Path, process: &str) -> io::Result<Self> {
        let folder = open(bundle, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = format!("console-{process}.sock");
        match unlinkat(&folder, &name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
        Ok(Self { listener, folder, name })
    }

    /// The path for a runtime, which runs while this lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}/{}", std::process::id(), self.folder.as_raw_fd(), self.name).into()
    }

    /// Takes the emulator's side of the terminal.
    ///
    /// # Errors
    /// When none comes in time.
    pub(crate) async fn receive(self) -> io::Result<OwnedFd> {
        tokio::time::timeout(PATIENCE, self.accept()).await?
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept().await?;
        loop {
            stream.readable().await?;
            match stream.try_io(Interest::READABLE, || descriptor(&stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _the_bundle_goes_as_a_whole = unlinkat(&self.folder, &self.name, rustix::fs::AtFlags::empty());
    }
}

fn descriptor(stream: &tokio::net::UnixStream) -> io::Result<OwnedFd> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = part {
            if let Some(first) = descriptors.next() {
                return Ok(first);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal"))
}
