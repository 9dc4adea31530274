//! The loop itself: waits at one place, lets the state learn and decide, keeps the decision, and only then performs it.

use super::memory::Memory;
use super::state::{Decision, Fact, State};
use super::{Error, look, making, node_settings, tell};
use crate::chain::chain;
use crate::config::Config;
use crate::control::{self, Query};
use crate::events::Ring;
use crate::fleet::library::Library;
use crate::fleet::{self, Order};
use crate::node::{Doing, Node, Seen};
use crate::{clock, report, store};
use rustix::fs::{FlockOperation, Mode, OFlags};
use skiff_planner::moment::Moment;
use skiff_planner::plan::Action;
use skiff_planner::rollout::Step;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// How often one event may lead to another decision at once: an end that is counted may hold an instance, which may break a
/// trial, which returns to another release. More than that waits for the next event.
const AT_ONCE: usize = 8;
/// How long a loop that has nothing to wait for waits.
const LONG: Duration = Duration::from_secs(3600);
/// How long the lock of the run folder is waited for: far longer than a child takes to its exec, on a busy machine too.
const LOCK: Duration = Duration::from_secs(3);

/// Everything that the daemon owns.
pub(super) struct Daemon {
    config: Config,
    state: State,
    memory: Memory,
    node: Node,
    events: Ring,
    /// To the task that follows the fleet, if there is a fleet.
    orders: Option<mpsc::Sender<Order>>,
    /// To the task that reports: something changed.
    changed: mpsc::Sender<()>,
    /// Whether that task has to be told so.
    fresh: bool,
    /// Who waits for the end of a drain.
    drains: Vec<oneshot::Sender<()>>,
    boot_id: String,
    began: Moment,
    _lock: OwnedFd,
}

/// Where the daemon's events come from.
pub(super) struct Inputs {
    seen: mpsc::Receiver<Seen>,
    news: mpsc::Receiver<fleet::News>,
    queries: mpsc::Receiver<Query>,
    terminate: Signal,
    interrupt: Signal,
}

