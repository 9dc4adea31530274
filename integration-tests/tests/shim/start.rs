//! The command line: `start` in each of its dialects, groups, wrong words, bad bundles, and `delete` after everything.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use containerd_shim_protos::types::task::Status;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use rustix::process::Signal;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use ttrpc::Code;

use crate::harness::{NAMESPACE, Shim, Task, alive, binary, code, connect, grouped, over_each, signal, text};

/// Standard input with these bytes and an end.
fn input(bytes: &[u8]) -> std::fs::File {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn options() -> Vec<u8> {
    let value = Options { binary_name: "runc".into(), ..Default::default() }.write_to_bytes().unwrap();
    Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() }.write_to_bytes().unwrap()
}

/// Connects to what was answered, and dismisses it.
async fn dismiss(shim: &Shim, bundle: &Bundle, address: &str) {
    let path = Path::new(address.strip_prefix("unix://").unwrap());
    let metadata = std::fs::symlink_metadata(path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "nobody else's");
    assert_eq!(std::fs::read_to_string(bundle.path().join("address")).unwrap(), address);
    let task = Task { client: connect(address).await, id: bundle.id.clone(), address: address.into() };
    let connected = task.connect().await.unwrap();
    assert_eq!((connected.shim_pid, connected.task_pid), (shim.pid(bundle), 0));
    end_announced(shim, bundle).await;
}

/// A shim that waits for a container that was announced goes at once when it is asked to by a signal.
async fn end_announced(shim: &Shim, bundle: &Bundle) {
    signal(shim.pid(bundle), Signal::TERM);
    crate::harness::eventually("the shim is gone", || async { shim.leftovers().is_empty().then_some(()) }).await;
}

#[test]
fn a_plain_address_is_the_answer_to_old_callers() {
    over_each(|shim| async move {
        for (variable, bytes) in
            [(None, Vec::new()), (Some("2"), Vec::new()), (Some("2"), options()), (None, options())]
        {
            let bundle = Bundle::sleeper();
            shim.begin(&bundle, &bundle.id);
            let mut verb = shim.verb(&bundle, &bundle.id, "start").stdin(input(&bytes));
            if let Some(version) = variable {
                verb = verb.env("MAX_SHIM_VERSION", version);
            }
            let outcome = verb.run();
            assert_eq!(outcome.stderr, "");
            dismiss(&shim, &bundle, &outcome.ok()).await;
        }
    });
}

#[test]
fn json_is_the_answer_to_who_takes_version_three() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        shim.begin(&bundle, &bundle.id);
        let outcome = shim.verb(&bundle, &bundle.id, "start").env("MAX_SHIM_VERSION", "3").run();
        assert_eq!(outcome.stderr, "");
        let answer: serde_json::Value = serde_json::from_str(&outcome.ok()).unwrap();
        assert_eq!((&answer["version"], &answer["protocol"]), (&3.into(), &"ttrpc".into()));
        dismiss(&shim, &bundle, answer["address"].as_str().unwrap()).await;
    });
}

#[test]
fn a_message_is_the_answer_to_a_message() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        shim.begin(&bundle, &bundle.id);
        let mut params = BootstrapParams::new();
        (params.instance_id, params.namespace) = (bundle.id.clone(), NAMESPACE.into());
        let folder = shim.sockets().join("told");
        params.socket_dir = Some(text(&folder));
        params.containerd_ttrpc_address = text(&shim.folder.path().join("events.sock"));
        let verb = shim.verb(&bundle, &bundle.id, "start").stdin(input(&params.write_to_bytes().unwrap()));
        let answer = BootstrapResult::parse_from_bytes(&verb.run().exits(0).bytes).unwrap();
        assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
        assert!(answer.address.starts_with(&format!("unix://{}/", folder.display())), "{}", answer.address);
        let path = answer.address.strip_prefix("unix://").unwrap().to_owned();
        let task = Task { client: connect(&answer.address).await, id: bundle.id.clone(), address: answer.address };
        task.connect().await.unwrap();
        signal(shim.pid(&bundle), Signal::TERM);
        crate::harness::eventually("the socket is gone", || async { (!Path::new(&path).exists()).then_some(()) }).await;
    });
}

#[test]
fn a_group_shares_one_shim_until_the_last_is_gone() {
    over_each(|shim| async move {
        let bundles = ["one", "one", "two"].map(|group| grouped(Bundle::sleeper(), group));
        let mut tasks = Vec::new();
        for bundle in &bundles {
            tasks.push(shim.started(bundle).await);
        }
        assert_eq!(tasks[0].address, tasks[1].address);
        assert_ne!(tasks[0].address, tasks[2].address);
        let mut pids = Vec::new();
        for task in &tasks {
            pids.push(task.connect().await.unwrap().shim_pid);
        }
        assert_eq!(pids[0], pids[1]);
        assert_ne!(pids[0], pids[2]);
        tasks[0].end().await;
        assert_eq!(tasks[1].status("").await, Status::RUNNING, "that Shutdown was for another");
        assert_eq!(code(tasks[0].state("").await), Code::NOT_FOUND);
        tasks[1].end().await;
        tasks[2].end().await;
        shim.assert_gone();
    });
}

