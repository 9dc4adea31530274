//! Descriptors that the scheduler waits for.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor whose readiness for `interest` can be awaited.
///
/// # Errors
/// When the kernel cannot watch it: files of a disk are always ready.
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the scheduler asks that the value's descriptor be open and the same until the value is dropped. An
    // `OwnedFd` closes its descriptor when it is dropped, never changes it, and is moved into the result here.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_is_watched_and_a_file_is_not() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let reader = watched(reader, Interest::READABLE).unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        drop(reader.readable().await.unwrap());
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        assert!(watched(file, Interest::READABLE).is_err());
    }
}
