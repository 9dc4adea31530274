//! What the container sees of its cgroups, translated from the words of the room `cgroup` to those of `rootfs`.

use crate::cgroup::{Dir, Kind, Location};
use crate::rootfs::{CgroupView, Hierarchy};
use std::path::Path;

/// The view of one location.
pub(super) fn of(location: &Location) -> CgroupView {
    let legacy: Vec<Hierarchy> = location.dirs.iter().filter_map(hierarchy).collect();
    match location.v2() {
        Some(dir) if legacy.is_empty() => CgroupView::Unified { directory: dir.path.clone() },
        _ => CgroupView::Legacy(legacy),
    }
}

/// A hierarchy of version 1, by the name of its folder and the words that mount(2) selects it by.
fn hierarchy(dir: &Dir) -> Option<Hierarchy> {
    let Kind::V1(controllers) = &dir.kind else { return None };
    let name = dir.mount.file_name().unwrap_or(Path::new("cgroup").as_os_str()).to_string_lossy().into_owned();
    let named = controllers.iter().any(|word| word.starts_with("name="));
    let options = format!("{}{}", if named { "none," } else { "" }, controllers.join(","));
    Some(Hierarchy { name, options, directory: dir.path.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(kind: Kind, mount: &str) -> Dir {
        Dir { kind, mount: mount.into(), path: Path::new(mount).join("x") }
    }

    #[test]
    fn unified_hosts_show_one_tree_and_others_their_hierarchies() {
        let unified = Location { dirs: vec![dir(Kind::V2, "/sys/fs/cgroup")] };
        assert_eq!(of(&unified), CgroupView::Unified { directory: "/sys/fs/cgroup/x".into() });
        let controllers = |words: &[&str]| Kind::V1(words.iter().map(ToString::to_string).collect());
        let hybrid = Location {
            dirs: vec![
                dir(Kind::V2, "/c/unified"),
                dir(controllers(&["cpu", "cpuacct"]), "/c/cpu,cpuacct"),
                dir(controllers(&["name=systemd"]), "/c/systemd"),
            ],
        };
        let CgroupView::Legacy(hierarchies) = of(&hybrid) else { panic!("not legacy") };
        let words: Vec<_> = hierarchies.iter().map(|it| (it.name.as_str(), it.options.as_str())).collect();
        assert_eq!(words, [("cpu,cpuacct", "cpu,cpuacct"), ("systemd", "none,name=systemd")]);
    }
}
