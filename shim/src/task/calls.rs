//! The calls that begin and end no process of the container: looking, signalling, freezing, changing limits.

use super::process::{Process, View};
use super::state::{Event, State};
use super::{Error, Task, Which};
use crate::events;
use crate::exits::Exit;
use crate::runtime::{Streams, Verb};
use crate::stats;
use crate::stdio::Wanted;
use crate::sys;
use containerd_shim_protos::api::ExecProcessRequest;
use protobuf::well_known_types::any::Any;
use serde_json::Value;
use skiff_contract::id::ContainerId;
use std::sync::Arc;

impl Task {
    /// What a process is doing.
    ///
    /// # Errors
    /// [`Error::NoExec`].
    pub(crate) fn view(&self, which: &Which) -> Result<View, Error> {
        let bundle = self.bundle.display().to_string();
        self.with(which, |process| View {
            bundle,
            pid: process.pid,
            state: process.state,
            wanted: process.wanted.clone(),
            exit: process.exit(),
        })
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    /// [`Error::NoExec`], also when it is forgotten before it has ended.
    pub(crate) async fn wait(&self, which: &Which) -> Result<Exit, Error> {
        let mut told = self.with(which, |process| process.told.subscribe())?;
        let exit = told.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        exit.ok_or_else(|| self.no_exec(which))
    }

    /// Remembers an exec, to be started later.
    ///
    /// # Errors
    /// When the request is not one, or the state does not allow it.
    pub(crate) fn exec(&self, request: ExecProcessRequest) -> Result<(), Error> {
        request.exec_id.parse::<ContainerId>().map_err(Error::Id)?;
        let document = process_document(request.spec.as_ref(), request.terminal)?;
        let mut facts = self.facts();
        facts.init.enter(Event::Exec).map_err(|refusal| refusal.about(self, &Which::Init))?;
        let (id, exec_id) = (self.id.clone(), request.exec_id);
        if facts.execs.contains_key(&exec_id) || exec_id == id {
            return Err(Error::ExecExists { id, exec_id });
        }
        let wanted =
            Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        let mut process = Process::new(State::Created, wanted);
        process.document = Some(document);
        facts.execs.insert(exec_id.clone(), process);
        self.world.events.publish(&events::Event::ExecAdded { id, exec_id });
        Ok(())
    }

    /// Sends a signal. A process is signalled by its id, which cannot be another's as long as nobody has waited for it;
    /// the rest of a container only its runtime knows.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::Signal`], or what the runtime says.
    pub(crate) async fn kill(self: Arc<Self>, which: Which, number: u32, all: bool) -> Result<(), Error> {
        let signal = sys::signal(number).ok_or(Error::Signal(number))?;
        let (state, pid) = {
            let mut facts = self.facts();
            let process = facts.process(&which).ok_or_else(|| self.no_exec(&which))?;
            let state = process.enter(Event::Kill).map_err(|refusal| refusal.about(&self, &which))?;
            (state, process.pid)
        };
        // A frozen process takes no signal; what to do about that is the runtime's.
        let frozen = matches!(state, State::Pausing | State::Paused | State::Resuming);
        if which == Which::Init && (all || frozen) {
            let verb = Verb::Kill { signal: number, all };
            return self.call(&verb, Streams::Captured).await.map(drop);
        }
        let name = self.name(&which);
        match pid {
            0 => Err(Error::NoProcess(name)),
            pid => match self.world.reaper.signal(pid, signal) {
                None => Err(Error::Ended(name)),
                Some(Ok(())) => Ok(()),
                Some(Err(source)) => Err(Error::Send { name, signal: number, source }),
            },
        }
    }

    /// Freezes it.
    ///
    /// # Errors
    /// When the state does not allow it, or the runtime refuses.
    pub(crate) async fn pause(self: Arc<Self>) -> Result<(), Error> {
        self.enter(&Which::Init, Event::Pause)?;
        let result = self.call(&Verb::Pause, Streams::Captured).await;
        let event = if result.is_ok() { Event::Paused } else { Event::PauseFailed };
        if self.enter(&Which::Init, event)? == State::Pausing && result.is_ok() {
            self.world.events.publish(&events::Event::Paused { id: self.id.clone() });
        }
        result.map(drop)
    }

    /// Thaws it.
    ///
    /// # Errors
    /// When the state does not allow it, or the runtime refuses.
    pub(crate) async fn resume(self: Arc<Self>) -> Result<(), Error> {
        self.enter(&Which::Init, Event::Resume)?;
        let result = self.call(&Verb::Resume, Streams::Captured).await;
        let event = if result.is_ok() { Event::Resumed } else { Event::ResumeFailed };
        if self.enter(&Which::Init, event)? == State::Resuming && result.is_ok() {
            self.world.events.publish(&events::Event::Resumed { id: self.id.clone() });
        }
        result.map(drop)
    }

    /// Changes its limits to those of an OCI `LinuxResources` document.
    ///
    /// # Errors
    /// When it is not a document, the state does not allow it, or the runtime refuses.
    pub(crate) async fn update(self: Arc<Self>, resources: Option<Any>) -> Result<(), Error> {
        let resources = object(resources.as_ref(), "resources")?;
        self.enter(&Which::Init, Event::Update)?;
        self.call(&Verb::Update, Streams::Fed(resources.to_string().into_bytes())).await.map(drop)
    }

    /// The process ids of the container, each with the id of its exec where it is one's first.
    ///
    /// # Errors
    /// When the state does not allow it, or the runtime refuses.
    pub(crate) async fn pids(self: Arc<Self>) -> Result<Vec<(u32, Option<String>)>, Error> {
        self.enter(&Which::Init, Event::Measure)?;
        let said = self.call(&Verb::Ps, Streams::Captured).await?;
        let pids: Option<Vec<u32>> = serde_json::from_slice(&said)
            .map_err(|source| Error::Document { what: "answer of the runtime's `ps`", source })?;
        let facts = self.facts();
        // The number of one that has ended may be another process's.
        let is = |exec: &Process, pid: u32| exec.pid == pid && exec.seen.is_none();
        let exec = |pid: u32| facts.execs.iter().find(|(_, exec)| is(exec, pid)).map(|(exec_id, _)| exec_id.clone());
        Ok(pids.unwrap_or_default().into_iter().map(|pid| (pid, exec(pid))).collect())
    }

    /// Its figures.
    ///
    /// # Errors
    /// When the state does not allow it, or nothing can be read.
    pub(crate) fn stats(&self) -> Result<Any, Error> {
        let mut facts = self.facts();
        facts.init.enter(Event::Measure).map_err(|refusal| refusal.about(self, &Which::Init))?;
        let cgroups = facts.cgroups.as_ref();
        Ok(stats::read(cgroups.ok_or_else(|| crate::cgroup::Error::None(self.id.clone()))?))
    }

    /// Closes the standard input of a process.
    ///
    /// # Errors
    /// When the state does not allow it.
    pub(crate) fn close_stdin(&self, which: &Which) -> Result<(), Error> {
        let mut facts = self.facts();
        let process = facts.process(which).ok_or_else(|| self.no_exec(which))?;
        process.enter(Event::Stream).map_err(|refusal| refusal.about(self, which))?;
        if let Some(io) = &process.io {
            io.close_stdin();
        }
        Ok(())
    }

    /// Says how large the terminal of a process is.
    ///
    /// # Errors
    /// When the state does not allow it, or it cannot be so large.
    pub(crate) fn resize(&self, which: &Which, width: u32, height: u32) -> Result<(), Error> {
        let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else {
            return Err(Error::Size { width, height });
        };
        let mut facts = self.facts();
        let process = facts.process(which).ok_or_else(|| self.no_exec(which))?;
        process.enter(Event::Stream).map_err(|refusal| refusal.about(self, which))?;
        match process.io.as_ref().map(|io| io.resize(columns, rows)) {
            Some(Err(source)) => Err(Error::Resize { name: self.name(which), source }),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// The OCI `Process` of an exec; whether it has a terminal is the request's to say.
fn process_document(spec: Option<&Any>, terminal: bool) -> Result<Value, Error> {
    let what = "process";
    let mut document = object(spec, what)?;
    let words = document["args"].as_array().map(Vec::as_slice).unwrap_or_default();
    if words.is_empty() || !words.iter().all(Value::is_string) {
        return Err(Error::Shape { what, why: "names no program; `args` is a list of words" });
    }
    document["terminal"] = terminal.into();
    Ok(document)
}

fn object(any: Option<&Any>, what: &'static str) -> Result<Value, Error> {
    let any = any.ok_or(Error::Shape { what, why: "is missing" })?;
    let document: Value = serde_json::from_slice(&any.value).map_err(|source| Error::Document { what, source })?;
    if document.is_object() { Ok(document) } else { Err(Error::Shape { what, why: "is not a JSON object" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(text: &str) -> Any {
        Any { value: text.as_bytes().to_vec(), ..Any::default() }
    }

    #[test]
    fn process_documents() {
        let seen = process_document(Some(&any(r#"{"args":["/bin/sh"],"terminal":true}"#)), false).unwrap();
        assert_eq!(seen, serde_json::json!({"args": ["/bin/sh"], "terminal": false}));
        for text in ["", "[]", "{", "{}", r#"{"args":"sh"}"#, r#"{"args":[]}"#, r#"{"args":["sh",1]}"#] {
            assert!(process_document(Some(&any(text)), false).is_err(), "{text}");
        }
        assert!(process_document(None, false).is_err());
    }
}
