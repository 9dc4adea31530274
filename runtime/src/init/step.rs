//! The single steps of init that are not a room of their own.

use super::Error;
use crate::container::plans::Plans;
use crate::namespaces::{Kind, Plan};
use crate::process;
use crate::seccomp::Filter;
use crate::sync::{Channel, Message};
use crate::sys;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::SocketFlags;
use rustix::process::Signal;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub(super) fn failed(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.into();
    move |source| Error::Step { operation, source }
}

/// Asks the kernel to kill us when our parent dies.
pub(super) fn die_with_parent() -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failed("tie the life of the container to its maker's")(errno.into()))
}

/// Takes that back: the setting would survive the exec.
pub(super) fn outlive_parent() -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(None)
        .map_err(|errno| failed("untie the life of the container from its maker's")(errno.into()))
}

/// Keeps others from /proc/PID of this process (PR_SET_DUMPABLE of prctl(2)); the exec brings the usual back.
pub(super) fn hide() -> Result<(), Error> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|errno| failed("hide from other containers")(errno.into()))
}

fn show() -> Result<(), Error> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(|errno| failed("let the maker of the container take the descriptor of its filter")(errno.into()))
}

/// A session of its own, so that no signal of a terminal of the caller's reaches the container.
pub(super) fn own_session() -> Result<(), Error> {
    rustix::process::setsid().map(|_| ()).map_err(|errno| failed("make a session (setsid)")(errno.into()))
}

/// In a new user namespace we hold all capabilities but no mapped id: files that we make would belong to nobody.
pub(super) fn become_root_inside(plan: &Plan) -> Result<(), Error> {
    let maps_root = |mappings: &[oci_spec::runtime::LinuxIdMapping]| mappings.iter().any(|it| it.container_id() == 0);
    let root = (rustix::process::Gid::ROOT, rustix::process::Uid::ROOT);
    if maps_root(&plan.gid_mappings) {
        rustix::thread::set_thread_res_gid(root.0, root.0, root.0)
            .map_err(|errno| failed("become group 0 of the user namespace")(errno.into()))?;
    }
    if maps_root(&plan.uid_mappings) {
        rustix::thread::set_thread_res_uid(root.1, root.1, root.1)
            .map_err(|errno| failed("become user 0 of the user namespace")(errno.into()))?;
    }
    // Changing ids has cleared both the death signal and the dumpable flag that /proc/self needs (prctl(2)).
    die_with_parent()
}

/// The same in a user namespace of somebody else's making, whose maps we do not know.
pub(super) fn become_root_if_mapped() -> Result<(), Error> {
    let (gid, uid) = (rustix::process::Gid::ROOT, rustix::process::Uid::ROOT);
    let become_both = rustix::thread::set_thread_res_gid(gid, gid, gid)
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid));
    match become_both {
        // EINVAL: 0 is not mapped (user_namespaces(7)).
        Ok(()) | Err(rustix::io::Errno::INVAL) => die_with_parent(),
        Err(errno) => Err(failed("become root of the joined user namespace")(errno.into())),
    }
}

/// Joins namespaces by descriptors that the parent has opened and checked. Those that the kernel refuses are tried
/// again after the others: rights over some come with the user namespace, rights over others go with it.
pub(super) fn join(plan: &Plan, namespaces: &[OwnedFd], which: &[usize]) -> Result<(), Error> {
    let mut refused = Vec::new();
    for index in which {
        let (kind, path) = &plan.join[*index];
        match enter(*kind, &namespaces[*index]) {
            Ok(()) => {}
            Err(nix::Error::EPERM) if *kind != Kind::User => refused.push(*index),
            Err(errno) => {
                return Err(failed(format!("join the {} namespace `{}`", kind.word(), path.display()))(errno.into()));
            }
        }
    }
    for index in refused {
        let (kind, path) = &plan.join[index];
        enter(*kind, &namespaces[index]).map_err(|errno| {
            failed(format!("join the {} namespace `{}`", kind.word(), path.display()))(errno.into())
        })?;
    }
    Ok(())
}

/// Joins the namespaces of these `CLONE_NEW*` bits of the process behind a pidfd (setns(2)): all of them or none.
pub(super) fn join_all(pidfd: &OwnedFd, flags: u64) -> io::Result<()> {
    let flags = CloneFlags::from_bits_retain(i32::try_from(flags).unwrap_or_default());
    setns(pidfd.as_fd(), flags).map_err(io::Error::from)
}

fn enter(kind: Kind, namespace: &OwnedFd) -> nix::Result<()> {
    setns(namespace.as_fd(), bits(kind))
}

fn bits(kind: Kind) -> CloneFlags {
    CloneFlags::from_bits_retain(i32::try_from(kind.flag()).unwrap_or_default())
}

pub(super) fn separate(kind: Kind) -> Result<(), Error> {
    unshare(bits(kind)).map_err(|errno| failed(format!("make a new {} namespace", kind.word()))(errno.into()))
}

pub(super) fn unshare_cgroup(plan: &Plan) -> Result<(), Error> {
    if plan.unshare_cgroup { separate(Kind::Cgroup) } else { Ok(()) }
}

pub(super) fn set_names(plans: &Plans) -> Result<(), Error> {
    if let Some(name) = &plans.hostname {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|errno| failed(format!("set `hostname` to `{name}`"))(errno.into()))?;
    }
    if let Some(name) = &plans.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(|errno| failed(format!("set `domainname` to `{name}`"))(errno.into()))?;
    }
    Ok(())
}

/// Waits for `start`.
pub(super) fn accept(listener: &OwnedFd) -> Result<Channel, Error> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => return Ok(Channel::from(socket)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(errno) => return Err(failed("wait for `start`")(errno.into())),
        }
    }
}

/// Loads the filter, if there is one ([`process::confine`]). The parent gets the descriptor of one that leaves calls to somebody.
/// A parent without `CAP_SYS_PTRACE` can take it only from a process that does not hide ([`process::Plan::shows`]).
pub(super) fn confine(plan: &process::Plan, channel: &Channel) -> Result<(), Error> {
    if !plan.seccomp.as_ref().is_some_and(Filter::listens) {
        return Ok(process::confine(plan).map(drop)?);
    }
    let lowest_free = rustix::io::fcntl_dupfd_cloexec(channel, 0)
        .map_err(|errno| failed("find a free descriptor for the system call filter")(errno.into()))?;
    let number = lowest_free.as_raw_fd();
    drop(lowest_free);
    if plan.shows {
        show()?;
    }
    channel.send(&Message::Listener(number))?;
    let listener = process::confine(plan)?;
    super::expect_proceed(channel)?;
    drop(listener);
    if plan.shows { hide() } else { Ok(()) }
}

pub(super) fn exit(code: i32) -> ! {
    sys::clone::exit_now(code)
}
