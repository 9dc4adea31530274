//! The task that follows a fleet: look, believe, keep, stage, tell; then wait. It goes on for as long as somebody listens,
//! whatever the server does.
//!
//! ```text
//!   start ──> told from disk ──> look ──(304)───────────────────────────> stage ──> wait ──> look …
//!                                 │                                          ^
//!                                 └──(200)──> judge ──> memory, index ──> tell
//! ```
//!
//! Staging is tried after each look that went well, for as long as the release is not whole: a server that changed nothing
//! may still owe an archive.

use super::fetch::{Failure, Reason, Reply, Session};
use super::library::{self, Believed, Library, judge_release};
use super::schedule::Schedule;
use super::unpack::{self, unpack};
use super::verify::{self, Keys, Refusal};
use super::{News, Order, Settings};
use crate::chain::chain;
use crate::{digest, store};
use sha2::{Digest as _, Sha256};
use skiff_planner::name::Digest;
use skiff_planner::release::Release;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes of a signature.
const SIGNATURE: u64 = 4096;

/// Why a look ended before everything was there.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Fetch(#[from] Failure),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Keys(#[from] verify::Error),
    #[error(transparent)]
    Release(#[from] library::ReleaseRefusal),
    #[error(transparent)]
    Library(#[from] library::Error),
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the archive `{digest}` has the digest `{found}`")]
    Archive { digest: Digest, found: Digest },
    #[error("the {what} `{digest}` has {size} bytes; {most} are taken")]
    TooLarge { what: &'static str, digest: Digest, size: u64, most: u64 },
    #[error("cannot keep the archive `{digest}`")]
    Disk { digest: Digest, source: std::io::Error },
}

/// Follows the fleet until nobody listens to its news or gives orders any more.
pub async fn follow(settings: Settings, library: Library, news: mpsc::Sender<News>, orders: mpsc::Receiver<Order>) {
    let schedule = Schedule::new(&settings.device.id);
    let follower = Follower { settings, library, news, orders, schedule, told: Told::default() };
    // It ends when the daemon's loop does, which needs no word about it.
    let _the_loop_is_gone = follower.run().await;
}

/// Nobody listens any more.
struct Gone;

/// What the loop has heard already, so that it hears it once.
#[derive(Default)]
struct Told {
    /// The index whose lack of a release was told.
    nothing_of: Option<Digest>,
    /// The index whose release was told to be staged.
    staged_of: Option<Digest>,
    /// What a child could not have enforced.
    not_enforced: Vec<String>,
}

struct Follower {
    settings: Settings,
    library: Library,
    news: mpsc::Sender<News>,
    orders: mpsc::Receiver<Order>,
    schedule: Schedule,
    told: Told,
}

impl Follower {
    async fn run(mut self) -> Result<(), Gone> {
        if let Some(believed) = self.library.believed() {
            let accepted = believed.news(true);
            self.tell(News::Accepted(Box::new(accepted))).await?;
            if let Err(error) = self.tell_staged().await? {
                self.tell(refused("disk", &error)).await?;
            }
        }
        loop {
            let wait = match self.look().await? {
                Ok(()) => self.schedule.after_success(&self.poll()),
                Err(trouble) => {
                    let retry_after = match &trouble {
                        Trouble::Fetch(failure) => failure.retry_after,
                        _ => None,
                    };
                    self.tell(trouble.news()).await?;
                    self.schedule.after_failure(&self.poll(), retry_after)
                }
            };
            self.wait(wait.max(self.settings.spacing)).await?;
        }
    }

    /// Waits, and does as it is told meanwhile.
    async fn wait(&mut self, wait: Duration) -> Result<(), Gone> {
        let end = tokio::time::Instant::now() + wait;
        // The loop may say so again and again: from one look to the next the spacing stays.
        let earliest = tokio::time::Instant::now() + self.settings.spacing;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(()),
                () = self.news.closed() => return Err(Gone),
                order = self.orders.recv() => match order {
                    None => return Err(Gone),
                    Some(Order::Sync) => {
                        tokio::time::sleep_until(earliest.min(end)).await;
                        return Ok(());
                    }
                    Some(Order::Keep(keep)) => {
                        if let Err(error) = self.library.collect(&keep) {
                            tracing::warn!("what is not needed any more stays: {}", chain(&error));
                        }
                    }
                },
            }
        }
    }

    fn poll(&self) -> skiff_planner::fleet::Poll {
        let believed = self.library.believed();
        believed.map_or_else(|| self.settings.poll.clone(), |believed| believed.judged.fleet.poll.clone())
    }

    async fn tell(&self, news: News) -> Result<(), Gone> {
        self.news.send(news).await.map_err(|_| Gone)
    }

    /// One look: the index, and what it lacks of its release.
    async fn look(&mut self) -> Result<Result<(), Trouble>, Gone> {
        let settings = self.settings.clone();
        let mut session = match Session::open(&settings).await {
            Ok(session) => session,
            Err(failure) => return Ok(Err(failure.into())),
        };
        if self.told.not_enforced != session.not_enforced() {
            self.told.not_enforced = session.not_enforced().to_vec();
            for what in session.not_enforced() {
                tracing::warn!("the fetching child is confined without {what}");
            }
        }
        let changed = match self.index(&mut session).await {
            Ok(changed) => changed,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let news = match self.library.believed() {
            Some(believed) if changed => News::Accepted(Box::new(believed.news(false))),
            _ => News::Unchanged,
        };
        self.tell(news).await?;
        match self.tell_staged().await? {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => {}
            Err(error) => return Ok(Err(error)),
        }
        if let Err(trouble) = self.stage(&mut session).await {
            return Ok(Err(trouble));
        }
        Ok(self.tell_staged().await?.map(|_| ()))
    }

    /// Tells of the release, if all of it is there or there is none. Returns whether that is so.
    async fn tell_staged(&mut self) -> Result<Result<bool, Trouble>, Gone> {
        let Some(believed) = self.library.believed() else { return Ok(Ok(true)) };
        let digest = Some(believed.judged.digest.clone());
        if believed.selection.version.is_none() {
            if self.told.nothing_of != digest {
                let steps = believed.selection.steps.clone();
                self.tell(News::NoRelease { steps }).await?;
                self.told.nothing_of = digest;
            }
            return Ok(Ok(true));
        }
        if self.told.staged_of == digest {
            return Ok(Ok(true));
        }
        match believed.staged(&self.library.shelf()) {
            Ok(Some(staged)) => {
                self.tell(News::Staged(Box::new(staged))).await?;
                self.told.staged_of = digest;
                Ok(Ok(true))
            }
            Ok(None) => Ok(Ok(false)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// The index: whether there is a new one, which is then on disk.
    async fn index(&mut self, session: &mut Session<'_>) -> Result<bool, Trouble> {
        let limit = self.settings.limits.index;
        let etag = self.library.believed().and_then(|believed| believed.etag.clone());
        let (bytes, etag) = match session.get("index.json", etag.as_deref(), limit).await? {
            Reply::Unchanged => return Ok(false),
            Reply::Body { bytes, etag } => (bytes, etag),
        };
        // A server without names for its editions sends the same again and again.
        if self.library.believed().is_some_and(|believed| believed.judged.digest == digest::of(&bytes)) {
            self.library.called(etag);
            return Ok(false);
        }
        let signature = match session.get("index.json.minisig", None, SIGNATURE).await? {
            Reply::Body { bytes, .. } => bytes,
            Reply::Unchanged => Vec::new(),
        };
        let keys = Keys::read(&self.settings.trust)?;
        let name = self.settings.name.as_deref();
        let judged = verify::judge(&bytes, &signature, &keys, self.library.memory(), name)?;
        self.library.accept(&self.settings, judged, &bytes, &signature, etag)?;
        Ok(true)
    }

    /// What is missing of the release.
    async fn stage(&self, session: &mut Session<'_>) -> Result<(), Trouble> {
        let Some((id, size)) = self.library.believed().and_then(Believed::release) else { return Ok(()) };
        let release = match self.library.shelf().release(&id.digest)? {
            Some(release) => release,
            None => self.fetch_release(session, &id.digest, size).await?,
        };
        if release.metadata.version != id.version {
            let (found, version) = (release.metadata.version, id.version);
            return Err(library::ReleaseRefusal::Version { digest: id.digest, found, version }.into());
        }
        for (digest, size) in library::archives(&release) {
            if !self.library.shelf().bundle(&digest).join("config.json").is_file() {
                self.fetch_bundle(session, &digest, size).await?;
            }
        }
        Ok(())
    }

    async fn fetch_release(&self, session: &mut Session<'_>, digest: &Digest, size: u64) -> Result<Release, Trouble> {
        let most = self.settings.limits.release;
        if size > most {
            return Err(Trouble::TooLarge { what: "release", digest: digest.clone(), size, most });
        }
        let path = format!("releases/{}.json", digest.file_name());
        let bytes = session.get_sized(&path, size).await?;
        let release = judge_release(digest, &bytes)?;
        self.library.keep_release(digest, &bytes)?;
        Ok(release)
    }

    async fn fetch_bundle(&self, session: &mut Session<'_>, digest: &Digest, size: u64) -> Result<(), Trouble> {
        let limits = &self.settings.limits;
        if size > limits.archive {
            let (what, digest) = ("archive", digest.clone());
            return Err(Trouble::TooLarge { what, digest, size, most: limits.archive });
        }
        let shelf = self.library.shelf();
        let place = shelf.archive(digest);
        let disk = |source| Trouble::Disk { digest: digest.clone(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&place).map_err(disk)?;
        // From here on it has no name: whatever happens, nothing of it stays.
        std::fs::remove_file(&place).map_err(disk)?;
        session.get_file(&format!("blobs/{}", digest.file_name()), size, &mut file).await?;
        file.rewind().map_err(disk)?;
        let found = digest_of(&mut file).await.map_err(disk)?;
        if found != *digest {
            return Err(Trouble::Archive { digest: digest.clone(), found });
        }
        file.rewind().map_err(disk)?;
        for what in unpack(&self.settings.program, limits, file, size, &shelf.bundle(digest)).await? {
            tracing::warn!("the unpacking child is confined without {what}");
        }
        Ok(())
    }
}

/// Of a file's bytes, with room for others between its pieces.
async fn digest_of(file: &mut File) -> std::io::Result<Digest> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => {
                return Ok(digest::end(hash));
            }
            read => hash.update(&piece[..read]),
        }
        tokio::task::yield_now().await;
    }
}

impl Trouble {
    /// What the loop hears: whether the server did not answer, or is not believed.
    fn news(&self) -> News {
        match self {
            Self::Fetch(failure) if failure.reason == Reason::Disk => refused("disk", self),
            Self::Fetch(failure) => News::Unreachable { reason: failure.reason.word(), text: failure.to_string() },
            Self::Refused(refusal) => refused(refusal.reason(), self),
            Self::Release(refusal) => refused(refusal.reason(), self),
            Self::Keys(_) => refused("no_keys", self),
            Self::Archive { .. } => refused("digest", self),
            Self::TooLarge { .. } => refused("too_large", self),
            Self::Unpack(unpack::Error::Refused(_)) => refused("archive", self),
            Self::Unpack(unpack::Error::Child { .. }) => refused("child", self),
            Self::Library(_) | Self::Unpack(_) | Self::Store(_) | Self::Disk { .. } => refused("disk", self),
        }
    }
}

fn refused(reason: &'static str, trouble: &Trouble) -> News {
    News::Refused { reason, text: chain(trouble) }
}