impl Daemon {
    /// Takes over what is there: memory, containers, the last known good release. Nothing is started yet, and nothing is
    /// asked of the network.
    ///
    /// # Errors
    /// See [`Error`]; nothing was changed.
    pub(super) async fn open(config: Config) -> Result<(Self, Inputs), Error> {
        for (folder, mode) in [(&config.run, 0o711), (&config.state, 0o700), (&config.logs, 0o750)] {
            store::make_folder(folder, mode)?;
        }
        let lock = lock(&config.run).await?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(Error::step("read the id of this boot"))?
            .trim()
            .to_owned();
        let (memory, ledger, mut rollout) = Memory::open(&config.run, &config.state, &boot_id)?;
        rollout.reopen(clock::now());
        let mut state = State { ledger, rollout, ..State::default() };
        let (node, seen) = Node::new(node_settings(&config));
        let events = Ring::new(boot_id.clone(), clock::now().0);
        node.open().await?;
        for adopted in node.adopt().await {
            events.push(tell::adopted(&adopted));
            state.adopt(adopted);
        }
        let (ask, queries) = mpsc::channel(64);
        control::serve(&control::Settings::new(&config), ask.clone(), &events)
            .map_err(Error::step("open the control socket"))?;
        let (news_to, news) = mpsc::channel(16);
        let orders = follow(&config, &mut state, news_to)?;
        let (changed, changes) = mpsc::channel(1);
        report::spawn(report::Settings::new(&config), ask, changes);
        let inputs = Inputs {
            seen,
            news,
            queries,
            terminate: signal(SignalKind::terminate()).map_err(Error::step("listen for SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(Error::step("listen for SIGINT"))?,
        };
        let began = clock::now();
        let drains = Vec::new();
        let fresh = true;
        Ok((
            Self { config, state, memory, node, events, orders, changed, fresh, drains, boot_id, began, _lock: lock },
            inputs,
        ))
    }

    /// Until it is asked to end. Containers go on then; `skiffctl drain` stops them.
    ///
    /// # Errors
    /// None yet: whatever fails after the start is told and tried again.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Result<(), Error> {
        self.settle();
        notify(&[sd_notify::NotifyState::Ready]);
        let mut watchdog = watchdog();
        loop {
            let wake = self.until_wake();
            tokio::select! {
                Some(seen) = inputs.seen.recv() => self.learn(Fact::Seen(seen)),
                Some(news) = inputs.news.recv() => self.learn(Fact::News(news)),
                Some(query) = inputs.queries.recv() => self.answer(query),
                _ = inputs.terminate.recv() => break,
                _ = inputs.interrupt.recv() => break,
                () = tick(&mut watchdog) => notify(&[sd_notify::NotifyState::Watchdog]),
                () = tokio::time::sleep(wake) => self.learn(Fact::Due),
            }
            // What is there already is learnt before anything is decided: an end and its removal are one decision.
            while let Ok(seen) = inputs.seen.try_recv() {
                self.learn(Fact::Seen(seen));
            }
            self.settle();
        }
        notify(&[sd_notify::NotifyState::Stopping]);
        Ok(())
    }

    fn until_wake(&self) -> Duration {
        self.state.wake.map_or(LONG, |wake| wake.since(clock::now()).duration()).min(LONG)
    }

    fn learn(&mut self, fact: Fact) {
        let now = clock::now();
        // A probe that says what it said before, and the time of day, are no news; the report's own question is none either.
        self.fresh |= !matches!(fact, Fact::Due | Fact::Seen(Seen::Probed { .. }));
        for event in tell::fact(&fact, &self.state, now) {
            self.fresh = true;
            self.events.push(event);
        }
        self.state.learn(fact, now);
    }

    /// Decides and performs until nothing more follows.
    fn settle(&mut self) {
        self.decide();
        if self.state.is_drained() {
            for waiting in self.drains.drain(..) {
                let _nobody_waits_any_more = waiting.send(());
            }
        }
        if std::mem::take(&mut self.fresh) {
            // One word that is not read yet says as much as two.
            let _full_says_the_same = self.changed.try_send(());
        }
    }

    fn decide(&mut self) {
        for _ in 0..AT_ONCE {
            let now = clock::now();
            if self.state.is_put_off(now) {
                return;
            }
            let decision = self.state.decide(now);
            let ends = decision.steps.is_empty()
                && decision.plan.actions.is_empty()
                && decision.plan.ledger == self.state.ledger;
            if let Err(error) = self.keep(&decision) {
                let text = chain(&error);
                if self.state.blocked.as_ref() != Some(&text) {
                    self.events.push(tell::not_kept(&text));
                    self.fresh = true;
                }
                self.state.put_off(text, now);
                return;
            }
            self.state.accept(&decision);
            self.told(&decision);
            for action in decision.plan.actions {
                self.perform(action);
            }
            if ends {
                break;
            }
            self.fresh = true;
        }
    }

    fn keep(&mut self, decision: &Decision) -> Result<(), store::Error> {
        let rollout = decision.rollout.as_ref().unwrap_or(&self.state.rollout);
        match self.memory.keep_rollout(rollout, &decision.steps, &clock::wall()) {
            // A boot that cannot be counted keeps nobody from working: the disk may take nothing for good.
            Err(error) if decision.steps.iter().all(|step| matches!(step, Step::Resume { .. })) => {
                tracing::warn!("this boot cannot be counted: {:#}", anyhow::Error::from(error));
            }
            outcome => outcome?,
        }
        self.memory.keep_of_boot(&decision.plan.ledger, rollout)
    }

    fn told(&mut self, decision: &Decision) {
        for step in &decision.steps {
            self.events.push(tell::step(step));
            if matches!(step, Step::Commit { .. } | Step::Revert { .. } | Step::Withdraw { .. }) {
                let keep = self.state.worth_keeping();
                self.state.releases.retain(|digest, _| keep.contains(digest));
                self.order(Order::Keep(keep));
            }
        }
        for action in &decision.plan.actions {
            if let Some(event) = tell::action(action) {
                self.events.push(event);
            }
        }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A full queue of orders has one like it.
            let _the_next_does_it = orders.try_send(order);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { instance, blueprint } => match making::making(&self.state, &instance, &blueprint) {
                Ok(making) => {
                    if let Some(watched) = self.state.instances.get_mut(&instance) {
                        watched.not_enforced.clone_from(&making.not_enforced);
                    }
                    self.node.start(instance, making);
                }
                Err(error) => {
                    let outcome = Err(chain(&error));
                    self.learn(Fact::Seen(Seen::Done { instance, doing: Doing::Start, outcome }));
                }
            },
            Action::Stop { instance, signal, grace, .. } => self.node.stop(instance, signal, grace),
            Action::Remove { instance } => self.node.remove(instance),
            Action::Update { instance, limits } => {
                let resources = skiff_planner::bundle::limits_document(&limits);
                self.node.update(instance, limits, resources);
            }
        }
    }

