//! The words of `mounts[].options` (mount(8), runtime-spec config.md "Linux mount options") and what each one does.
//! Pure: a list of words in, sets of bits out.

use rustix::mount::MountFlags;

/// Bits of one `mount_setattr(2)`: what to switch on, and what to switch off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
}

impl Attributes {
    /// Whether there is nothing to change.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }

    /// Applies one more word: a later word wins over an earlier one, as in mount(8).
    fn apply(&mut self, change: Change) {
        match change {
            Change::Set(bits) => {
                self.set |= bits;
                self.clear &= !bits;
            }
            Change::Clear(bits) => {
                self.set &= !bits;
                self.clear |= bits;
            }
            // The access-time mode is a number in three bits: the kernel wants all of them cleared to set one.
            Change::AccessTime(mode) => {
                self.set = (self.set & !libc::MOUNT_ATTR__ATIME) | mode;
                self.clear |= libc::MOUNT_ATTR__ATIME;
            }
        }
    }

    /// The same for `mount(2)`, on top of the flags that a mount has now.
    #[must_use]
    pub fn over(self, now: MountFlags) -> MountFlags {
        let mut flags = now & !mount_flags(self.clear);
        if self.clear & libc::MOUNT_ATTR__ATIME != 0 {
            flags &= !(MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME);
            flags |= match self.set & libc::MOUNT_ATTR__ATIME {
                libc::MOUNT_ATTR_NOATIME => MountFlags::NOATIME,
                libc::MOUNT_ATTR_STRICTATIME => MountFlags::STRICTATIME,
                _relative => MountFlags::RELATIME,
            };
        }
        flags | mount_flags(self.set)
    }
}

/// The `MS_*` bits of those `MOUNT_ATTR_*` bits that are simple switches.
fn mount_flags(attributes: u64) -> MountFlags {
    SWITCHES.iter().filter(|(bit, _)| attributes & bit != 0).map(|(_, flag)| *flag).collect()
}

const SWITCHES: [(u64, MountFlags); 6] = [
    (libc::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
    (libc::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
    (libc::MOUNT_ATTR_NODEV, MountFlags::NODEV),
    (libc::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
    (libc::MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME),
    (libc::MOUNT_ATTR_NOSYMFOLLOW, MountFlags::NOSYMFOLLOW),
];

/// How mount events travel between a mount and its peers (mount_namespaces(7), "Shared subtrees").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// With all mounts below.
    pub recursive: bool,
}

impl Propagation {
    /// Reads one of `shared rshared slave rslave private rprivate unbindable runbindable`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let (name, recursive) = match word.strip_prefix('r') {
            Some(name) => (name, true),
            None => (word, false),
        };
        let kind = match name {
            "shared" => libc::MS_SHARED,
            "slave" => libc::MS_SLAVE,
            "private" => libc::MS_PRIVATE,
            "unbindable" => libc::MS_UNBINDABLE,
            _other => return None,
        };
        Some(Self { kind: u64_of(kind), recursive })
    }

    /// Whether this is `shared` or `rshared`.
    #[must_use]
    pub fn shares(self) -> bool {
        self.kind == u64_of(libc::MS_SHARED)
    }
}

/// `c_ulong` is 32 bits wide on 32-bit machines.
#[allow(clippy::useless_conversion)]
pub(super) fn u64_of(flag: libc::c_ulong) -> u64 {
    u64::from(flag)
}

/// An id-mapped mount (`idmap`, `ridmap`, runtime-spec 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// With all mounts below (`ridmap`).
    pub recursive: bool,
}

/// What a list of options says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Per-mount bits.
    pub attributes: Attributes,
    /// Per-mount bits for the mount and everything below it (`rro`, `rnosuid`, …).
    pub recursive: Attributes,
    /// Bits of the file system rather than of the mount (`sync`, `lazytime`, …); a bind mount has no say in them.
    pub superblock: u32,
    /// `bind` or `rbind`; the flag is whether the mounts below come along.
    pub bind: Option<bool>,
    /// `remount`.
    pub remount: bool,
    /// The propagation types, in the order given.
    pub propagation: Vec<Propagation>,
    /// `tmpcopyup`: a new tmpfs starts with what the image has at its place.
    pub copy_up: bool,
    /// `idmap` or `ridmap`.
    pub idmap: Option<IdMap>,
    /// All other words: they are for the file system itself.
    pub data: Vec<String>,
}

impl Options {
    /// Sorts `words`. No word is refused here: what is left over in `data` is the file system's to judge.
    #[must_use]
    pub fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words {
            options.apply(word);
        }
        options
    }

    fn apply(&mut self, word: &str) {
        if let Some(propagation) = Propagation::parse(word) {
            self.propagation.push(propagation);
            return;
        }
        if let Some(change) = attribute(word) {
            self.attributes.apply(change);
            return;
        }
        if let Some(change) = word.strip_prefix('r').and_then(attribute) {
            self.recursive.apply(change);
            return;
        }
        match word {
            "" | "defaults" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(IdMap { recursive: false }),
            "ridmap" => self.idmap = Some(IdMap { recursive: true }),
            _other => match superblock(word) {
                Some((bit, true)) => self.superblock |= bit,
                Some((bit, false)) => self.superblock &= !bit,
                None => self.data.push(word.to_owned()),
            },
        }
    }

    /// The `MS_*` bits of a new mount of a file system.
    #[must_use]
    pub fn mount_flags(&self) -> MountFlags {
        self.attributes.over(MountFlags::empty()) | MountFlags::from_bits_retain(self.superblock)
    }
}

