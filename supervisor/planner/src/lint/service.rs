//! What is wrong with one service.

use super::{Problems, probe};
use crate::capability;
use crate::name::ServiceName;
use crate::release::{Bundle, Condition, Release, Service};
use crate::restart::{self, Again, StartLimit};
use crate::signal;
use crate::span::Span;

/// Below this the kernel cannot start a program.
const LEAST_MEMORY: u64 = 128 << 10;
/// A quota of the kernel is at least a millisecond of a period of a hundred.
const LEAST_CPUS: u32 = 10;
/// Docker's first delay: below it a crash loop keeps a small machine busy.
const LEAST_DELAY: Span = Span::from_millis(100);

pub(super) fn check(problems: &mut Problems, release: &Release, name: &ServiceName, service: &Service) {
    let path = |key: &str| format!("services.{name}.{key}");
    check_bundle(problems, &path("bundle"), &service.bundle);
    check_process(problems, &path, service);
    check_dependencies(problems, release, &path, service);
    check_restart(problems, &path, service);
    check_limits(problems, &path, service);
    check_capabilities(problems, &path, service);
    probe::check(problems, &path, service);
}

pub(super) fn check_built(problems: &mut Problems, name: &ServiceName, service: &Service) {
    if let Bundle::Path(path) = &service.bundle {
        if !path.starts_with('/') && !path.is_empty() {
            let what = format!("`{path}` is a path beside the release as people write it");
            problems.error(&format!("services.{name}.bundle"), &what, "let `skiffctl fleet build` pack it");
        }
    }
}

fn check_bundle(problems: &mut Problems, path: &str, bundle: &Bundle) {
    match bundle {
        Bundle::Archive { size: 0, .. } => {
            problems.error(path, "an archive of 0 bytes holds no bundle", "let `skiffctl fleet build` write the size");
        }
        Bundle::Archive { .. } => {}
        Bundle::Path(text) if text.is_empty() || text.contains('\0') => {
            problems.error(path, "it is not a path", "write the folder of an OCI bundle");
        }
        Bundle::Path(text) if text.starts_with('/') && text.split('/').any(|part| part == "..") => {
            problems.error(path, &format!("`{text}` goes up by `..`"), "write where the folder is");
        }
        Bundle::Path(_) => {}
    }
}

fn check_process(problems: &mut Problems, path: &dyn Fn(&str) -> String, service: &Service) {
    if signal::number(&service.stop_signal).is_none() {
        let what = format!("there is no signal `{}`", service.stop_signal);
        problems.error(&path("stop_signal"), &what, "write a name such as `SIGTERM` or a number from 1 to 64");
    }
    if service.stop_grace_period == Span::ZERO {
        let what = "it is killed at the same moment as it is asked to stop";
        problems.warning(&path("stop_grace_period"), what, "give it a time such as `10s`");
    }
    if let Some(folder) = service.working_dir.as_deref().filter(|folder| !folder.starts_with('/')) {
        problems.error(&path("working_dir"), &format!("`{folder}` is not absolute"), "begin it with `/`");
    }
    let words = service.command.iter().flatten().chain(&service.working_dir);
    if words.into_iter().any(|word| word.contains('\0')) {
        problems.error(&path("command"), "a program cannot be given a zero byte", "remove it");
    }
    if service.command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        problems.error(&path("command"), "it names no program", "write the program first");
    }
    if let Some(name) = &service.hostname {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) || name.starts_with(['.', '-']) {
            let what = format!("`{name}` is not a host's name");
            problems.error(&path("hostname"), &what, "write 1 to 64 letters, digits, `.` and `-`");
        }
    }
}

fn check_dependencies(problems: &mut Problems, release: &Release, path: &dyn Fn(&str) -> String, service: &Service) {
    for (name, condition) in &service.depends_on {
        let path = path(&format!("depends_on.{name}"));
        let Some(dependency) = release.services.get(name) else {
            problems.error(&path, &format!("there is no service `{name}`"), "add it, or remove the dependency");
            continue;
        };
        let probes = &dependency.skiff.probes;
        let says = dependency.healthcheck.is_some() || probes.readiness.is_some() || probes.startup.is_some();
        match condition {
            Condition::ServiceHealthy if !says => {
                let what = format!("nothing says whether `{name}` is healthy");
                let way_out = "give it `healthcheck` or `x-skiff.probes.readiness`, or wait for `service_started`";
                problems.error(&path, &what, way_out);
            }
            Condition::ServiceCompletedSuccessfully if restart::policy(dependency).again == Again::Always => {
                let what = format!("`{name}` is started again whenever it ends, so it never completes");
                problems.error(&path, &what, "give it `restart: \"no\"` or `restart: on-failure`");
            }
            Condition::ServiceStarted | Condition::ServiceHealthy | Condition::ServiceCompletedSuccessfully => {}
        }
        if dependency.deploy.replicas.0 == 0 {
            let what = format!("`{name}` has no replica, so there is nothing to wait for");
            problems.warning(&path, &what, "give it `deploy.replicas`, or remove the dependency");
        }
    }
}

