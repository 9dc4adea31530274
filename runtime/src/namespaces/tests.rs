//! The routes of each combination, and each refusal, as data.

use super::*;

fn spec(namespaces: &str, extra: &str) -> Spec {
    let text = format!(
        r#"{{"ociVersion":"1.0.2","root":{{"path":"r"}},"process":{{"cwd":"/","user":{{"uid":0,"gid":0}}}},
           "linux":{{"namespaces":[{namespaces}]{extra}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn list(words: &[&str]) -> String {
    let item = |word: &&str| match word.split_once('=') {
        Some((kind, path)) => format!(r#"{{"type":"{kind}","path":"{path}"}}"#),
        None => format!(r#"{{"type":"{word}"}}"#),
    };
    words.iter().map(item).collect::<Vec<_>>().join(",")
}

const MAPS: &str = r#","uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
                      "gidMappings":[{"containerID":0,"hostID":1000,"size":1}]"#;

#[test]
fn the_usual_container_is_one_clone() {
    let plan = plan(&spec(&list(&["pid", "network", "ipc", "uts", "mount", "cgroup"]), "")).unwrap();
    let bits = [Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts, Kind::Mount].map(Kind::flag).iter().sum::<u64>();
    assert_eq!((plan.clone_flags, plan.unshare_cgroup, plan.hop), (bits, true, None));
}

#[test]
fn a_pod_member_is_one_clone_too() {
    let plan = plan(&spec(&list(&["pid", "network=/n", "ipc=/i", "uts=/u", "mount"]), "")).unwrap();
    assert_eq!(plan.hop, None);
    assert_eq!(plan.init_join, [0, 1, 2]);
    assert!(plan.has(Kind::Network) && !plan.makes(Kind::Network));
}

#[test]
fn a_new_user_namespace_alone_needs_no_hop() {
    let plan = plan(&spec(&list(&["user", "mount", "pid"]), MAPS)).unwrap();
    assert_eq!(plan.hop, None);
    assert_ne!(plan.clone_flags & Kind::User.flag(), 0);
}

#[test]
fn what_only_children_enter_goes_through_a_hop() {
    let joined_pid = plan(&spec(&list(&["pid=/p", "mount"]), "")).unwrap();
    assert_eq!(joined_pid.hop, Some(Hop { join: vec![0], ..Hop::default() }));

    let time = plan(&spec(&list(&["time", "mount", "pid"]), "")).unwrap();
    assert_eq!(time.hop, Some(Hop { new_time: true, new_pid: true, ..Hop::default() }));
    assert_eq!(time.clone_flags, Kind::Mount.flag());

    let user = plan(&spec(&list(&["user=/u", "network=/n", "mount"]), "")).unwrap();
    assert_eq!(user.join.last().unwrap().0, Kind::User);
    assert_eq!(user.hop, Some(Hop { join: vec![0, 1], ..Hop::default() }));

    let new_user = plan(&spec(&list(&["user", "network=/n", "mount", "pid"]), MAPS)).unwrap();
    assert_eq!(new_user.hop, Some(Hop { join: vec![0], new_user: true, new_pid: true, ..Hop::default() }));
}

#[test]
fn a_joined_mount_namespace_is_left_to_init() {
    let plan = plan(&spec(&list(&["mount=/m", "pid=/p"]), "")).unwrap();
    assert_eq!((plan.init_join, plan.hop.unwrap().join), (vec![0], vec![1]));
}

#[test]
fn refusals_name_the_member() {
    let check = |namespaces: &[&str], extra: &str, words: &str| {
        let error = plan(&spec(&list(namespaces), extra)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(&["mount", "pid", "pid"], "", "`pid` namespace twice");
    check(&["pid"], "", "no `mount` namespace");
    check(&["mount", "pid=proc/1"], "", "`proc/1`");
    check(&["mount", "user"], "", "linux.uidMappings");
    check(&["mount"], MAPS, "linux.uidMappings");
    check(&["mount"], r#","timeOffsets":{"monotonic":{"secs":1}}"#, "linux.timeOffsets");
    check(&["mount", "time"], r#","timeOffsets":{"realtime":{"secs":1}}"#, "realtime");
    let wide = MAPS.replace("\"size\":1", "\"size\":4294967295");
    check(&["mount", "user"], &wide, "linux.uidMappings[0]");
    let error = plan(&spec(&list(&["mount"]), "").set_hostname(Some("x".into())).clone()).unwrap_err().to_string();
    assert!(error.contains("`hostname`") && error.contains("`uts`"), "{error}");
}
