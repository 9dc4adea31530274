//! What a process is like that is given by its command and a few flags: the container's own process, changed. Pure.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};
use std::path::PathBuf;

/// What `exec` changes about the container's own process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `--cwd`
    pub cwd: Option<PathBuf>,
    /// `--env`: added; the last of a name counts.
    pub env: Vec<String>,
    /// `--user`: the group stays when none is given.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`: added.
    pub additional_gids: Vec<u32>,
    /// `--cap`: added to what the program may have at once, never to what it hands on (CVE-2022-29162).
    pub capabilities: Vec<String>,
    /// `--apparmor`
    pub apparmor: Option<String>,
    /// `--no-new-privs`
    pub no_new_privileges: Option<bool>,
}

/// A capability that does not exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`--cap {0}` is not a capability of Linux; they read like `CAP_NET_RAW` (capabilities(7))")]
pub struct UnknownCapability(String);

/// The process to be.
///
/// # Errors
/// [`UnknownCapability`]; what else is wrong is found where every process is checked.
pub(super) fn process(base: &Process, command: &Command) -> Result<Process, UnknownCapability> {
    let mut process = base.clone();
    process.set_args(Some(command.args.clone()));
    if let Some(cwd) = &command.cwd {
        process.set_cwd(cwd.clone());
    }
    if !command.env.is_empty() {
        process.set_env(Some(base.env().iter().flatten().chain(&command.env).cloned().collect()));
    }
    let user = process.user_mut();
    if let Some((uid, gid)) = command.user {
        user.set_uid(uid);
        user.set_gid(gid.unwrap_or(user.gid()));
    }
    if !command.additional_gids.is_empty() {
        let gids = user.additional_gids().iter().flatten().chain(&command.additional_gids).copied().collect();
        user.set_additional_gids(Some(gids));
    }
    if !command.capabilities.is_empty() {
        process.set_capabilities(Some(grant(base.capabilities().as_ref(), &command.capabilities)?));
    }
    if command.apparmor.is_some() {
        process.set_apparmor_profile(command.apparmor.clone());
    }
    if command.no_new_privileges.is_some() {
        process.set_no_new_privileges(command.no_new_privileges);
    }
    Ok(process)
}

/// A process that a file describes: what the file leaves out of its rights and limits is the container's own, as with
/// runc. Without that a process would have the OOM score of whoever called us.
pub(super) fn complete(mut process: Process, base: &Process) -> Process {
    if process.capabilities().is_none() {
        process.set_capabilities(base.capabilities().clone());
    }
    if process.rlimits().iter().flatten().next().is_none() {
        process.set_rlimits(base.rlimits().clone());
    }
    process.set_oom_score_adj(process.oom_score_adj().or(base.oom_score_adj()));
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(base.apparmor_profile().clone());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(base.exec_cpu_affinity().clone());
    }
    process
}

fn grant(base: Option<&LinuxCapabilities>, names: &[String]) -> Result<LinuxCapabilities, UnknownCapability> {
    let parse = |name: &String| {
        let quoted = serde_json::Value::String(name.clone());
        serde_json::from_value::<Capability>(quoted).map_err(|_unknown| UnknownCapability(name.clone()))
    };
    let added = names.iter().map(parse).collect::<Result<Capabilities, _>>()?;
    let with = |set: Option<&Capabilities>| Some(set.into_iter().flatten().chain(&added).copied().collect());
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(with(base.and_then(|base| base.bounding().as_ref())));
    sets.set_effective(with(base.and_then(|base| base.effective().as_ref())));
    sets.set_permitted(with(base.and_then(|base| base.permitted().as_ref())));
    sets.set_inheritable(base.and_then(|base| base.inheritable().clone()));
    sets.set_ambient(base.and_then(|base| base.ambient().clone()));
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(extra: &str) -> Process {
        let text = format!(
            r#"{{"cwd":"/w","args":["init"],"env":["A=1","B=2"],"user":{{"uid":7,"gid":8,"additionalGids":[9]}},"noNewPrivileges":true{extra}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_command_alone_keeps_everything_else() {
        let command = Command { args: vec!["ls".into()], ..Command::default() };
        let mut expected = base("");
        expected.set_args(Some(vec!["ls".into()]));
        assert_eq!(process(&base(""), &command).unwrap(), expected);
    }

    #[test]
    fn flags_add_or_replace() {
        let command = Command {
            args: vec!["ls".into()],
            cwd: Some("/x".into()),
            env: vec!["A=3".into()],
            user: Some((1, None)),
            additional_gids: vec![10],
            capabilities: Vec::new(),
            apparmor: Some("p".into()),
            no_new_privileges: Some(false),
        };
        let found = process(&base(""), &command).unwrap();
        assert_eq!(found.env().as_ref().unwrap(), &["A=1", "B=2", "A=3"]);
        assert_eq!((found.user().uid(), found.user().gid()), (1, 8), "the group stays");
        assert_eq!(found.user().additional_gids().as_ref().unwrap(), &[9, 10]);
        assert_eq!((found.cwd().to_str(), found.no_new_privileges()), (Some("/x"), Some(false)));
        assert_eq!(found.apparmor_profile().as_deref(), Some("p"));
        let both = Command { user: Some((1, Some(2))), ..command };
        assert_eq!(process(&base(""), &both).unwrap().user().gid(), 2);
    }

    #[test]
    fn a_file_that_says_nothing_of_rights_and_limits_takes_the_containers() {
        let own = base(
            r#","capabilities":{},"rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":2}],"oomScoreAdj":5,"apparmorProfile":"p","execCPUAffinity":{"final":"1"}"#,
        );
        let bare = base("");
        let found = complete(bare.clone(), &own);
        assert_eq!((found.capabilities(), found.rlimits()), (own.capabilities(), own.rlimits()));
        assert_eq!(found.oom_score_adj(), Some(5));
        assert_eq!(found.apparmor_profile(), own.apparmor_profile());
        assert_eq!(found.exec_cpu_affinity(), own.exec_cpu_affinity());
        assert_eq!(complete(own.clone(), &bare), own, "what it says counts");
    }

    #[test]
    fn capabilities_are_granted_and_not_handed_on() {
        let asked = |names: &[&str]| Command {
            capabilities: names.iter().map(ToString::to_string).collect(),
            ..Command::default()
        };
        let has = |set: &Option<Capabilities>| set.as_ref().map_or(0, |set| set.len());
        let with = base(r#","capabilities":{"bounding":["CAP_KILL"],"inheritable":["CAP_KILL"]}"#);
        let found = process(&with, &asked(&["CAP_KILL", "CAP_CHOWN"])).unwrap();
        let sets = found.capabilities().as_ref().unwrap();
        let counts = [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()].map(has);
        assert_eq!(counts, [2, 2, 2, 1, 0]);
        // A process without any starts from none, not from a library's idea of usual ones.
        let found = process(&base(""), &asked(&["CAP_CHOWN"])).unwrap();
        assert_eq!(has(found.capabilities().as_ref().unwrap().bounding()), 1);
        assert_eq!(process(&with, &asked(&["CAP_FLY"])).unwrap_err(), UnknownCapability("CAP_FLY".into()));
    }
}
