//! What of a task is written into its bundle: which runtime made it, so that `delete` finds the same one when this
//! process is gone; and how it ended, so that an exit outlives us too.

use super::Error;
use crate::exits::Exit;
use crate::runtime::Runtime;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const RUNTIME: &str = "shim.json";
const EXIT: &str = "exit.json";

/// Writes down the runtime, before it is called.
pub(super) fn record_runtime(bundle: &Path, runtime: &Runtime) -> Result<(), Error> {
    let text = serde_json::to_vec(runtime).expect("paths that came as text are text");
    let path = bundle.join(RUNTIME);
    publish(bundle, RUNTIME, &text).map_err(|source| Error::File { path, source })
}

/// The runtime that made the container of a bundle, if that was written down.
pub(crate) fn recorded_runtime(bundle: &Path) -> Option<Runtime> {
    serde_json::from_slice(&fs::read(bundle.join(RUNTIME)).ok()?).ok()
}

/// Writes down an exit. Whoever asks us gets it anyway, so a full disk is no failure.
pub(super) fn record_exit(bundle: &Path, exit: Exit) {
    let nanoseconds = exit.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let text = serde_json::json!({"status": exit.status, "nanoseconds": u64::try_from(nanoseconds).unwrap_or(0)});
    if let Err(error) = publish(bundle, EXIT, text.to_string().as_bytes()) {
        tracing::warn!(bundle = %bundle.display(), %error, "exit is not written down");
    }
}

/// The exit of a bundle's container, if it was written down.
pub(crate) fn last_exit(bundle: &Path) -> Option<Exit> {
    let document: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join(EXIT)).ok()?).ok()?;
    let status = u32::try_from(document["status"].as_u64()?).ok()?;
    let at: SystemTime = UNIX_EPOCH + Duration::from_nanos(document["nanoseconds"].as_u64()?);
    Some(Exit { status, at })
}

/// A reader sees the old text or the new one, never half of it.
pub(crate) fn publish(folder: &Path, name: &str, text: &[u8]) -> std::io::Result<()> {
    let temporary: PathBuf = folder.join(format!(".{name}.new"));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, folder.join(name))
}

/// The process id that a runtime wrote.
pub(super) fn read_pid(path: &Path) -> Result<u32, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    match text.trim().parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(Error::Pid { path: path.to_owned(), text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!((recorded_runtime(folder.path()), last_exit(folder.path())), (None, None));
        let runtime = Runtime { binary: "/skiff".into(), root: "/r".into(), systemd_cgroup: true };
        record_runtime(folder.path(), &runtime).unwrap();
        // In the year 2100.
        let exit = Exit { status: 137, at: UNIX_EPOCH + Duration::from_nanos(4_102_444_800_123_456_789) };
        record_exit(folder.path(), exit);
        assert_eq!((recorded_runtime(folder.path()), last_exit(folder.path())), (Some(runtime), Some(exit)));
        fs::write(folder.path().join(EXIT), "{\"status\":").unwrap();
        assert_eq!(last_exit(folder.path()), None);
    }

    #[test]
    fn process_ids() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        for (text, wanted) in [("17", Some(17)), ("17\n", Some(17)), ("", None), ("0", None), ("-1", None), ("x", None)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read_pid(&path).ok(), wanted, "{text}");
        }
    }
}
