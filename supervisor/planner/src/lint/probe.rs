//! What is wrong with the probes of a service.

use super::Problems;
use crate::release::{Healthcheck, HttpProbe, NetworkMode, Probe, Service};
use crate::span::Span;

pub(super) fn check(problems: &mut Problems, path: &dyn Fn(&str) -> String, service: &Service) {
    let probes = &service.skiff.probes;
    let named = [("startup", &probes.startup), ("readiness", &probes.readiness), ("liveness", &probes.liveness)];
    if let Some(check) = &service.healthcheck {
        check_healthcheck(problems, &path("healthcheck"), check);
        if named.iter().any(|(_, probe)| probe.is_some()) {
            let what = "`x-skiff.probes` says the same in other words";
            problems.error(&path("healthcheck"), what, "keep one of the two");
        }
    }
    for (kind, probe) in named {
        if let Some(probe) = probe {
            check_probe(problems, &path(&format!("x-skiff.probes.{kind}")), probe, service);
        }
    }
}

fn check_healthcheck(problems: &mut Problems, path: &str, check: &Healthcheck) {
    if check.test.get(1).is_none_or(|program| program.is_empty()) {
        problems.error(&format!("{path}.test"), "it names no program", "write the program after `CMD`");
    }
    check_times(problems, path, check.interval, check.timeout);
    check_count(problems, &format!("{path}.retries"), check.retries);
}

fn check_probe(problems: &mut Problems, path: &str, probe: &Probe, service: &Service) {
    let ways = [probe.http.is_some(), probe.tcp.is_some(), probe.exec.is_some()];
    if ways.iter().filter(|there| **there).count() != 1 {
        let what = "it has not exactly one of `http`, `tcp` and `exec`";
        problems.error(path, what, "keep one way to probe");
    }
    if let Some(program) = &probe.exec {
        if program.first().is_none_or(String::is_empty) || program.iter().any(|word| word.contains('\0')) {
            problems.error(&format!("{path}.exec"), "it names no program", "write the program first");
        }
    }
    if let Some(port) = probe.http.as_ref().map(|http| http.port).or(probe.tcp) {
        check_port(problems, path, port, service);
    }
    if let Some(http) = &probe.http {
        check_path(problems, path, http);
    }
    check_times(problems, path, probe.interval, probe.timeout);
    check_count(problems, &format!("{path}.failureThreshold"), probe.failure_threshold);
}

fn check_port(problems: &mut Problems, path: &str, port: u16, service: &Service) {
    if port == 0 {
        problems.error(path, "there is no port 0", "write the port on which the program listens");
    }
    if service.network_mode != NetworkMode::Host {
        let what = "nothing outside reaches a port of a network of its own";
        problems.error(path, what, "use `exec`, or `network_mode: host` (bridge networks are not built yet)");
    } else if service.deploy.replicas.0 > 1 {
        let what = format!("all replicas share port {port} of the machine, so one answers for all");
        problems.warning(path, &what, "use `exec`, or one replica");
    }
}

fn check_path(problems: &mut Problems, path: &str, http: &HttpProbe) {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !http.path.starts_with('/') || !http.path.bytes().all(plain) {
        let what = format!("`{}` is not the path of a request", http.path.escape_default());
        problems.error(&format!("{path}.http.path"), &what, "begin it with `/`, and escape what is not a letter");
    }
}

fn check_times(problems: &mut Problems, path: &str, interval: Span, timeout: Span) {
    for (key, span) in [("interval", interval), ("timeout", timeout)] {
        if span == Span::ZERO {
            problems.error(&format!("{path}.{key}"), "it is no time at all", "write a time such as `2s`");
        }
    }
    if timeout > interval {
        let what = format!("a probe may take `{timeout}`, and the next one begins after `{interval}`");
        problems.error(&format!("{path}.timeout"), &what, "lower it, or raise `interval`");
    }
}

fn check_count(problems: &mut Problems, path: &str, count: u32) {
    if count == 0 {
        problems.error(path, "no failure in a row would ever count", "write 1 at least");
    }
}
