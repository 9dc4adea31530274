//! The one reaper: every child of this process is waited for here, whether it was started here or came because this
//! process is the subreaper of what the runtime leaves behind.
//!
//! A container's init becomes our child when the runtime that made it ends, and it may be dead by then. So an exit that
//! nobody has claimed yet is kept for as long as a call is under way that could still claim it. The kernel gives numbers
//! out again, so an exit that was seen before the call began is not the one that it waits for.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit code, or 128 and the number of the signal.
    pub(crate) status: u32,
    /// When it was seen.
    pub(crate) at: SystemTime,
}

/// Who waits for which process.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    claimed: HashMap<i32, oneshot::Sender<Exit>>,
    /// With the number of expectations that had begun when it was seen.
    early: HashMap<i32, (u64, Exit)>,
    /// Calls that will claim a process whose id they do not know yet, by their number.
    expecting: BTreeSet<u64>,
    /// Expectations so far.
    begun: u64,
}

impl Book {
    /// The end of a process that certainly has not been waited for yet.
    fn watch(&mut self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        self.early.remove(&pid);
        self.claimed.insert(pid, sender);
        receiver
    }

    /// The end of a process that began after the expectation `since`.
    fn claim(&mut self, pid: i32, since: u64) -> oneshot::Receiver<Exit> {
        match self.early.remove(&pid) {
            Some((seen, exit)) if seen >= since => {
                let (sender, receiver) = oneshot::channel();
                let _receiver_is_in_our_hand = sender.send(exit);
                receiver
            }
            _ => self.watch(pid),
        }
    }

    fn saw(&mut self, pid: i32, exit: Exit) {
        match self.claimed.remove(&pid) {
            Some(sender) => {
                let _whoever_waited_may_have_stopped = sender.send(exit);
            }
            // Somebody's grandchild that was left to us, unless a call will soon say that it is a container's.
            None if !self.expecting.is_empty() => {
                self.early.insert(pid, (self.begun, exit));
            }
            None => {}
        }
    }

    fn expect(&mut self) -> u64 {
        self.begun += 1;
        self.expecting.insert(self.begun);
        self.begun
    }

    /// Forgets what was seen before the oldest expectation that is left.
    fn stop_expecting(&mut self, number: u64) {
        self.expecting.remove(&number);
        match self.expecting.first() {
            Some(&oldest) => self.early.retain(|_, (seen, _)| *seen >= oldest),
            None => self.early = HashMap::new(),
        }
    }
}

/// As long as this lives no exit is forgotten.
#[derive(Debug)]
pub(crate) struct Expecting {
    reaper: Arc<Reaper>,
    number: u64,
}

impl Expecting {
    /// The end of process `pid`, which is our child or is about to be, and has begun since this was made.
    pub(crate) fn claim(self, pid: i32) -> oneshot::Receiver<Exit> {
        self.reaper.book().claim(pid, self.number)
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        self.reaper.book().stop_expecting(self.number);
    }
}

impl Reaper {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps exits from now on, because the caller will claim a process whose id it is about to learn.
    pub(crate) fn expect(self: &Arc<Self>) -> Expecting {
        let number = self.book().expect();
        Expecting { reaper: Arc::clone(self), number }
    }

    /// Sends a signal to a claimed process; `None` when it has been waited for, and its number may be another's.
    pub(crate) fn signal(&self, pid: u32, signal: Signal) -> Option<io::Result<()>> {
        let pid = i32::try_from(pid).ok()?;
        // Held meanwhile, though one thread would do: nothing may be waited for between these two lines.
        let book = self.book();
        book.claimed.contains_key(&pid).then_some(())?;
        Some(kill_process(Pid::from_raw(pid)?, signal).map_err(io::Error::from))
    }

    /// Starts a program. Nothing else may wait for it; that is why its handle is not given out.
    ///
    /// # Errors
    /// As `Command::spawn`.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<oneshot::Receiver<Exit>> {
        let child = command.spawn()?;
        // One thread: the program cannot have been waited for between these two lines.
        Ok(self.book().watch(i32::try_from(child.id()).expect("process ids fit")))
    }

    /// Reaps for ever. To be called before anything is started.
    ///
    /// # Errors
    /// When there can be no notice of SIGCHLD.
    pub(crate) fn begin(self: &Arc<Self>) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let reaper = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                reaper.reap();
                if children.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// One SIGCHLD stands for any number of exits.
    fn reap(&self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let exit = Exit { status: exit_status(status), at: SystemTime::now() };
                    self.book().saw(pid.as_raw_nonzero().get(), exit);
                }
                Err(rustix::io::Errno::INTR) => {}
                // Children that have not ended, or no child at all.
                Ok(None) | Err(_) => return,
            }
        }
    }
}

fn exit_status(status: WaitStatus) -> u32 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}

/// Held by tests with real children: a reaper takes every child of its process, another test's too.
#[cfg(test)]
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: u32) -> Exit {
        Exit { status, at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn an_exit_goes_to_who_claimed_it() {
        let mut book = Book::default();
        let mut first = book.watch(7);
        let mut second = book.watch(8);
        book.saw(8, exit(3));
        assert_eq!(second.try_recv(), Ok(exit(3)));
        assert!(first.try_recv().is_err());
    }

    #[test]
    fn an_exit_before_the_claim_is_kept_while_somebody_expects_one() {
        let mut book = Book::default();
        let (first, second) = (book.expect(), book.expect());
        book.saw(7, exit(1));
        book.stop_expecting(first);
        assert_eq!(book.claim(7, second).try_recv(), Ok(exit(1)));
        book.saw(9, exit(2));
        book.stop_expecting(second);
        assert!(book.claim(9, second).try_recv().is_err(), "an old exit is not a new process's");
    }

    #[test]
    fn an_older_exit_of_the_same_number_is_nobodys() {
        let mut book = Book::default();
        let slow = book.expect();
        book.saw(7, exit(1));
        book.saw(8, exit(2));
        assert!(book.watch(7).try_recv().is_err(), "a program that was just started has not ended");
        let later = book.expect();
        assert!(book.claim(8, later).try_recv().is_err(), "it ended before the later call began");
        book.saw(9, exit(3));
        book.stop_expecting(later);
        assert_eq!(book.claim(9, slow).try_recv(), Ok(exit(3)), "the slow call may still claim it");
    }

    #[test]
    fn what_only_an_ended_call_could_claim_is_forgotten() {
        let mut book = Book::default();
        let first = book.expect();
        book.saw(7, exit(1));
        let _later = book.expect();
        book.stop_expecting(first);
        assert!(book.early.is_empty());
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut book = Book::default();
        for pid in 1..1000 {
            book.saw(pid, exit(0));
        }
        assert!(book.early.is_empty() && book.claimed.is_empty());
    }

    #[tokio::test]
    async fn real_children_are_reaped_with_their_status() {
        let _alone = ALONE.lock().await;
        let reaper = Arc::new(Reaper::default());
        reaper.begin().unwrap();
        let mut all = Vec::new();
        for status in 0..20 {
            all.push((status, reaper.spawn(Command::new("sh").args(["-c", &format!("exit {status}")])).unwrap()));
        }
        for (status, receiver) in all {
            assert_eq!(receiver.await.unwrap().status, status);
        }
        let killed = reaper.spawn(Command::new("sh").args(["-c", "kill -9 $$"])).unwrap();
        assert_eq!(killed.await.unwrap().status, 137);
        let expecting = reaper.expect();
        let pid = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap().id();
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while reaper.book().early.is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(expecting.claim(i32::try_from(pid).unwrap()).await.unwrap().status, 7);
    }
}
