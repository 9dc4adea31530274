//! Bind mounts: which changes make a copied tree what its options say, and how it comes into the container.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::attach::{self, Identity};
use super::options::{Attributes, Options};
use super::prepare::Origin;
use crate::sys::mount as kernel;

/// One `mount_setattr(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    recursive: bool,
    attributes: Attributes,
    propagation: u64,
}

/// `c_ulong` is 32 bits wide on 32-bit machines.
#[allow(clippy::useless_conversion)]
pub(super) fn bits(flag: libc::c_ulong) -> u64 {
    u64::from(flag)
}

/// The calls that a copied tree needs, as few as the kernel allows: two steps become one when they reach the same
/// mounts and do not touch the same bits. `tree` says whether there can be mounts below; `peers` whether the container
/// keeps its mounts in the host's peer groups (`rootfsPropagation` shared).
pub(super) fn changes(options: &Options, tree: bool, peers: bool) -> Vec<Change> {
    let mut wanted = vec![
        Change { attributes: options.attributes, ..Change::default() },
        Change { attributes: options.recursive, recursive: true, ..Change::default() },
    ];
    if !peers {
        wanted.push(Change { propagation: bits(libc::MS_SLAVE), recursive: true, ..Change::default() });
    }
    for propagation in &options.propagation {
        // Leaving all groups makes what was said before moot.
        let leaves = propagation.kind != bits(libc::MS_SHARED) && propagation.kind != bits(libc::MS_SLAVE);
        if leaves && (propagation.recursive || !tree) {
            wanted.retain(|change| change.propagation == 0);
        }
        wanted.push(Change { propagation: propagation.kind, recursive: propagation.recursive, ..Change::default() });
    }
    let mut changes: Vec<Change> = Vec::with_capacity(wanted.len());
    for change in wanted.into_iter().filter(|change| !change.attributes.is_empty() || change.propagation != 0) {
        match changes.last_mut() {
            Some(last) if last.joins(&change, tree) => last.join(&change),
            _first_or_apart => changes.push(change),
        }
    }
    changes
}

impl Change {
    const fn touched(&self) -> u64 {
        self.attributes.set | self.attributes.clear
    }

    const fn joins(&self, next: &Self, tree: bool) -> bool {
        let reach = !tree || self.recursive == next.recursive;
        reach && self.touched() & next.touched() == 0 && (self.propagation == 0 || next.propagation == 0)
    }

    fn join(&mut self, next: &Self) {
        self.recursive |= next.recursive;
        self.attributes.set |= next.attributes.set;
        self.attributes.clear |= next.attributes.clear;
        self.propagation |= next.propagation;
    }
}

/// Performs one change on a detached tree.
pub(super) fn apply(tree: &OwnedFd, change: Change) -> Result<(), Errno> {
    let Change { recursive, attributes, propagation } = change;
    let change = kernel::Change { set: attributes.set, clear: attributes.clear, propagation, user_namespace: None };
    kernel::set_attributes(tree.as_fd(), recursive, change)
}

/// Puts what `prepare` opened onto `target`. With `mount(2)` alone the options are still to be set; see
/// [`set_options`].
pub(super) fn attach(origin: &Origin, recursive: bool, target: &OwnedFd) -> Result<(), Errno> {
    if let Some(tree) = &origin.tree {
        return attach::attach(tree, target);
    }
    // The parent's descriptor is of another mount namespace, which mount(2) does not take: the path is looked at
    // again, and must show the same file.
    let source = rustix::fs::open(&origin.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if Identity::of_fd(&source)? != origin.identity {
        return Err(Errno::STALE);
    }
    attach::bind(&source, target, recursive)
}

/// Sets the options of a mount that is already in place.
pub(super) fn set_options(mount: &OwnedFd, options: &Options) -> Result<(), Errno> {
    if !options.attributes.is_empty() {
        attach::set_attributes(mount, options.attributes)?;
    }
    if !options.recursive.is_empty() {
        apply(mount, Change { attributes: options.recursive, recursive: true, propagation: 0 })?;
    }
    for propagation in &options.propagation {
        attach::set_propagation(mount, *propagation)?;
    }
    Ok(())
}

/// Binds a directory of the host that the child can reach by itself. `reopen` finds the top of `target` again, which
/// only the calls of before Linux 5.2 need.
pub(super) fn host_directory(
    path: impl rustix::path::Arg + Copy,
    target: &OwnedFd,
    options: &Options,
    reopen: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = if kernel::has_move_mount() { rustix::mount::open_tree(CWD, path, flags) } else { Err(Errno::NOSYS) };
    match tree {
        Ok(tree) => {
            let changed = changes(options, true, false).into_iter().try_for_each(|change| apply(&tree, change));
            match changed {
                // Linux 5.2 to 5.11: a tree can be moved, but is changed only once it is in place.
                Err(Errno::NOSYS) => {
                    attach::attach(&tree, target)?;
                    set_options(&reopen()?, options)
                }
                changed => changed.and_then(|()| attach::attach(&tree, target)),
            }
        }
        Err(Errno::NOSYS) => {
            let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            attach::bind(&source, target, true)?;
            set_options(&reopen()?, options)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(words: &str, tree: bool, peers: bool) -> Vec<(bool, u64)> {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        let changes = changes(&Options::parse(&words), tree, peers);
        changes.iter().map(|change| (change.recursive, change.propagation)).collect()
    }

    #[test]
    fn a_file_takes_one_call() {
        assert_eq!(count("rbind,rprivate,ro", false, false), [(true, bits(libc::MS_PRIVATE))]);
        assert_eq!(count("bind", false, false), [(true, bits(libc::MS_SLAVE))]);
    }

    #[test]
    fn a_directory_takes_one_call_for_each_reach() {
        assert_eq!(count("rbind,rprivate,rw", true, false), [(false, 0), (true, bits(libc::MS_PRIVATE))]);
        assert_eq!(count("rbind,rro", true, false), [(true, bits(libc::MS_SLAVE))]);
        let both = [(true, bits(libc::MS_SLAVE)), (true, bits(libc::MS_SHARED))];
        assert_eq!(count("rbind,rshared", true, false), both);
    }

    #[test]
    fn peers_are_kept_when_asked() {
        assert_eq!(count("rbind", true, true), []);
        assert_eq!(count("rbind,rslave", true, true), [(true, bits(libc::MS_SLAVE))]);
    }

    #[test]
    fn opposite_bits_stay_in_order() {
        assert_eq!(count("ro,rrw", false, true), [(false, 0), (true, 0)]);
    }
}
