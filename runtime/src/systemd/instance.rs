//! The conversation with systemd: units are started, changed and stopped, and each job is waited for.

use super::{Error, Property, Scope, Unit};
use crate::cgroup::Location;
use crate::dbus::{self, Call, Connection, Reader, Value};
use crate::log;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long systemd may take for one answer, or for one job.
const PATIENCE: Duration = Duration::from_secs(30);
const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const JOB_REMOVED: &str = "type='signal',sender='org.freedesktop.systemd1',\
                           interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A manager of systemd that listens.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    /// Whose it is; PID 1 without.
    user: Option<u32>,
    version: u32,
    control_group: PathBuf,
}

/// A socket, and whether a bus lies between.
struct Door {
    path: PathBuf,
    bus: bool,
}

impl Manager {
    /// PID 1 for root, the user's own manager for others.
    ///
    /// # Errors
    /// [`Error::NotBooted`], [`Error::NoUserManager`], [`Error::Unreachable`].
    pub fn connect() -> Result<Self, Error> {
        match outer_uid() {
            0 => Self::whose(None),
            uid => Self::whose(Some(uid)),
        }
    }

    /// The one that has a unit.
    ///
    /// # Errors
    /// As for [`Manager::connect`].
    pub fn of(unit: &Unit) -> Result<Self, Error> {
        Self::whose(unit.user)
    }