#[test]
fn a_pod_is_a_group() {
    over_each(|shim| async move {
        let pod = |config: &mut serde_json::Value| {
            config["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
        };
        let (first, second) = (Bundle::sleeper().edit(pod), Bundle::sleeper().edit(pod));
        let (one, two) = (shim.started(&first).await, shim.started(&second).await);
        assert_eq!(one.address, two.address);
        one.end().await;
        two.end().await;
        shim.assert_gone();
    });
}

#[test]
fn starts_at_the_same_time_find_one_shim() {
    over_each(|shim| async move {
        let bundles: Vec<Bundle> = (0..6).map(|_| grouped(Bundle::sleeper(), "crowd")).collect();
        let running: Vec<_> = bundles
            .iter()
            .map(|bundle| {
                shim.begin(bundle, &bundle.id);
                shim.verb(bundle, &bundle.id, "start").spawn()
            })
            .collect();
        let addresses: Vec<String> = running.into_iter().map(|running| running.wait().ok()).collect();
        assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]), "{addresses:?}");
        let sockets = std::fs::read_dir(shim.sockets()).unwrap().count();
        assert_eq!(sockets, 1, "and no file beside it");
        let task =
            Task { client: connect(&addresses[0]).await, id: bundles[0].id.clone(), address: addresses[0].clone() };
        signal(task.connect().await.unwrap().shim_pid, Signal::TERM);
        shim.assert_gone();
    });
}

#[test]
fn a_signal_ends_no_shim_that_holds_a_container() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        for number in [Signal::TERM, Signal::INT, Signal::PIPE, Signal::HUP] {
            signal(shim.pid(&bundle), number);
        }
        assert_eq!(task.status("").await, Status::RUNNING);
        assert!(task.connect().await.unwrap().shim_pid > 0);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn words_that_are_not_understood_leave_nothing() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        shim.begin(&bundle, &bundle.id);
        let rows: [(&[&str], &str); 9] = [
            (&[], "verb"),
            (&["-namespace", "skt", "-id", "a"], "verb"),
            (&["-namespace", "skt", "-id", "a", "stop"], "`stop`"),
            (&["-namespace", "skt", "-id", "a", "start", "start"], "`start`"),
            (&["-namespace", "skt", "-id", "a", "-colour", "red", "start"], "`-colour`"),
            (&["-namespace", "skt", "start", "-id"], "`-id`"),
            (&["-namespace", "skt", "-id", "../a", "start"], "`-id`"),
            (&["-namespace", "", "-id", "a", "start"], "`-namespace`"),
            // The process that stays is begun by `start` alone.
            (&["-namespace", "skt", "-id", "a", "serve"], "`start`"),
        ];
        for (words, named) in rows {
            let verb = Invocation::new(binary(), words)
                .cwd(bundle.path())
                .env("SKIFF_SHIM_SOCKET_DIR", &text(&shim.sockets()))
                .env("SKIFF_TEST_ID", &bundle.id);
            let outcome = verb.run().exits(1);
            assert_eq!(outcome.stdout, "", "{words:?}");
            assert!(outcome.stderr.contains(named), "{words:?}: {outcome}");
        }
        shim.assert_gone();
    });
}

#[test]
fn a_bundle_that_is_none_is_refused_and_leaves_nothing() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let config = bundle.path().join("config.json");
        shim.begin(&bundle, &bundle.id);
        std::fs::remove_file(&config).unwrap();
        shim.verb(&bundle, &bundle.id, "start").run().fails_with(&["config.json"]);
        for text in ["", "{", "[]", r#"{"annotations": 3}"#] {
            std::fs::write(&config, text).unwrap();
            shim.verb(&bundle, &bundle.id, "start").run().fails_with(&["config.json"]);
        }
        std::fs::remove_file(&config).unwrap();
        std::fs::create_dir(&config).unwrap();
        shim.verb(&bundle, &bundle.id, "start").run().fails_with(&["config.json"]);
        shim.assert_gone();
    });
}

/// CVE-2020-15257 and its kin: who may write to the folder may put a socket of its own there.
#[test]
fn a_folder_that_others_write_to_is_refused() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        std::fs::create_dir(shim.sockets()).unwrap();
        std::fs::set_permissions(shim.sockets(), std::fs::Permissions::from_mode(0o777)).unwrap();
        shim.start(&bundle, &bundle.id).fails_with(&[&text(&shim.sockets())]);
        shim.assert_gone();
    });
}

