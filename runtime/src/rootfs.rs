//! Room `rootfs`: the file system a container sees. `plan` decides from the configuration alone; `prepare` opens what
//! belongs to the host, before the clone; `build` puts it together in the child; `Root::enter` and `Root::seal` change
//! the root and close it.
//!
//! Inside the image nothing is addressed by a path string after it was opened (`resolve`), device nodes are made only
//! on a tmpfs that was mounted here, and masks are verified after mounting: most escapes from runtimes were a string
//! resolved twice.
//!
//! Two generations of kernel calls: detached mount trees (`open_tree`, `fsmount`, `move_mount`, `mount_setattr`, Linux
//! 5.12) and `mount(2)` onto descriptors. The first is the default for what is bound or needs a descriptor, the second
//! for plain new file systems, where it is one call instead of five.

mod anchor;
mod attach;
mod bind;
mod build;
mod cgroupfs;
mod copy_up;
mod dev;
mod enter;
mod error;
mod filesystem;
mod mask;
pub mod options;
mod plan;
mod prepare;
pub mod procfs;
pub mod resolve;
mod sysctl;

pub use build::{Root, build};
pub use cgroupfs::{CgroupView, Hierarchy};
pub use error::Error;
pub use plan::{Facts, Kind, Mapping, MappingSource, Node, NodeKind, Plan, Step, Sysctl, plan};
pub use prepare::{Api, Prepared, prepare, prepare_with};
