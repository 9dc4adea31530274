//! Where cgroups are, by runc's rules, and what lies below them.
#![allow(clippy::disallowed_methods, reason = "the folders are the test's own")]

use super::*;

const OWN: &str = "9:name=systemd:/\n4:memory:/api/1\n2:cpu,cpuacct:/docker/2/x\n0::/user.slice/shell.scope\n";

fn host() -> Host {
    let v1 = |word: &str, mount: &str, root: &str| Hierarchy {
        kind: Kind::V1(vec![word.into()]),
        mount: mount.into(),
        root: root.into(),
    };
    let v2 = Hierarchy { kind: Kind::V2, mount: "/c/unified".into(), root: "/".into() };
    let hierarchies = vec![v2, v1("memory", "/c/memory", "/"), v1("cpuacct", "/c/cpu", "/docker/2")];
    Host { hierarchies, ..Host::default() }
}

fn paths(path: Option<&str>) -> Vec<String> {
    let found = locate(&host(), path.map(Path::new), "box", &OwnCgroups::parse(OWN)).unwrap();
    found.dirs.iter().map(|dir| dir.path.to_str().unwrap().to_owned()).collect()
}

fn refusal(path: &str) -> String {
    locate(&host(), Some(Path::new(path)), "box", &OwnCgroups::default()).unwrap_err().to_string()
}

#[test]
fn below_is_below() {
    let root = tempfile::tempdir().unwrap();
    let dir = |kind: Kind, name: &str| {
        std::fs::create_dir_all(root.path().join(name).join("box/inner/most")).unwrap();
        Dir { kind, mount: root.path().join(name), path: root.path().join(name).join("box") }
    };
    let v1 = |words: &[&str]| Kind::V1(words.iter().map(|word| (*word).to_owned()).collect());
    let own = Location {
        dirs: vec![dir(Kind::V2, "unified"), dir(v1(&["cpu", "cpuacct"]), "cpu"), dir(v1(&["pids"]), "pids")],
    };
    let of = |texts: &[&str]| {
        let all: Vec<Below> = texts.iter().map(|text| Below::parse(text)).collect();
        let found = Below::of(&all, &own).map_err(|error| error.to_string())?;
        let short = |dir: &Dir| dir.path.strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned();
        Ok::<_, String>(found.dirs.iter().map(short).collect::<Vec<_>>())
    };
    assert_eq!(of(&[]).unwrap(), ["unified/box", "cpu/box", "pids/box"]);
    assert_eq!(of(&["/"]).unwrap(), of(&[]).unwrap());
    assert_eq!(
        of(&["/inner/./most"]).unwrap(),
        ["unified/box/inner/most", "cpu/box/inner/most", "pids/box/inner/most"]
    );
    assert_eq!(of(&["cpuacct:inner"]).unwrap(), ["unified/box", "cpu/box/inner", "pids/box"]);
    assert_eq!(of(&["cpu,pids:inner"]).unwrap(), ["unified/box", "cpu/box/inner", "pids/box/inner"]);
    assert_eq!(of(&["cpu:inner", "pids:inner/most"]).unwrap(), ["unified/box", "cpu/box/inner", "pids/box/inner/most"]);
    for (bad, word) in [
        ("..", "below"),
        ("a/../../b", "below"),
        ("memory:inner", "`memory`"),
        (":inner", "``"),
        ("none", "make it first"),
    ] {
        let told = of(&[bad]).unwrap_err();
        assert!(told.contains("--cgroup") && told.contains(word), "{told}");
    }
}

#[test]
fn paths_follow_the_rules_of_runc() {
    assert_eq!(paths(Some("/a//b/./c")), ["/c/unified/a/b/c", "/c/memory/a/b/c", "/c/cpu/a/b/c"]);
    assert_eq!(paths(Some("a/b")), ["/c/unified/user.slice/a/b", "/c/memory/api/1/a/b", "/c/cpu/x/a/b"]);
    assert_eq!(paths(None), ["/c/unified/user.slice/box", "/c/memory/api/1/box", "/c/cpu/x/box"]);
    assert_eq!(paths(Some("")), paths(None));
}

#[test]
fn bad_paths_are_refused() {
    assert!(refusal("/a/../b").contains("may not contain `..`"));
    assert!(refusal("..").contains("may not contain `..`"));
    assert!(refusal("/").contains("names the root"));
    assert!(refusal("./").contains("names the root"));
    assert!(refusal("system.slice:skiff:a").contains("systemd driver"));
    assert!(refusal("/a\nb").contains("newline"));
}

#[test]
fn an_own_cgroup_outside_of_the_mount_is_refused() {
    let own = OwnCgroups::parse("0::/../other\n");
    let error = locate(&host(), None, "box", &own).unwrap_err().to_string();
    assert!(error.contains("not visible below `/c/unified`"), "{error}");
}

#[test]
fn without_hierarchies_only_disabled_is_left() {
    let none = Host::default();
    assert!(matches!(locate(&none, None, "box", &OwnCgroups::default()), Err(Error::NoHierarchy)));
    assert_eq!(locate(&Host::disabled(), None, "box", &OwnCgroups::default()).unwrap(), Location::default());
}

#[test]
fn a_recorded_place_at_or_above_the_mount_is_foreign() {
    let check = |path: &str| Dir { kind: Kind::V2, mount: "/c".into(), path: path.into() }.check().is_ok();
    assert!(check("/c/a"));
    assert!(!check("/c") && !check("/") && !check("/c/../etc") && !check("/c/a/../.."));
}
