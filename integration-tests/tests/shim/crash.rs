//! A shim that is killed at any moment, and `delete` after it: whatever was half made or half removed is gone then.

use std::time::Duration;

use containerd_shim_protos::api::{self, Mount};
use skiff_integration_tests::bundle::Bundle;

use crate::harness::{Shim, Task, eventually, over_each, text};
use crate::raw::{call, connect};

use tokio::io::AsyncWriteExt;

/// Kills the shim and clears up after it, as containerd does.
async fn kill_and_delete(shim: &Shim, bundle: &Bundle) {
    shim.kill(bundle).await;
    shim.verb(bundle, &bundle.id, "delete").run().exits(0);
    shim.assert_gone();
}

/// Says these calls without waiting for an answer.
async fn say(task: &Task, calls: &[Vec<u8>]) -> tokio::net::UnixStream {
    let mut stream = connect(&task.address).await;
    for call in calls {
        stream.write_all(call).await.unwrap();
    }
    stream
}

#[test]
fn killed_at_any_moment_of_a_create() {
    over_each(|shim| async move {
        for milliseconds in [0, 1, 2, 4, 7, 11, 16, 23, 32, 45, 64, 90] {
            let bundle = Bundle::sleeper();
            let task = shim.client(&bundle, &bundle.id).await;
            let _kept_open = say(&task, &[call("Create", &shim.request(&bundle, &bundle.id))]).await;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            println!("after {milliseconds} ms");
            kill_and_delete(&shim, &bundle).await;
        }
    });
}

/// The runtime is still at work when its shim dies: nothing may come of it afterwards.
#[test]
fn killed_while_a_hook_runs() {
    over_each(|shim| async move {
        let sign = shim.folder.path().join("hook-runs");
        let script = format!("touch {}; sleep 0.7", sign.display());
        let hook =
            serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
        let bundle = Bundle::sleeper().edit(|config| config["hooks"] = serde_json::json!({"createRuntime": hook}));
        let task = shim.client(&bundle, &bundle.id).await;
        let _kept_open = say(&task, &[call("Create", &shim.request(&bundle, &bundle.id))]).await;
        eventually("the hook runs", || async { sign.exists().then_some(()) }).await;
        kill_and_delete(&shim, &bundle).await;
        // When the hook would have ended.
        tokio::time::sleep(Duration::from_millis(900)).await;
        shim.assert_gone();
    });
}

#[test]
fn killed_at_any_moment_of_start_and_deletion() {
    over_each(|shim| async move {
        for (number, milliseconds) in [0, 1, 3, 6, 10, 15, 25, 40].into_iter().enumerate() {
            let bundle = Bundle::script("sleep 1000 & sleep 1000 & wait");
            let task = shim.created(&bundle).await;
            let id = || bundle.id.clone();
            let start = call("Start", &api::StartRequest { id: id(), ..Default::default() });
            let delete = call("Delete", &api::DeleteRequest { id: id(), ..Default::default() });
            let _kept_open = say(&task, &[if number % 2 == 0 { start } else { delete }]).await;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            println!("after {milliseconds} ms");
            kill_and_delete(&shim, &bundle).await;
        }
    });
}

/// A root that is mounted by the shim: gone after Delete, after a Create that failed, and after a shim that was killed.
#[test]
fn a_mounted_root_is_taken_off_however_it_ends() {
    over_each(|shim| async move {
        let mount = |source: &str| {
            let mut mount = Mount::new();
            (mount.type_, mount.source) = ("bind".into(), source.to_owned());
            mount.options = vec!["rbind".into(), "ro".into()];
            mount
        };
        let layer = Bundle::new();
        let with_root = || {
            let bundle = Bundle::script("test -e /etc/passwd && exit 3");
            // What the bundle has itself must not be seen.
            std::fs::remove_file(bundle.rootfs().join("bin/busybox")).unwrap();
            bundle
        };
        let bundle = with_root();
        let root = text(&layer.rootfs());
        let task = shim.created_with(&bundle, |request| request.rootfs = vec![mount(&root)]).await;
        task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 3);
        task.end().await;
        shim.assert_gone();
        // The second of two cannot be mounted, so the first is taken off again.
        let bundle = with_root();
        let task = shim.client(&bundle, &bundle.id).await;
        let mut request = shim.request(&bundle, &bundle.id);
        request.rootfs = vec![mount(&root), mount("/no/such/folder")];
        let refused = task.client.create(crate::harness::limit(), &request).await;
        let (_, words) = crate::harness::refusal(refused);
        assert!(words.contains("/no/such/folder"), "{words}");
        task.shutdown().await;
        shim.assert_gone();
        let bundle = with_root();
        let task = shim.created_with(&bundle, |request| request.rootfs = vec![mount(&root)]).await;
        drop(task);
        kill_and_delete(&shim, &bundle).await;
    });
}