enum Change {
    Set(u64),
    Clear(u64),
    AccessTime(u64),
}

fn attribute(word: &str) -> Option<Change> {
    use Change::{AccessTime, Clear, Set};
    Some(match word {
        "ro" => Set(libc::MOUNT_ATTR_RDONLY),
        "rw" => Clear(libc::MOUNT_ATTR_RDONLY),
        "nosuid" => Set(libc::MOUNT_ATTR_NOSUID),
        "suid" => Clear(libc::MOUNT_ATTR_NOSUID),
        "nodev" => Set(libc::MOUNT_ATTR_NODEV),
        "dev" => Clear(libc::MOUNT_ATTR_NODEV),
        "noexec" => Set(libc::MOUNT_ATTR_NOEXEC),
        "exec" => Clear(libc::MOUNT_ATTR_NOEXEC),
        "nodiratime" => Set(libc::MOUNT_ATTR_NODIRATIME),
        "diratime" => Clear(libc::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Set(libc::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Clear(libc::MOUNT_ATTR_NOSYMFOLLOW),
        "noatime" => AccessTime(libc::MOUNT_ATTR_NOATIME),
        "strictatime" => AccessTime(libc::MOUNT_ATTR_STRICTATIME),
        // Relative access times are the kernel's default, and so what is left when another mode is taken back.
        "relatime" | "norelatime" | "atime" | "nostrictatime" => AccessTime(libc::MOUNT_ATTR_RELATIME),
        _other => return None,
    })
}

fn superblock(word: &str) -> Option<(u32, bool)> {
    let (bit, on) = match word {
        "sync" => (libc::MS_SYNCHRONOUS, true),
        "async" => (libc::MS_SYNCHRONOUS, false),
        "dirsync" => (libc::MS_DIRSYNC, true),
        "mand" => (libc::MS_MANDLOCK, true),
        "nomand" => (libc::MS_MANDLOCK, false),
        "lazytime" => (libc::MS_LAZYTIME, true),
        "nolazytime" => (libc::MS_LAZYTIME, false),
        "iversion" => (libc::MS_I_VERSION, true),
        "noiversion" => (libc::MS_I_VERSION, false),
        "silent" => (libc::MS_SILENT, true),
        "loud" => (libc::MS_SILENT, false),
        "acl" => (libc::MS_POSIXACL, true),
        "noacl" => (libc::MS_POSIXACL, false),
        _other => return None,
    };
    Some((u32::try_from(bit).expect("mount flags fit 32 bits"), on))
}

/// The words that [`Options::parse`] takes for itself, for `skiff features` (runtime-spec features.md, `mountOptions`).
#[must_use]
pub fn known() -> Vec<&'static str> {
    let mut words: Vec<&'static str> = KNOWN.split_whitespace().collect();
    words.sort_unstable();
    words
}

const KNOWN: &str = "acl async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noacl \
    noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private \
    ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime \
    rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow \
    runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn a_later_word_wins() {
        let check = |words, set, clear| assert_eq!(parse(words).attributes, Attributes { set, clear }, "{words}");
        check("ro", libc::MOUNT_ATTR_RDONLY, 0);
        check("ro,rw", 0, libc::MOUNT_ATTR_RDONLY);
        check("nosuid,nodev", libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, 0);
        check("noatime,strictatime", libc::MOUNT_ATTR_STRICTATIME, libc::MOUNT_ATTR__ATIME);
        check("noatime,atime", 0, libc::MOUNT_ATTR__ATIME);
        check("suid,dev,exec", 0, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC);
    }

    #[test]
    fn recursive_words_are_kept_apart() {
        let options = parse("ro,rnosuid,rw,rro");
        assert_eq!(options.attributes, Attributes { set: 0, clear: libc::MOUNT_ATTR_RDONLY });
        let set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_RDONLY;
        assert_eq!(options.recursive, Attributes { set, clear: 0 });
        assert!(options.data.is_empty());
    }

    #[test]
    fn words_for_the_file_system_are_left_over() {
        let options = parse("nosuid,mode=755,sync,size=64k,lowerdir=/a:/b,bogus");
        assert_eq!(options.data, ["mode=755", "size=64k", "lowerdir=/a:/b", "bogus"]);
        assert_eq!(options.mount_flags(), MountFlags::NOSUID | MountFlags::SYNCHRONOUS);
    }

    #[test]
    fn binds_and_propagation() {
        let options = parse("rbind,rslave,shared,ridmap,tmpcopyup,remount");
        assert_eq!(options.bind, Some(true));
        assert_eq!(parse("bind,rbind,bind").bind, Some(true));
        assert_eq!(options.idmap, Some(IdMap { recursive: true }));
        assert!(options.copy_up && options.remount);
        let kinds: Vec<_> = options.propagation.iter().map(|p| (p.kind, p.recursive)).collect();
        assert_eq!(kinds, [(u64_of(libc::MS_SLAVE), true), (u64_of(libc::MS_SHARED), false)]);
    }

    #[test]
    fn flags_of_a_remount_keep_what_is_not_named() {
        let now = MountFlags::NOSUID | MountFlags::RDONLY | MountFlags::NOATIME;
        assert_eq!(
            parse("rw,nodev").attributes.over(now),
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME
        );
        let strict = MountFlags::NOSUID | MountFlags::RDONLY | MountFlags::STRICTATIME;
        assert_eq!(parse("strictatime").attributes.over(now), strict);
    }

    #[test]
    fn every_known_word_is_taken() {
        for word in known() {
            assert!(parse(word).data.is_empty(), "{word}");
        }
    }
}
