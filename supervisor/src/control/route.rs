//! What a request asks for. Pure: method, path and query become a [`Route`] or a [`Refusal`]; nothing that came from outside
//! gets any further than this unless it is a name that can exist.

use super::answer::Refusal;
use crate::clock::rfc3339;
use crate::percent;
use hyper::{Method, StatusCode};
use skiff_planner::name::{InstanceId, ServiceName};
use std::time::SystemTime;

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The unix socket: everything.
    Socket,
    /// The port: figures and health.
    Port,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Device,
    Instance(Name),
    Events {
        since: u64,
        follow: bool,
    },
    Logs(Name, Reading),
    Sync,
    Drain,
    Metrics,
    /// `/healthz` and `/livez`: the loop answers.
    Live,
    /// `/readyz`: it answers, and nothing keeps it from its work.
    Ready,
}

/// A name that can be one of an instance or a service. `web-1` can be either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) instance: Option<InstanceId>,
}

/// Which lines of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// So many of the last.
    pub(super) tail: Option<u64>,
    /// Not older than this.
    pub(super) since: Option<SystemTime>,
    /// And those to come.
    pub(super) follow: bool,
}

/// Finds out what a request asks for.
pub(super) fn route(door: Door, method: &Method, path: &str, query: Option<&str>) -> Result<Route, Refusal> {
    let segments = path.split('/').skip(1).map(decode).collect::<Result<Vec<_>, _>>()?;
    let segments: Vec<_> = segments.iter().map(String::as_str).collect();
    let mut query = Parameters::parse(query.unwrap_or_default())?;
    let allowed = match segments.as_slice() {
        ["v1", "sync" | "drain"] => Method::POST,
        _ => Method::GET,
    };
    let found = match (door, segments.as_slice()) {
        (_, ["metrics"]) => Ok(Route::Metrics),
        (_, ["healthz" | "livez"]) => Ok(Route::Live),
        (_, ["readyz"]) => Ok(Route::Ready),
        (Door::Socket, ["v1", "device"]) => Ok(Route::Device),
        (Door::Socket, ["v1", "instances", name]) => self::name(name).map(Route::Instance),
        (Door::Socket, ["v1", "events"]) => events(&mut query),
        (Door::Socket, ["v1", "logs", name]) => logs(name, &mut query),
        (Door::Socket, ["v1", "sync"]) => Ok(Route::Sync),
        (Door::Socket, ["v1", "drain"]) => Ok(Route::Drain),
        (Door::Socket | Door::Port, _) => return Err(nothing_there(door, path)),
    };
    if method != allowed {
        let hint = format!("ask with {allowed}");
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not taken here"), hint);
        return Err(Refusal { allow: Some(allowed), ..refusal });
    }
    let found = found?;
    query.is_used_up()?;
    Ok(found)
}

fn nothing_there(door: Door, path: &str) -> Refusal {
    let hint = match door {
        Door::Socket => {
            "the routes are /v1/device, /v1/instances/NAME, /v1/events, /v1/logs/NAME, /v1/sync, /v1/drain, \
             /metrics, /healthz, /livez, /readyz"
        }
        Door::Port => "this port has /metrics, /healthz, /livez, /readyz; all else is on the control socket",
    };
    Refusal::new(StatusCode::NOT_FOUND, format!("nothing is at `{}`", path.escape_default()), hint)
}

fn events(query: &mut Parameters) -> Result<Route, Refusal> {
    let since = query.take("since", "a number", |text| text.parse().ok())?;
    Ok(Route::Events { since: since.unwrap_or(0), follow: query.flag("follow")? })
}

fn logs(name: &str, query: &mut Parameters) -> Result<Route, Refusal> {
    let time = "a time such as 2026-11-24T08:00:00Z";
    let reading = Reading {
        tail: query.take("tail", "a number", |text| text.parse().ok())?,
        since: query.take("since", time, rfc3339::parse)?,
        follow: query.flag("follow")?,
    };
    Ok(Route::Logs(self::name(name)?, reading))
}

fn name(text: &str) -> Result<Name, Refusal> {
    match text.parse::<InstanceId>() {
        Ok(instance) => Ok(Name { text: text.to_owned(), instance: Some(instance) }),
        Err(_) if text.parse::<ServiceName>().is_ok() => Ok(Name { text: text.to_owned(), instance: None }),
        Err(_) => Err(bad(
            format!("`{}` is not an instance", text.escape_default()),
            "an instance is a service's name and a number, as in `web-0`",
        )),
    }
}

fn bad(error: String, hint: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error, hint)
}

/// The parameters of a query. Each may be given once, and each that is given must be used.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            if found.iter().any(|(other, _)| *other == key) {
                return Err(bad(format!("parameter `{}` is given twice", key.escape_default()), "give it once"));
            }
            found.push((key, value));
        }
        Ok(Self(found))
    }

    fn take<T>(&mut self, key: &str, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        let Some(place) = self.0.iter().position(|(other, _)| other == key) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(place);
        let wrong = || bad(format!("parameter `{key}` is `{}`", value.escape_default()), format!("give {wanted}"));
        read(&value).map(Some).ok_or_else(wrong)
    }

    fn flag(&mut self, key: &str) -> Result<bool, Refusal> {
        Ok(self.take(key, "`true` or `false`", |text| text.parse().ok())?.unwrap_or(false))
    }

    fn is_used_up(&self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => {
                Err(bad(format!("parameter `{}` is not known here", key.escape_default()), "leave it out"))
            }
        }
    }
}

fn decode(text: &str) -> Result<String, Refusal> {
    percent::decode(text).ok_or_else(|| {
        let error = format!("`{}` is not percent-encoded text", text.escape_default());
        bad(error, "write `%` and two hexadecimal digits for each byte of UTF-8")
    })
}

#[cfg(test)]
mod tests;