    fn answer(&mut self, query: Query) {
        match query {
            Query::Device(answer) => {
                let own = look::Own {
                    config: &self.config,
                    boot_id: &self.boot_id,
                    began: self.began,
                    dropped: self.events.dropped(),
                };
                let device = look::device(&own, &self.state, clock::now());
                let running = self.state.running();
                look::answer(device, running, self.node.clone(), self.config.state.clone(), answer);
            }
            Query::Ready(answer) => {
                let _nobody_waits_any_more = answer.send(look::blocked(&self.state));
            }
            Query::Sync(answer) => {
                self.order(Order::Sync);
                let _nobody_waits_any_more = answer.send(self.orders.is_some());
            }
            Query::Drain(answer) => {
                self.drains.push(answer);
                self.learn(Fact::Drain);
            }
        }
    }
}

/// Opens the library and starts the task that follows the fleet. What the library holds of releases that may have to run is
/// known before the first decision.
fn follow(
    config: &Config,
    state: &mut State,
    news: mpsc::Sender<fleet::News>,
) -> Result<Option<mpsc::Sender<Order>>, Error> {
    let program = std::env::current_exe().map_err(Error::step("find the path of this program"))?;
    let Some(settings) = fleet::Settings::new(config, program) else {
        tracing::warn!("no fleet is followed: set `fleet.url` in skiffd.toml");
        return Ok(None);
    };
    let library = Library::open(&settings)?;
    let shelf = library.shelf();
    for digest in state.worth_keeping() {
        match shelf.staged(&digest) {
            Ok(Some((release, bundles))) => state.shelve(digest, release, bundles),
            Ok(None) => tracing::error!("release {digest} is not on this device any more"),
            Err(error) => tracing::error!("release {digest} cannot be read: {}", chain(&error)),
        }
    }
    let (orders, ordered) = mpsc::channel(16);
    tokio::spawn(fleet::follow::follow(settings, library, news, ordered));
    Ok(Some(orders))
}

/// One skiffd for a run folder. The kernel lets go of the lock when the last process that holds it ends, however it ends; that
/// may be a child that a killed skiffd was just starting, and that has not come to its exec yet. So it is waited for.
async fn lock(run: &Path) -> Result<OwnedFd, Error> {
    let path = run.join("skiffd.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| Error::step(format!("open `{}`", path.display()))(errno.into()))?;
    let end = tokio::time::Instant::now() + LOCK;
    while rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
        if tokio::time::Instant::now() >= end {
            return Err(Error::Locked(run.to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(fd)
}

/// Tells systemd, where it listens (sd_notify(3)).
fn notify(what: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// Half of the watchdog's time, so that the loop itself keeps it quiet (sd_watchdog_enabled(3)).
fn watchdog() -> Option<tokio::time::Interval> {
    let limit = sd_notify::watchdog_enabled()?;
    Some(tokio::time::interval((limit / 2).max(Duration::from_millis(10))))
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
