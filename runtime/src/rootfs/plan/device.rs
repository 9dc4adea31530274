//! Which device nodes a container gets: the six of runtime-spec config-linux.md "Default Devices", and
//! `linux.devices`, which replaces a default one of the same path.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{FileType, Mode};

use super::super::error::Error;
use super::super::resolve::clean;

/// A device node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its JSON property, for messages.
    pub property: String,
    /// Where: absolute and clean.
    pub path: PathBuf,
    /// What.
    pub kind: NodeKind,
    /// Device number; 0 for a FIFO.
    pub major: u32,
    /// Device number; 0 for a FIFO.
    pub minor: u32,
    /// Permissions, exactly.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// The kinds of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// `c` and `u`.
    Character,
    /// `b`.
    Block,
    /// `p`.
    Fifo,
}

impl Node {
    /// The node's device number as mknod(2) wants it.
    #[must_use]
    pub fn device(&self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }

    /// The node's type as mknod(2) wants it.
    #[must_use]
    pub const fn file_type(&self) -> FileType {
        match self.kind {
            NodeKind::Character => FileType::CharacterDevice,
            NodeKind::Block => FileType::BlockDevice,
            NodeKind::Fifo => FileType::Fifo,
        }
    }

    /// The node's permissions as mknod(2) wants them.
    #[must_use]
    pub const fn permissions(&self) -> Mode {
        Mode::from_raw_mode(self.mode)
    }

    /// Where it is below `/dev`; none outside.
    #[must_use]
    pub fn below_dev(&self) -> Option<&Path> {
        self.path.strip_prefix("/dev").ok()
    }
}

const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The nodes of a container. Where `/dev` is not our own, nothing is made below it: the configuration brought a `/dev`
/// with what it wants in it.
pub(super) fn nodes(devices: &[LinuxDevice], own_dev: bool) -> Result<Vec<Node>, Error> {
    let mut listed = Vec::with_capacity(devices.len() + DEFAULT.len());
    for (index, device) in devices.iter().enumerate() {
        listed.push(node(index, device)?);
    }
    let mut nodes: Vec<Node> = DEFAULT
        .iter()
        .filter(|(path, ..)| !listed.iter().any(|node| node.path == Path::new(path)))
        .map(|(path, major, minor)| Node {
            property: "a default device".into(),
            path: path.into(),
            kind: NodeKind::Character,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    nodes.append(&mut listed);
    // `/dev/ptmx` is the link into the container's own devpts, whatever the list says (as in runc).
    nodes.retain(|node| (own_dev || node.below_dev().is_none()) && node.path != Path::new("/dev/ptmx"));
    Ok(nodes)
}

fn node(index: usize, device: &LinuxDevice) -> Result<Node, Error> {
    let property = format!("linux.devices[{index}]");
    let invalid =
        |name: &str, value: String, rule| Error::Invalid { property: format!("{property}.{name}"), value, rule };
    let path = clean(device.path());
    if !device.path().is_absolute() || path == Path::new("/") || path == Path::new("/dev") {
        let rule = "which is not an absolute path of a file";
        return Err(invalid("path", device.path().display().to_string(), rule));
    }
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Character,
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => return Err(invalid("type", "a".into(), "which is none of b, c, u, p")),
    };
    let number = |name, value: i64| {
        u32::try_from(value).map_err(|_| invalid(name, value.to_string(), "which is not a device number"))
    };
    let fifo = kind == NodeKind::Fifo;
    if !fifo && device.major() == 0 && device.minor() == 0 {
        let rule = "which no device has; `major` and `minor` are both needed";
        return Err(invalid("major", "0".into(), rule));
    }
    Ok(Node {
        path,
        kind,
        major: if fifo { 0 } else { number("major", device.major())? },
        minor: if fifo { 0 } else { number("minor", device.minor())? },
        mode: device.file_mode().map_or(0o666, |mode| mode & 0o7777),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        property,
    })
}
