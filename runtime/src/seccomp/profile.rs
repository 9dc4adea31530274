//! What a profile says, for each architecture and each number: `linux.seccomp` with its names resolved, its words
//! turned into the kernel's, and what has no effect left out (config-linux.md, "Seccomp").

use super::Error;
use super::arch::{Arch, Names, Numbers, Part};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use std::collections::BTreeMap;

/// `SECCOMP_RET_KILL_THREAD` (linux/seccomp.h): for calls of an architecture that is not listed.
pub(super) const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// The answer to calls that are newer than the profile.
pub(super) const NO_SUCH_CALL: u32 = ERRNO | libc::ENOSYS as u32;

/// The kernel's limit on the value of `SECCOMP_RET_ERRNO` (`MAX_ERRNO`).
const HIGHEST_ERRNO: u32 = 4095;
/// What `SECCOMP_RET_DATA` holds, which a tracer gets.
const HIGHEST_DATA: u32 = 0xffff;

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// The answer to calls that no rule is about.
    pub(super) default: u32,
    /// What seccomp(2) takes as `flags`.
    pub(super) flags: u32,
    /// For each architecture that is listed.
    pub(super) sections: Vec<Section>,
}

/// The rules of an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Which.
    pub(super) arch: Arch,
    /// By number.
    pub(super) calls: BTreeMap<u32, Call>,
    /// From this number on calls are unknown to the profile; none are where it allows by default.
    pub(super) unknown_from: Option<u32>,
}

/// What is said about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The same answer always.
    Always(u32),
    /// The answer of the first rule that applies, else the default.
    First(Vec<Rule>),
}

/// An answer, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// All of them are to hold; there is at least one, and no two are about one argument.
    pub(super) conditions: Vec<Condition>,
    /// The answer.
    pub(super) answer: u32,
}

/// Whether `argument & mask` compares so with `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, from 0.
    pub(super) index: u32,
    /// How.
    pub(super) operator: Operator,
    /// All ones but for `SCMP_CMP_MASKED_EQ`.
    pub(super) mask: u64,
    /// With what.
    pub(super) value: u64,
}

/// The actions.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
];

/// The comparisons.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];

/// The flags, as seccomp(2) takes them; 0 for the one that is about what is not there: other threads.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", FLAG_WAIT_KILLABLE),
];
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the filter comes with a descriptor through which calls are decided.
pub(super) const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// Since Linux 5.19, and refused where there is no listener.
pub(super) const FLAG_WAIT_KILLABLE: u32 = 1 << 5;

/// Reads a profile for those of `possible` that it lists; the first of them is the machine's own and always among them.
///
/// # Errors
/// The member that cannot be enforced.
pub(super) fn read(seccomp: &LinuxSeccomp, possible: &[Arch]) -> Result<Profile, Error> {
    let has_listener = seccomp.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    if !has_listener && seccomp.listener_metadata().as_ref().is_some_and(|data| !data.is_empty()) {
        let property = "linux.seccomp.listenerMetadata".to_owned();
        return Err(Error::Invalid {
            property,
            problem: "is for whoever listens at `linux.seccomp.listenerPath`".into(),
        });
    }
    let default = answer(
        seccomp.default_action(),
        seccomp.default_errno_ret(),
        ["linux.seccomp.defaultAction", "linux.seccomp.defaultErrnoRet"],
    )?;
    let entries = seccomp.syscalls().as_deref().unwrap_or_default();
    let names = Names::new();
    let read = |(at, entry)| entry_of(&names, at, entry, default);
    let entries = entries.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let asks = default == NOTIFY || entries.iter().any(|entry| entry.answer == NOTIFY);
    if asks && !has_listener {
        let property = "linux.seccomp.listenerPath".to_owned();
        let problem = "is missing: somebody has to decide about calls with SCMP_ACT_NOTIFY".to_owned();
        return Err(Error::Invalid { property, problem });
    }
    let listed = listed(seccomp, possible);
    let sections = listed.into_iter().map(|arch| section(arch, &entries, default)).collect();
    Ok(Profile { default, flags: flags(seccomp.flags().as_deref(), asks), sections })
}

fn listed(seccomp: &LinuxSeccomp, possible: &[Arch]) -> Vec<Arch> {
    let names = seccomp.architectures().as_deref().unwrap_or_default();
    let is_listed = |(at, arch): &(usize, &Arch)| *at == 0 || names.iter().any(|name| Arch::of(*name) == Some(**arch));
    possible.iter().enumerate().filter(is_listed).map(|(_, arch)| *arch).collect()
}

/// One of `linux.seccomp.syscalls`.
struct Entry<'a> {
    /// Those of its names that some architecture has.
    calls: Vec<(&'a str, Numbers)>,
    answer: u32,
    /// Under any of these it is given; always, if there are none.
    alternatives: Vec<Vec<Condition>>,
}

