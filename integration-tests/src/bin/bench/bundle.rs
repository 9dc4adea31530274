//! The bundles that every contender runs: one root file system, the default configuration of `runc spec` on a cgroup2
//! host without its device rules (frozen here, so that figures of different years and the floor mean the same work).

use crate::{sameness, settings};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// The bundle that runs `/bin/true`.
pub(crate) const TRUE: &str = "true";
/// The bundle that runs the look-around script of `sameness`.
pub(crate) const LOOK: &str = "look";

const CONFIG: &str = r#"{
"ociVersion": "1.0.2",
"process": {
  "terminal": false, "user": {"uid": 0, "gid": 0}, "args": [@ARGS@], "cwd": "/", "noNewPrivileges": true,
  "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
  "capabilities": {
    "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
    "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
    "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]},
  "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},
"root": {"path": "@ROOTFS@", "readonly": true},
"hostname": "runc",
"mounts": [
  {"destination": "/proc", "type": "proc", "source": "proc"},
  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
   "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
  {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
   "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
  {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
   "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
  {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
  {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
  {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
   "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}],
"linux": {
  "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
    {"type": "cgroup"}],
  "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
  "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]}
}
"#;

/// Makes the bundles in the folder that `BENCH_WORK` names.
pub(crate) fn make_in_work() -> Result<()> {
    make(&settings::work()?)
}

/// Makes the root file system (static busybox) and the two bundles in the empty folder `work`.
pub(crate) fn make(work: &Path) -> Result<()> {
    let rootfs = work.join("rootfs");
    for folder in ["", "bin", "proc", "dev", "sys"] {
        fs::create_dir(rootfs.join(folder)).with_context(|| format!("mkdir `/{folder}` of the root file system"))?;
    }
    let busybox = rootfs.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).context("copy `/bin/busybox`; install busybox-static")?;
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).context("chmod busybox")?;
    for applet in ["true", "sh", "cat", "cut", "grep", "hostname", "id", "ls", "readlink", "stat", "touch", "tr"] {
        symlink("busybox", rootfs.join("bin").join(applet)).with_context(|| format!("link `{applet}`"))?;
    }
    fs::write(rootfs.join("look.sh"), sameness::SCRIPT).context("write look.sh")?;
    bundle(work, TRUE, &["/bin/true"])?;
    bundle(work, LOOK, &sameness::PROGRAM)
}

fn bundle(work: &Path, name: &str, program: &[&str]) -> Result<()> {
    let folder = work.join(name);
    fs::create_dir(&folder).with_context(|| format!("mkdir `{}`", folder.display()))?;
    let rootfs = work.join("rootfs").display().to_string();
    fs::write(folder.join("config.json"), config(program, &rootfs)).context("write config.json")
}

/// The configuration; the words and the path contain nothing that JSON would have to escape.
fn config(program: &[&str], rootfs: &str) -> String {
    let words: Vec<String> = program.iter().map(|word| format!("\"{word}\"")).collect();
    CONFIG.replace("@ARGS@", &words.join(", ")).replace("@ROOTFS@", rootfs)
}
