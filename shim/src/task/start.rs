//! Start: of the container's own program, and of execs.

use super::record::read_pid;
use super::state::Event;
use super::{Error, Task, Which};
use crate::events;
use crate::runtime::{Streams, Verb};
use crate::stdio::{self, ConsoleSocket, Io};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of one exec in the bundle; they go when it is started or has failed to.
struct ExecFiles {
    process: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

impl ExecFiles {
    fn new(bundle: &Path, exec_id: &str) -> Self {
        let file = |kind: &str| bundle.join(format!("exec-{exec_id}.{kind}"));
        Self { process: file("json"), pid: file("pid"), log: file("log") }
    }
}

impl Drop for ExecFiles {
    fn drop(&mut self) {
        for path in [&self.process, &self.pid, &self.log] {
            let _absent_or_gone_with_the_bundle = std::fs::remove_file(path);
        }
    }
}

impl Task {
    /// Starts a process and gives its id.
    ///
    /// # Errors
    /// When the state does not allow it, or the runtime refuses.
    pub(crate) async fn start(self: Arc<Self>, which: Which) -> Result<u32, Error> {
        match &which {
            Which::Init => self.start_init().await,
            Which::Exec(exec_id) => self.start_exec(exec_id, &which).await,
        }
    }

    async fn start_init(self: &Arc<Self>) -> Result<u32, Error> {
        self.enter(&Which::Init, Event::Start)?;
        let result = self.call(&Verb::Start, Streams::Captured).await;
        let event = if result.is_ok() { Event::Started } else { Event::StartFailed };
        let pid = {
            let mut facts = self.facts();
            let _it_was_starting = facts.init.enter(event);
            let pid = facts.init.pid;
            if result.is_ok() {
                self.world.events.publish(&events::Event::Start { id: self.id.clone(), pid });
            }
            // What came meanwhile waited for this.
            self.check_oom_of(&mut facts);
            pid
        };
        self.release(&Which::Init);
        result.map(|_| pid)
    }

    async fn start_exec(self: &Arc<Self>, exec_id: &str, which: &Which) -> Result<u32, Error> {
        {
            let mut facts = self.facts();
            let exec = facts.process(which).ok_or_else(|| self.no_exec(which))?;
            exec.enter(Event::Start).map_err(|refusal| refusal.about(self, which))?;
            if let Err(refusal) = facts.init.enter(Event::Exec) {
                let _it_was_starting = facts.process(which).map(|exec| exec.enter(Event::StartFailed));
                return Err(refusal.about(self, &Which::Init));
            }
        }
        // The exit of one that dies at once is kept until all of this is told.
        let expecting = self.world.reaper.expect();
        let result = self.make_exec(exec_id, which).await;
        let mut facts = self.facts();
        let (pid, io) = match result {
            Ok(made) => made,
            Err(error) => {
                let _it_was_starting = facts.process(which).map(|exec| exec.enter(Event::StartFailed));
                let ended = facts.init.enter(Event::Exec).map_err(|refusal| refusal.about(self, &Which::Init));
                // The container's own end may have waited for this.
                self.settle(&mut facts);
                // When it has ended meanwhile, that is the reason, whatever the runtime made of it.
                return Err(ended.err().unwrap_or(error));
            }
        };
        let exit = expecting.claim(i32::try_from(pid).unwrap_or(0));
        if let Some(exec) = facts.process(which) {
            let _it_was_starting = exec.enter(Event::Started);
            (exec.pid, exec.io) = (pid, Some(io));
        }
        let (id, exec_id) = (self.id.clone(), exec_id.to_owned());
        self.world.events.publish(&events::Event::ExecStarted { id, exec_id, pid });
        drop(facts);
        self.await_exit(which.clone(), exit);
        Ok(pid)
    }

    async fn make_exec(&self, exec_id: &str, which: &Which) -> Result<(u32, Io), Error> {
        let (wanted, document) = self.with(which, |exec| (exec.wanted.clone(), exec.document.clone()))?;
        let prepared = stdio::prepare(&wanted, &self.world.logs)?;
        let files = ExecFiles::new(&self.bundle, exec_id);
        let text = document.unwrap_or_default().to_string();
        write_private(&files.process, &text).map_err(|source| Error::File { path: files.process.clone(), source })?;
        let console = if wanted.terminal { Some(self.console(exec_id)?) } else { None };
        let verb = Verb::Exec {
            process: files.process.clone(),
            pid_file: files.pid.clone(),
            console: console.as_ref().map(ConsoleSocket::path),
        };
        let call = |streams| self.runtime.call(&self.world.reaper, &files.log, &self.id, &verb, streams);
        let io = match console {
            None => {
                let (ends, io) = prepared.connect((0, 0))?;
                call(ends.into()).await?;
                io
            }
            Some(console) => {
                call(stdio::no_ends()?.into()).await?;
                self.receive(console, prepared, which).await?
            }
        };
        Ok((read_pid(&files.pid)?, io))
    }
}

/// The document has the environment in it, which is not for everybody who may look into the bundle.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