fn entry_of<'a>(names: &Names, at: usize, entry: &'a LinuxSyscall, default: u32) -> Result<Entry<'a>, Error> {
    let [action, errno] = ["action", "errnoRet"].map(|member| format!("linux.seccomp.syscalls[{at}].{member}"));
    let answer = answer(entry.action(), entry.errno_ret(), [&action, &errno])?;
    let would_be_allowed = is_permissive(default) && !is_permissive(answer);
    let mut calls = Vec::with_capacity(entry.names().len());
    for name in entry.names() {
        match names.find(name) {
            Some(numbers) => calls.push((name.as_str(), numbers)),
            // It is of a call that this version of skiff is too old for, or mistyped.
            None if would_be_allowed => {
                return Err(Error::Invalid {
                    property: format!("linux.seccomp.syscalls[{at}].names"),
                    problem: format!(
                        "has `{name}`, which this version of skiff does not know, and the default would allow it"
                    ),
                });
            }
            None => {}
        }
    }
    let args = entry.args().as_deref().unwrap_or_default();
    let conditions = args
        .iter()
        .enumerate()
        .map(|(arg_at, arg)| {
            condition(arg).map_err(|problem| Error::Invalid {
                property: format!("linux.seccomp.syscalls[{at}].args[{arg_at}]"),
                problem,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let is_about = |index| conditions.iter().filter(|condition: &&Condition| condition.index == index).count();
    let alternatives = match conditions.iter().any(|condition| is_about(condition.index) > 1) {
        true => conditions.into_iter().map(|condition| vec![condition]).collect(),
        false if conditions.is_empty() => Vec::new(),
        false => vec![conditions],
    };
    Ok(Entry { calls, answer, alternatives })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition, String> {
    let index = match arg.index() {
        index @ 0..6 => index as u32,
        index => return Err(format!("is about argument {index}; a system call has those from 0 to 5")),
    };
    let (mask, value) = match arg.op() {
        // What the mask leaves out is left out on both sides.
        Operator::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or_default() & arg.value()),
        _ => (u64::MAX, arg.value()),
    };
    Ok(Condition { index, operator: arg.op(), mask, value })
}

fn section(arch: Arch, entries: &[Entry<'_>], default: u32) -> Section {
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    let mut parts: BTreeMap<Part, Call> = BTreeMap::new();
    let mut newest = None;
    for Entry { calls: named, answer, alternatives } in entries {
        for part in named.iter().filter_map(|(name, _)| arch.part(name)) {
            if *answer != default {
                add(&mut parts, part, *answer, alternatives);
            }
        }
        for number in named.iter().filter_map(|(_, numbers)| numbers.on(arch)) {
            if !arch.is_private(number) {
                newest = newest.max(Some(number));
            }
            // What says the same as the default says nothing, to libseccomp's callers.
            if *answer != default {
                add(&mut calls, number, *answer, alternatives);
            }
        }
    }
    for (part, call) in parts {
        if let Some(answer) = of_part(&call, default) {
            let condition =
                Condition { index: 0, operator: Operator::ScmpCmpMaskedEq, mask: part.mask, value: part.value };
            add(&mut calls, part.of, answer, &[vec![condition]]);
        }
    }
    let refuses = !is_permissive(default) && default != NO_SUCH_CALL;
    Section { arch, calls, unknown_from: newest.filter(|_| refuses).map(|newest| newest + 1) }
}

/// What to answer to a call whose arguments cannot be seen: what holds for all of them, or the refusal of some. `None`: the
/// default, because what is allowed for some arguments cannot be allowed for any.
fn of_part(call: &Call, default: u32) -> Option<u32> {
    match call {
        Call::Always(answer) => Some(*answer),
        Call::First(rules) if is_permissive(default) => {
            rules.iter().map(|rule| rule.answer).find(|answer| !is_permissive(*answer))
        }
        Call::First(_) => None,
    }
}

fn add<K: Ord>(calls: &mut BTreeMap<K, Call>, number: K, answer: u32, alternatives: &[Vec<Condition>]) {
    let rules = alternatives.iter().map(|conditions| Rule { conditions: conditions.clone(), answer });
    match calls.get_mut(&number) {
        Some(Call::Always(_)) => {}
        Some(Call::First(known)) if !alternatives.is_empty() => known.extend(rules),
        _ if alternatives.is_empty() => drop(calls.insert(number, Call::Always(answer))),
        _ => drop(calls.insert(number, Call::First(rules.collect()))),
    }
}

/// Whether the call is made all the same.
const fn is_permissive(answer: u32) -> bool {
    matches!(answer & 0xffff_0000, ALLOW | LOG | TRACE)
}

/// An action in the kernel's form. The members are those of the action and of its number.
fn answer(action: Action, number: Option<u32>, members: [&str; 2]) -> Result<u32, Error> {
    let invalid = |problem: String| Error::Invalid { property: members[1].to_owned(), problem };
    let plain = match action {
        Action::ScmpActErrno => {
            return match number.unwrap_or(libc::EPERM as u32) {
                errno if errno <= HIGHEST_ERRNO => Ok(ERRNO | errno),
                errno => Err(invalid(format!("is {errno}; no error is above {HIGHEST_ERRNO}"))),
            };
        }
        Action::ScmpActTrace => {
            return match number.unwrap_or(libc::EPERM as u32) {
                data if data <= HIGHEST_DATA => Ok(TRACE | data),
                data => Err(invalid(format!("is {data}; a tracer gets no number above {HIGHEST_DATA}"))),
            };
        }
        Action::ScmpActKill | Action::ScmpActKillThread => KILL_THREAD,
        Action::ScmpActKillProcess => KILL_PROCESS,
        Action::ScmpActTrap => TRAP,
        Action::ScmpActLog => LOG,
        Action::ScmpActNotify => NOTIFY,
        Action::ScmpActAllow => ALLOW,
    };
    match number {
        Some(_) => Err(invalid(format!("is of use with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only, and this is {action}"))),
        None => Ok(plain),
    }
}

/// Flags in the kernel's form. Without the list, the mitigation of speculative stores stays what it is without a filter, as
/// with runc; an empty list is no flags.
fn flags(flags: Option<&[Flag]>, asks: bool) -> u32 {
    let bit = |flag: &Flag| {
        let name = flag.to_string();
        FLAGS.iter().find(|(known, _)| *known == name).map_or(0, |(_, bit)| *bit)
    };
    let wanted = flags.map_or(FLAG_SPEC_ALLOW, |flags| flags.iter().map(bit).fold(0, |all, bit| all | bit));
    if asks { wanted | FLAG_NEW_LISTENER } else { wanted & !FLAG_WAIT_KILLABLE }
}