fn check_restart(problems: &mut Problems, path: &dyn Fn(&str) -> String, service: &Service) {
    if service.restart.is_some() && service.deploy.restart_policy.is_some() {
        problems.error(&path("restart"), "`deploy.restart_policy` says the same in other words", "keep one of the two");
    }
    let backoff = &service.skiff.backoff;
    let mut least = |key: &str, span: Span, least: Span| {
        if span < least {
            let what = format!("`{span}` is too short: what fails at once would keep the machine busy");
            problems.error(&path(key), &what, &format!("write `{least}` at least"));
        }
    };
    least("x-skiff.backoff.base", backoff.base, LEAST_DELAY);
    least("x-skiff.backoff.resetAfter", backoff.reset_after, LEAST_DELAY);
    if let Some(policy) = &service.deploy.restart_policy {
        least("deploy.restart_policy.delay", policy.delay.unwrap_or(LEAST_DELAY), LEAST_DELAY);
        least("deploy.restart_policy.window", policy.window.unwrap_or(LEAST_DELAY), LEAST_DELAY);
    }
    if backoff.max < backoff.base {
        let what = format!("the longest delay, `{}`, is below the first, `{}`", backoff.max, backoff.base);
        problems.error(&path("x-skiff.backoff.max"), &what, "raise it, or lower `base`");
    }
    if let Some(text) = &backoff.start_limit {
        if text.parse::<StartLimit>().is_err() {
            let what = format!("`{text}` is not a start limit");
            let way_out = "write a number of starts above 0 and a time, such as `20/1h`";
            problems.error(&path("x-skiff.backoff.startLimit"), &what, way_out);
        }
    }
}

fn check_limits(problems: &mut Problems, path: &dyn Fn(&str) -> String, service: &Service) {
    let limits = &service.deploy.resources.limits;
    let mut error = |key: &str, what: &str, way_out: &str| {
        problems.error(&path(&format!("deploy.resources.limits.{key}")), what, way_out);
    };
    match limits.memory {
        Some(memory) if memory.0 < LEAST_MEMORY => {
            error("memory", &format!("no program starts in {} bytes", memory.0), "write `128K` at least");
        }
        Some(memory) if i64::try_from(memory.0).is_err() => {
            error("memory", "no machine has so much", "leave it out for no limit");
        }
        Some(_) | None => {}
    }
    if limits.cpus.is_some_and(|cpus| cpus.0 < LEAST_CPUS) {
        error("cpus", "the kernel cannot share a processor so finely", "write `0.01` at least");
    }
    if limits.pids == Some(0) {
        error("pids", "no program starts without a process", "write 1 at least, or leave it out for 512");
    }
}

fn check_capabilities(problems: &mut Problems, path: &dyn Fn(&str) -> String, service: &Service) {
    let unknown = |name: &str| format!("there is no capability `{name}`");
    let way_out = "write a name of capabilities(7), such as `NET_RAW`";
    for name in &service.cap_add {
        if name.eq_ignore_ascii_case(capability::EVERY) {
            problems.error(&path("cap_add"), "all capabilities are the whole machine", "name those that it needs");
        } else if capability::name(name).is_none() {
            problems.error(&path("cap_add"), &unknown(name), way_out);
        }
    }
    for name in &service.cap_drop {
        let known = capability::name(name);
        if known.is_none() && !name.eq_ignore_ascii_case(capability::EVERY) {
            problems.error(&path("cap_drop"), &unknown(name), way_out);
        }
        if known.is_some() && service.cap_add.iter().any(|added| capability::name(added) == known) {
            let what = format!("`{name}` is in `cap_add` as well");
            problems.error(&path("cap_drop"), &what, "keep one of the two");
        }
    }
}