    fn whose(user: Option<u32>) -> Result<Self, Error> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::NotBooted);
        }
        let failed = |source| match user {
            Some(uid) => Error::NoUserManager { uid, source },
            None => Error::Unreachable(source),
        };
        let mut last = dbus::Error::Closed;
        for door in doors(user) {
            match enter(&door, user) {
                Ok(manager) => {
                    log::debug(|| format!("systemd {} answers at `{}`", manager.version, door.path.display()));
                    return Ok(manager);
                }
                // The first reason is the best: the others are ways around it.
                Err(error) if matches!(last, dbus::Error::Closed) => last = error,
                Err(_) => {}
            }
        }
        Err(failed(last))
    }

    /// systemd's, such as 252.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whose manager this is; PID 1 without.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// Where its slices are, from the root of each hierarchy on.
    #[must_use]
    pub fn control_group(&self) -> &Path {
        &self.control_group
    }

    /// Starts the scope with one process in it, and returns when systemd has moved it.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Unit`], [`Error::Job`].
    pub fn start(&mut self, scope: &Scope, pid: i32) -> Result<(), Error> {
        let unit = &scope.unit.name;
        let failed = |source| Error::Unit { operation: "start", unit: unit.clone(), source };
        let pids = Value::Array("u".into(), vec![Value::Uint32(pid.unsigned_abs())]);
        let properties = [&scope.properties[..], &[("PIDs".into(), pids)]].concat();
        let arguments = [
            Value::string(unit),
            Value::string("fail"),
            array(&properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        let mut answer = self.call("StartTransientUnit", &arguments);
        if answer.as_ref().is_err_and(|error| error.is_answer(UNIT_EXISTS)) {
            if !self.forget_ended(unit) {
                return Err(Error::Exists { unit: unit.clone() });
            }
            answer = self.call("StartTransientUnit", &arguments);
        }
        let job = answer.and_then(|mut answer| answer.next_text()).map_err(failed)?;
        match self.wait(&job).map_err(failed)?.as_str() {
            "done" => Ok(()),
            result => Err(Error::Job { unit: unit.clone(), result: result.to_owned() }),
        }
    }

    /// A unit that has failed keeps its name until it is reset. Whether that may have helped.
    fn forget_ended(&mut self, unit: &str) -> bool {
        let state = self.unit(unit).and_then(|object| self.property(&object, "Unit", "ActiveState"));
        matches!(state.as_deref(), Ok("failed" | "inactive"))
            && self.call("ResetFailedUnit", &[Value::string(unit)]).is_ok()
    }

    /// Changes properties of a unit for as long as it runs.
    ///
    /// # Errors
    /// [`Error::Unit`].
    pub fn set(&mut self, unit: &Unit, properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        let arguments = [Value::string(&unit.name), Value::Bool(true), array(properties)];
        let failed = |source| Error::Unit { operation: "change", unit: unit.name.clone(), source };
        self.call("SetUnitProperties", &arguments).map(drop).map_err(failed)
    }

    /// Moves a process into the cgroup of a unit, or into one below it: for a user, who may not take it out of where it
    /// is; PID 1 does it if both are the user's.
    ///
    /// # Errors
    /// [`Error::Unit`].
    pub fn attach(&mut self, unit: &Unit, below: &str, pid: i32) -> Result<(), Error> {
        let pids = Value::Array("u".into(), vec![Value::Uint32(pid.unsigned_abs())]);
        let failed = |source| Error::Unit { operation: "take a process into", unit: unit.name.clone(), source };
        self.call("AttachProcessesToUnit", &[Value::string(&unit.name), Value::string(below), pids])
            .map(drop)
            .map_err(failed)
    }

    /// Stops a unit whose cgroup is `control_group`, and forgets it. Another one of its name is none of ours.
    fn stop(&mut self, unit: &Unit, control_group: &Path) -> Result<(), dbus::Error> {
        let object = match self.unit(&unit.name) {
            Err(error) if error.is_answer(NO_SUCH_UNIT) => return Ok(()),
            other => other?,
        };
        // The interface is that of scopes: another kind of unit has it not, and is not ours either.
        let Ok(found) = self.property(&object, "Scope", "ControlGroup") else { return Ok(()) };
        if found.is_empty() {
            // Over, but kept because it failed; or gone by now.
            drop(self.call("ResetFailedUnit", &[Value::string(&unit.name)]));
            return Ok(());
        }
        if Path::new(&found) != control_group {
            return Ok(());
        }
        let stopped = self.call("StopUnit", &[Value::string(&unit.name), Value::string("replace")]);
        match stopped.and_then(|mut answer| answer.next_text()).and_then(|job| self.wait(&job)) {
            Ok(_) => {}
            Err(error) if error.is_answer(NO_SUCH_UNIT) => {}
            Err(error) => return Err(error),
        }
        drop(self.call("ResetFailedUnit", &[Value::string(&unit.name)]));
        Ok(())
    }

    fn unit(&mut self, name: &str) -> Result<String, dbus::Error> {
        self.call("GetUnit", &[Value::string(name)])?.next_text()
    }

    /// A property whose value is text.
    fn property(&mut self, object: &str, interface: &str, name: &str) -> Result<String, dbus::Error> {
        let call =
            Call { destination: SYSTEMD, path: object, interface: "org.freedesktop.DBus.Properties", member: "Get" };
        let interface = Value::String(format!("{SYSTEMD}.{interface}"));
        match self.connection.call(call, &[interface, Value::string(name)])?.next_value()? {
            Value::Variant(inner) => match *inner {
                Value::String(text) => Ok(text),
                _ => Err(dbus::Error::Garbled("a property of another type")),
            },
            _ => Err(dbus::Error::Garbled("a property that is no variant")),
        }
    }

    fn call(&mut self, member: &str, arguments: &[Value]) -> Result<Reader, dbus::Error> {
        self.connection.call(Call { destination: SYSTEMD, path: OBJECT, interface: MANAGER, member }, arguments)
    }

    /// Waits for the end of a job, and gives systemd's word for how it ended: `JobRemoved(id, job, unit, result)`.
    fn wait(&mut self, job: &str) -> Result<String, dbus::Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut signal = self.connection.next_signal(deadline)?;
            if signal.member != "JobRemoved" {
                continue;
            }
            signal.body.next_value()?;
            if signal.body.next_text()? == job {
                signal.body.next_value()?;
                return signal.body.next_text();
            }
        }
    }
}

/// Stops the unit of a container that is being removed. Its processes are dead by now.
///
/// # Errors
/// See [`Error`].
pub fn stop(unit: &Unit, location: &Location) -> Result<(), Error> {
    let Some(control_group) = location.control_group() else { return Ok(()) };
    let failed = |source| Error::Unit { operation: "stop", unit: unit.name.clone(), source };
    Manager::of(unit)?.stop(unit, &control_group).map_err(failed)
}