#[test]
fn a_socket_whose_shim_was_killed_is_replaced() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let first = shim.client(&bundle, &bundle.id).await;
        let pid = first.connect().await.unwrap().shim_pid;
        // Asked again without a Create between, the same one answers.
        assert_eq!(shim.start(&bundle, &bundle.id).ok(), first.address);
        assert_eq!(shim.pid(&bundle), pid);
        shim.kill(&bundle).await;
        let second = shim.started(&bundle).await;
        assert_eq!(second.address, first.address);
        assert_ne!(second.connect().await.unwrap().shim_pid, pid);
        second.end().await;
        shim.assert_gone();
    });
}

fn delete(shim: &Shim, bundle: &Bundle) -> DeleteResponse {
    let outcome = shim.verb(bundle, &bundle.id, "delete").run().exits(0);
    DeleteResponse::parse_from_bytes(&outcome.bytes).unwrap()
}

#[test]
fn delete_removes_what_a_killed_shim_has_left() {
    over_each(|shim| async move {
        let bundle = Bundle::script("sleep 1000 & sleep 1000 & wait");
        let task = shim.started(&bundle).await;
        let pid = task.state("").await.unwrap().pid;
        shim.kill(&bundle).await;
        assert!(alive(pid), "a container outlives its shim");
        let answer = delete(&shim, &bundle);
        assert_eq!((answer.pid, answer.exit_status), (pid, 137));
        assert!(answer.exited_at.seconds > 1_600_000_000);
        shim.assert_gone();
        // containerd may ask twice.
        assert_eq!(delete(&shim, &bundle).exit_status, 137);
        shim.assert_gone();
    });
}

#[test]
fn delete_removes_one_that_was_never_started() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        shim.created(&bundle).await;
        shim.kill(&bundle).await;
        assert_eq!(delete(&shim, &bundle).exit_status, 137);
        shim.assert_gone();
    });
}

#[test]
fn delete_knows_an_exit_that_was_told_before() {
    over_each(|shim| async move {
        let bundle = Bundle::script("exit 5");
        let task = shim.started(&bundle).await;
        task.wait("").await.unwrap();
        shim.kill(&bundle).await;
        assert_eq!(delete(&shim, &bundle).exit_status, 5);
        shim.assert_gone();
    });
}

#[test]
fn delete_takes_a_container_from_a_shim_that_lives() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        shim.started(&bundle).await;
        assert_eq!(delete(&shim, &bundle).exit_status, 137);
        shim.assert_gone();
    });
}

/// containerd asks it after a Create that failed, or that it gave up on.
#[test]
fn delete_of_what_never_was_is_fine() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.client(&bundle, &bundle.id).await;
        assert_eq!(delete(&shim, &bundle).exit_status, 137);
        drop(task);
        end_announced(&shim, &bundle).await;
        let other = Bundle::sleeper();
        shim.begin(&other, &other.id);
        assert_eq!(delete(&shim, &other).exit_status, 137);
        shim.assert_gone();
    });
}

/// The rest of a group goes on when `delete` takes one of it away.
#[test]
fn delete_of_one_of_a_group_leaves_the_others() {
    over_each(|shim| async move {
        let (first, second) = (grouped(Bundle::sleeper(), "pair"), grouped(Bundle::sleeper(), "pair"));
        let (one, two) = (shim.started(&first).await, shim.started(&second).await);
        assert_eq!(delete(&shim, &first).exit_status, 137);
        assert_eq!(code(one.state("").await), Code::NOT_FOUND);
        assert_eq!(two.status("").await, Status::RUNNING);
        two.end().await;
        shim.assert_gone();
    });
}

#[test]
fn it_says_what_it_is() {
    over_each(|shim| async move {
        let version = Invocation::new(binary(), &["-v"]).run().ok();
        assert!(
            version.contains("containerd-shim-skiff-v1") && version.contains(env!("CARGO_PKG_VERSION")),
            "{version}"
        );
        let binary_name = text(&shim.runtime.binary);
        let value = Options { binary_name, ..Default::default() }.write_to_bytes().unwrap();
        let any = Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() };
        let outcome = Invocation::new(binary(), &["-info"]).stdin(input(&any.write_to_bytes().unwrap())).run();
        assert_eq!(outcome.stderr, "");
        let info = RuntimeInfo::parse_from_bytes(&outcome.exits(0).bytes).unwrap();
        assert_eq!(info.name, "io.containerd.skiff.v1");
        let features: serde_json::Value = serde_json::from_slice(&info.features.unwrap().value).unwrap();
        assert!(features["ociVersionMax"].is_string(), "{features}");
    });
}
