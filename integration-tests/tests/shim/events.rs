//! What is told without being asked, and in which order.

use containerd_shim_protos::types::task::Status;
use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::{cgroups, skip};
use ttrpc::Code;

use crate::harness::{Shim, code, over_each};

/// What was told of one container, in order.
fn of(told: &[String], id: &str) -> Vec<String> {
    told.iter().filter(|told| told.contains(id)).map(|told| told.replace(id, "ID")).collect()
}

#[test]
fn a_whole_life_is_told_in_order() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        task.start("").await.unwrap();
        task.exec_started("e", "exit 3").await;
        task.wait("e").await.unwrap();
        task.delete("e").await.unwrap();
        task.kill("", 15).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        task.end().await;
        let told = shim.listener.until(&format!("delete {} 0", bundle.id)).await;
        // Deleting an exec is forgetting it, which nobody is told.
        let wanted = [
            "create ID",
            "start ID",
            "exec-added ID/e",
            "exec-started ID/e",
            "exit ID/e 3",
            "exit ID/ID 0",
            "delete ID 0",
        ];
        assert_eq!(of(&told, &bundle.id), wanted);
        shim.assert_gone();
    });
}

#[test]
fn freezing_and_thawing_are_told() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        task.pause().await.unwrap();
        assert_eq!(task.status("").await, Status::PAUSED);
        assert_eq!(code(task.pause().await), Code::FAILED_PRECONDITION);
        assert_eq!(code(task.exec("e", "true").await), Code::FAILED_PRECONDITION);
        task.stats().await.unwrap();
        task.resume().await.unwrap();
        assert_eq!(task.status("").await, Status::RUNNING);
        assert_eq!(code(task.resume().await), Code::FAILED_PRECONDITION);
        task.end().await;
        let told = shim.listener.until(&format!("delete {} 137", bundle.id)).await;
        let wanted = ["create ID", "start ID", "paused ID", "resumed ID", "exit ID/ID 137", "delete ID 137"];
        assert_eq!(of(&told, &bundle.id), wanted);
        shim.assert_gone();
    });
}

/// A frozen process takes no signal until it is thawed; the shim must not wait for ever for it.
#[test]
fn a_frozen_one_can_be_killed() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        task.pause().await.unwrap();
        task.kill("", 9).await.unwrap();
        if cgroups::layout() == cgroups::Layout::Legacy {
            // The freezer of version 1 holds even SIGKILL back.
            let _thawed_or_gone = task.resume().await;
        }
        assert_eq!(task.wait("").await.unwrap(), 137);
        task.end().await;
        let told = shim.listener.until(&format!("delete {} 137", bundle.id)).await;
        assert_eq!(of(&told, &bundle.id).last().map(String::as_str), Some("delete ID 137"));
        shim.assert_gone();
    });
}

fn hungry(script: &str) -> Bundle {
    let limits = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    Bundle::script(script).edit(|config| config["linux"]["resources"] = limits)
}

/// `dd` has its buffer in memory as soon as it is read into.
const HUNGER: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1";

#[test]
fn a_death_for_want_of_memory_is_told_before_the_death() {
    if !cgroups::has("memory") {
        return skip::skip("no memory controller here");
    }
    over_each(|shim| async move {
        let bundle = hungry(&format!("exec {HUNGER}"));
        let task = shim.started(&bundle).await;
        assert_eq!(task.wait("").await.unwrap(), 137);
        task.end().await;
        let told = shim.listener.until(&format!("delete {} 137", bundle.id)).await;
        assert_eq!(of(&told, &bundle.id), ["create ID", "start ID", "oom ID", "exit ID/ID 137", "delete ID 137"]);
        shim.assert_gone();
    });
}

#[test]
fn one_that_survives_a_want_of_memory_is_told_of_too() {
    if !cgroups::has("memory") {
        return skip::skip("no memory controller here");
    }
    over_each(|shim| async move {
        let bundle = hungry(&format!("trap 'exit 0' TERM; {HUNGER}; while :; do sleep 1000 & wait; done"));
        let task = shim.started(&bundle).await;
        shim.listener.until(&format!("oom {}", bundle.id)).await;
        assert_eq!(task.status("").await, Status::RUNNING);
        task.kill("", 15).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        task.end().await;
        let told = shim.listener.until(&format!("delete {} 0", bundle.id)).await;
        assert_eq!(of(&told, &bundle.id), ["create ID", "start ID", "oom ID", "exit ID/ID 0", "delete ID 0"]);
        shim.assert_gone();
    });
}

async fn live(shim: &Shim, task: &crate::harness::Task) {
    task.start("").await.unwrap();
    assert_eq!(task.wait("").await.unwrap(), 5);
    assert_eq!(shim.listener.told(), Vec::<String>::new());
}

/// A caller that is away while everything happens hears of it when it is back: all of it, once, in order.
#[test]
fn a_caller_that_was_away_misses_nothing() {
    over_each(|mut shim| async move {
        shim.deaf().await;
        let bundle = Bundle::script("exit 5");
        let task = shim.created(&bundle).await;
        live(&shim, &task).await;
        task.delete("").await.unwrap();
        shim.listening().await;
        let told = shim.listener.until(&format!("delete {} 5", bundle.id)).await;
        assert_eq!(of(&told, &bundle.id), ["create ID", "start ID", "exit ID/ID 5", "delete ID 5"]);
        task.shutdown().await;
        shim.assert_gone();
    });
}

/// Nor does it go mad: with nobody to tell, calls are answered and the shim goes when it is dismissed.
#[test]
fn a_caller_that_never_comes_back_holds_nothing_up() {
    over_each(|mut shim| async move {
        shim.deaf().await;
        let bundle = Bundle::script("exit 5");
        let task = shim.created(&bundle).await;
        live(&shim, &task).await;
        task.end().await;
        crate::harness::eventually("the shim is gone", || async { shim.leftovers().is_empty().then_some(()) }).await;
    });
}

/// One event that the caller does not want is not sent again and again before the others.
#[test]
fn an_event_that_is_refused_is_passed_over() {
    over_each(|shim| async move {
        shim.listener.refuse("/tasks/start");
        let bundle = Bundle::script("exit 5");
        let task = shim.started(&bundle).await;
        assert_eq!(task.wait("").await.unwrap(), 5);
        task.end().await;
        let told = shim.listener.until(&format!("delete {} 5", bundle.id)).await;
        assert_eq!(of(&told, &bundle.id), ["create ID", "exit ID/ID 5", "delete ID 5"]);
        shim.assert_gone();
    });
}
