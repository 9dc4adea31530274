//! The option `SystemdCgroup`, which engines set on hosts with systemd: the container is a scope, and the shim's figures,
//! limits and events are that scope's.

use containerd_shim_protos::shim::oci::Options;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::leftovers::until_none;
use skiff_lanes::runs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::figures::stats;
use crate::harness::{Shim, Task, over_each};

const MEGABYTE: u64 = 1 << 20;

fn show(unit: &str, property: &str) -> String {
    Invocation::new("systemctl", &["show", "--value", "--property", property, unit]).run().ok().trim().to_owned()
}

/// A bundle with 64 MiB in a scope, and what that is called.
fn scoped(script: &str) -> (Bundle, String) {
    let bundle = Bundle::script(script);
    let (path, unit) = (format!("system.slice:skt:{}", bundle.id), format!("skt-{}.scope", bundle.id));
    let limits = json!({"memory": {"limit": 64 * MEGABYTE, "swap": 64 * MEGABYTE}, "pids": {"limit": 50}});
    let bundle = bundle.edit(|config| {
        config["linux"]["resources"] = limits;
        config["linux"]["cgroupsPath"] = json!(path);
    });
    (bundle, unit)
}

async fn started(shim: &Shim, bundle: &Bundle) -> Task {
    let task = shim
        .created_with(bundle, |request| {
            let mut options = Options::parse_from_bytes(&request.options.value).unwrap();
            options.systemd_cgroup = true;
            let value = options.write_to_bytes().unwrap();
            request.set_options(Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() });
        })
        .await;
    task.start("").await.unwrap();
    task
}

#[runs(guest)]
fn figures_and_limits_are_those_of_the_scope() {
    over_each(|shim| async move {
        let (bundle, unit) = scoped("sleep 1000 & wait");
        let task = started(&shim, &bundle).await;
        assert_eq!(show(&unit, "MemoryMax"), (64 * MEGABYTE).to_string());
        let figures = stats(&task).await;
        assert_eq!((figures.most_memory, figures.most_processes), (64 * MEGABYTE, 50));
        assert!(figures.processes >= 1 && figures.memory > 0, "{figures:?}");
        task.update(r#"{"memory":{"limit":33554432,"swap":33554432}}"#).await.unwrap();
        assert_eq!((show(&unit, "MemoryMax"), stats(&task).await.most_memory), ("33554432".into(), 33_554_432));
        let pid = task.exec_started("x", "sleep 1000").await;
        let place = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(place.ends_with(&format!("{unit}\n")), "{place}");
        task.end().await;
        shim.assert_gone();
        let left = until_none(|| vec![show(&unit, "LoadState")].into_iter().filter(|it| it != "not-found").collect());
        assert!(left.is_empty(), "{left:?}");
    });
}

/// systemd removes the cgroup as soon as it is empty, and the counter with it: on a busy machine it may be faster than the shim
/// (SPECIFICATION.md), but not five times in a row.
#[runs(guest)]
fn a_death_for_want_of_memory_is_told_of_a_scope_too() {
    let is_told = Arc::new(AtomicBool::new(false));
    for _ in 0..5 {
        over_each(|shim| {
            let is_told = is_told.clone();
            async move {
                let (bundle, _unit) = scoped("exec dd if=/dev/zero of=/dev/null bs=128M count=1");
                let task = started(&shim, &bundle).await;
                assert_eq!(task.wait("").await.unwrap(), 137);
                task.end().await;
                let told = shim.listener.until(&format!("delete {} 137", bundle.id)).await;
                is_told.fetch_or(told.iter().any(|line| line.starts_with("oom ")), Ordering::Relaxed);
                shim.assert_gone();
            }
        });
        if is_told.load(Ordering::Relaxed) {
            return;
        }
    }
    panic!("it was never told");
}