/// systemd's own sockets come first: they need no bus, and there may be none.
fn doors(user: Option<u32>) -> Vec<Door> {
    let door = |path: PathBuf, bus| Door { path, bus };
    let Some(uid) = user else {
        return vec![door("/run/systemd/private".into(), false), door("/run/dbus/system_bus_socket".into(), true)];
    };
    let own = outer_uid() == uid;
    let environment = |name| std::env::var_os(name).filter(|_| own);
    let folder = environment("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
    let mut doors = vec![door(folder.join("systemd/private"), false)];
    let address = environment("DBUS_SESSION_BUS_ADDRESS").and_then(|address| address.into_string().ok());
    doors.extend(address.as_deref().and_then(socket_of).map(|path| door(path, true)));
    doors.push(door(folder.join("bus"), true));
    doors
}

/// The first socket of a path among addresses such as `unix:path=/run/user/0/bus,guid=1;tcp:host=a` (D-Bus
/// specification, "Server Addresses").
fn socket_of(addresses: &str) -> Option<PathBuf> {
    let paths = addresses.split(';').filter_map(|address| address.strip_prefix("unix:"));
    let mut keys = paths.flat_map(|keys| keys.split(','));
    keys.find_map(|key| key.strip_prefix("path=")).map(PathBuf::from)
}

fn enter(door: &Door, user: Option<u32>) -> Result<Manager, dbus::Error> {
    let mut connection = Connection::open(&door.path, outer_uid(), PATIENCE)?;
    if door.bus {
        let bus = |member| Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
        };
        connection.call(bus("Hello"), &[])?;
        connection.call(bus("AddMatch"), &[Value::string(JOB_REMOVED)])?;
    }
    let mut manager = Manager { connection, user, version: 0, control_group: PathBuf::new() };
    if door.bus {
        // Or systemd would keep its signals to itself.
        manager.call("Subscribe", &[])?;
    }
    manager.version = version(&manager.property(OBJECT, "Manager", "Version")?);
    manager.control_group = Path::new("/").join(manager.property(OBJECT, "Manager", "ControlGroup")?);
    Ok(manager)
}

/// `252.39-1~deb12u2`, `v255` and the like.
fn version(text: &str) -> u32 {
    let text = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    text.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Who we are outside of the user namespace that we may be in: that is what sockets tell of us, and whose manager it is.
fn outer_uid() -> u32 {
    let uid = rustix::process::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    outer(uid, &map).unwrap_or(uid)
}

/// user_namespaces(7): first id inside, first id outside, how many.
fn outer(uid: u32, map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [inside, outside, count] = numbers[..] else { return None };
        let offset = uid.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

fn array(properties: &[Property]) -> Value {
    let entry =
        |(name, value): &Property| Value::Struct(vec![Value::string(name), Value::Variant(Box::new(value.clone()))]);
    Value::Array("(sv)".into(), properties.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let cases = [("252.39-1~deb12u2", 252), ("v255", 255), ("systemd 241 (241)", 241), ("", 0)];
        for (text, number) in cases {
            assert_eq!(version(text), number, "{text}");
        }
    }

    #[test]
    fn a_socket_is_found_in_addresses() {
        assert_eq!(socket_of("unix:path=/run/user/1/bus"), Some("/run/user/1/bus".into()));
        assert_eq!(socket_of("tcp:host=a;unix:guid=7,path=/b"), Some("/b".into()));
        assert_eq!(socket_of("unix:abstract=/b"), None);
    }

    #[test]
    fn the_outer_user_is_found_in_the_map() {
        assert_eq!(outer(1000, "         0          0 4294967295\n"), Some(1000));
        assert_eq!(outer(0, "0 1000 1\n1 100000 65536\n"), Some(1000));
        assert_eq!(outer(5, "0 1000 1\n1 100000 65536\n"), Some(100_004));
        assert_eq!(outer(5, ""), None);
    }
}
