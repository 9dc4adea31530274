//! The shim's own log. It goes where the caller asked for it and nowhere else: containerd makes a fifo named `log` in
//! the bundle and copies it to its own log.

use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use tracing::Level;

/// The variable that names a file for the log where the bundle has none.
const FILE_VARIABLE: &str = "SKIFF_SHIM_LOG";

/// One line a write; a line that nobody takes is given up, because a full fifo must not stop a container.
#[derive(Clone, Debug)]
struct Lossy(Arc<File>);

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _given_up_when_full = (&*self.0).write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sets the log up; without a place for it nothing is logged.
pub(crate) fn begin(bundle: &Path, debug: bool) {
    let Some(file) = destination(bundle) else { return };
    let sink = Lossy(Arc::new(file));
    let level = if debug { Level::DEBUG } else { Level::INFO };
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_max_level(level).with_writer(move || sink.clone()).finish();
    let _only_we_set_it = tracing::subscriber::set_global_default(subscriber);
}

/// Both ends of a fifo are held, so that a reader may go and come back.
fn destination(bundle: &Path) -> Option<File> {
    let path = bundle.join("log");
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(descriptor) = open(&path, flags, Mode::empty()) {
        return Some(descriptor.into());
    }
    let path = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty())?;
    File::options().append(true).create(true).open(path).ok()
}
