//! Copies one stream until its end. The bytes go from the one descriptor to the other within one step, so that a quiet
//! stream holds no buffer; only what a full fifo did not take is kept until it does.

use super::cri::Lines;
use super::rotate::Shared;
use crate::sys::watched;
use rustix::io::{Errno, read, write};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::SystemTime;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

const CHUNK: usize = 16 << 10;

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    /// A fifo, a pipe or a terminal, not blocking.
    Descriptor(AsyncFd<OwnedFd>),
    /// A file on a disk, which takes what it is given or fails at once.
    File(File),
    /// A log of ours.
    Log(Shared, Lines),
}

/// What one step came to.
enum Step {
    /// There may be more.
    More,
    /// This much was not taken.
    Left(Vec<u8>),
    /// The stream has ended.
    End,
}

impl Sink {
    pub(super) fn descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self::Descriptor(watched(descriptor, Interest::WRITABLE)?))
    }

    /// Takes bytes without waiting, and returns those that it did not take.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Descriptor(sink) => match write(sink.get_ref(), bytes) {
                Ok(written) => Ok(bytes[written..].to_vec()),
                Err(Errno::AGAIN | Errno::INTR) => Ok(bytes.to_vec()),
                Err(error) => Err(error.into()),
            },
            Self::File(file) => {
                // A full disk must not stop the container; what does not fit is lost, as it would be without us.
                let _lost_when_full = file.write_all(bytes);
                Ok(Vec::new())
            }
            Self::Log(log, lines) => {
                let mut text = Vec::with_capacity(bytes.len() + 64);
                lines.take(bytes, &now(), &mut text);
                log.lock().unwrap_or_else(PoisonError::into_inner).append(&text);
                Ok(Vec::new())
            }
        }
    }

    async fn finish_taking(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            let Self::Descriptor(sink) = self else { return Ok(()) };
            let mut ready = sink.writable().await?;
            match ready.try_io(|sink| Ok(write(sink.get_ref(), &bytes)?)) {
                Ok(written) => drop(bytes.drain(..written?)),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Self::Log(log, lines) = self {
            let mut text = Vec::new();
            lines.finish(&now(), &mut text);
            log.lock().unwrap_or_else(PoisonError::into_inner).append(&text);
        }
    }
}

/// Copies until the source ends, the sink is gone, or `closed` is told; then what is there is still copied.
pub(super) async fn copy(source: &AsyncFd<OwnedFd>, sink: &mut Sink, closed: &Notify) {
    loop {
        let ready = tokio::select! {
            ready = source.readable() => ready,
            () = closed.notified() => {
                copy_rest(source, sink).await;
                break;
            }
        };
        let Ok(mut ready) = ready else { break };
        match ready.try_io(|source| step(source.get_ref(), sink)) {
            Ok(Ok(Step::More)) | Err(_) => {}
            // Outside the choice above: what was read must be delivered.
            Ok(Ok(Step::Left(bytes))) => {
                if sink.finish_taking(bytes).await.is_err() {
                    break;
                }
            }
            // A terminal whose last program has closed it says EIO (pty(7)).
            Ok(Ok(Step::End) | Err(_)) => break,
        }
        // A stream that never pauses is always ready, and would keep the one thread from everybody else.
        tokio::task::yield_now().await;
    }
    sink.finish();
}

/// Copies what is there now, and does not wait for more.
async fn copy_rest(source: &AsyncFd<OwnedFd>, sink: &mut Sink) {
    while let Ok(step) = step(source.get_ref(), sink) {
        match step {
            Step::More => {}
            Step::Left(bytes) => {
                if sink.finish_taking(bytes).await.is_err() {
                    return;
                }
            }
            Step::End => return,
        }
        tokio::task::yield_now().await;
    }
}

fn step(source: &OwnedFd, sink: &mut Sink) -> io::Result<Step> {
    let mut buffer = [0; CHUNK];
    let count = match read(source, &mut buffer) {
        Ok(0) => return Ok(Step::End),
        Ok(count) => count,
        Err(Errno::INTR) => return Ok(Step::More),
        Err(error) => return Err(error.into()),
    };
    let left = sink.take(&buffer[..count])?;
    Ok(if left.is_empty() { Step::More } else { Step::Left(left) })
}

fn now() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::pipe::fcntl_setpipe_size;
    use std::rc::Rc;

    /// How often another task gets its turn while a full pipe is copied.
    async fn turns_beside(closed: bool) -> usize {
        const STEPS: usize = 16;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        fcntl_setpipe_size(&writer, STEPS * CHUNK).unwrap();
        assert_eq!(write(&writer, &vec![b'x'; STEPS * CHUNK]).unwrap(), STEPS * CHUNK);
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let source = watched(reader, Interest::READABLE).unwrap();
        let close = Notify::new();
        if closed {
            close.notify_one();
        } else {
            drop(writer);
        }
        let mut sink = Sink::File(File::options().write(true).open("/dev/null").unwrap());
        let turns = Rc::new(std::cell::Cell::new(0));
        let other = async {
            loop {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = copy(&source, &mut sink, &close) => turns.get(),
            () = other => unreachable!("it has no end"),
        }
    }

    #[tokio::test]
    async fn a_stream_without_pause_leaves_room_for_others() {
        for closed in [false, true] {
            let turns = turns_beside(closed).await;
            assert!(turns >= 16, "closed: {closed}; {turns} turns");
        }
    }
}
