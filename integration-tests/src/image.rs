//! An image of a static busybox, made on the spot and without a network: for callers that take images.

use std::path::{Path, PathBuf};

use crate::command::Invocation;

/// What the image is called.
pub const NAME: &str = "docker.io/skiff/busybox:test";

const SCRIPT: &str = include_str!("image.sh");

/// The image's files.
#[derive(Debug)]
pub struct Image {
    /// An OCI archive, which names itself [`NAME`].
    pub archive: PathBuf,
    /// Its one layer, a tar: the root file system.
    pub layer: PathBuf,
}

/// Makes the image in `folder`.
pub fn make(folder: &Path) -> Image {
    let image = Image { archive: folder.join("image.tar"), layer: folder.join("layer.tar") };
    let (archive, layer) = (image.archive.to_string_lossy(), image.layer.to_string_lossy());
    Invocation::new("bash", &["-c", SCRIPT, "image.sh", &archive, NAME, &layer]).run().ok();
    image
}
