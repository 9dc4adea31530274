//! Figures and limits: what the kernel counts is told, and what is changed is enforced.

use containerd_shim_protos::cgroups::metrics::Metrics as V1;
use containerd_shim_protos::cgroups_v2::metrics::Metrics as V2;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups::{self, Layout};
use skiff_integration_tests::skip;
use ttrpc::Code;

use crate::harness::{Task, code, eventually, over_each};

const MEGABYTE: u64 = 1 << 20;

/// The figures that both versions have.
#[derive(Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) processes: u64,
    pub(crate) most_processes: u64,
    pub(crate) memory: u64,
    pub(crate) most_memory: u64,
    /// In nanoseconds.
    pub(crate) processor: u64,
}

fn figures(any: &Any) -> Figures {
    match any.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => {
            let metrics = V1::parse_from_bytes(&any.value).unwrap();
            let memory = metrics.memory.usage.clone().unwrap();
            Figures {
                processes: metrics.pids.current,
                most_processes: metrics.pids.limit,
                memory: memory.usage,
                most_memory: memory.limit,
                processor: metrics.cpu.usage.total,
            }
        }
        "io.containerd.cgroups.v2.Metrics" => {
            let metrics = V2::parse_from_bytes(&any.value).unwrap();
            Figures {
                processes: metrics.pids.current,
                most_processes: metrics.pids.limit,
                memory: metrics.memory.usage,
                most_memory: metrics.memory.usage_limit,
                processor: metrics.cpu.usage_usec * 1000,
            }
        }
        other => panic!("{other} is no type of figures"),
    }
}

fn limited(script: &str) -> Bundle {
    let limits = json!({"memory": {"limit": 64 * MEGABYTE, "swap": 64 * MEGABYTE}, "pids": {"limit": 50}});
    Bundle::script(script).edit(|config| config["linux"]["resources"] = limits)
}

pub(crate) async fn stats(task: &Task) -> Figures {
    figures(&task.stats().await.unwrap())
}

fn lacks_controllers() -> bool {
    let missing: Vec<_> = ["memory", "pids"].into_iter().filter(|name| !cgroups::has(name)).collect();
    if !missing.is_empty() {
        skip::skip(&format!("no {missing:?} here"));
    }
    !missing.is_empty()
}

#[test]
fn figures_are_the_kernels() {
    if lacks_controllers() {
        return;
    }
    over_each(|shim| async move {
        let bundle = limited("sleep 1000 & sleep 1000 & i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; wait");
        let task = shim.created(&bundle).await;
        let any = task.stats().await.unwrap();
        let wanted = match cgroups::layout() {
            Layout::Legacy => "io.containerd.cgroups.v1.Metrics",
            Layout::Unified => "io.containerd.cgroups.v2.Metrics",
        };
        assert_eq!(any.type_url, wanted);
        let before = figures(&any);
        assert_eq!((before.most_memory, before.most_processes), (64 * MEGABYTE, 50));
        task.start("").await.unwrap();
        eventually("three processes", || async { (stats(&task).await.processes == 3).then_some(()) }).await;
        eventually("some time is used", || async { (stats(&task).await.processor > before.processor).then_some(()) })
            .await;
        let pid = task.state("").await.unwrap().pid;
        let file = if cgroups::layout() == Layout::Unified { "memory.current" } else { "memory.usage_in_bytes" };
        let read: u64 = cgroups::read(pid, "memory", file).parse().unwrap();
        let told = stats(&task).await.memory;
        assert!(told > 0 && told.abs_diff(read) < 4 * MEGABYTE, "{told} and {read}");
        task.kill("", 9).await.unwrap();
        task.wait("").await.unwrap();
        // What has ended has figures until it is deleted, or none; it is no failure of the shim.
        let _either = task.stats().await;
        task.delete("").await.unwrap();
        assert_eq!(code(task.stats().await), Code::NOT_FOUND);
        task.shutdown().await;
        shim.assert_gone();
    });
}

#[test]
fn limits_are_changed_while_it_runs() {
    if lacks_controllers() {
        return;
    }
    over_each(|shim| async move {
        let bundle = limited("trap 'exit 0' TERM; while :; do sleep 1000 & wait; done");
        let task = shim.started(&bundle).await;
        let change = json!({"memory": {"limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE}, "pids": {"limit": 20}});
        task.update(&change.to_string()).await.unwrap();
        let after = stats(&task).await;
        assert_eq!((after.most_memory, after.most_processes), (32 * MEGABYTE, 20));
        let pid = task.state("").await.unwrap().pid;
        assert_eq!(cgroups::read(pid, "pids", "pids.max"), "20");
        // What cannot be is refused in the runtime's words, and nothing else happens to the container.
        let impossible = json!({"memory": {"limit": -5}, "pids": {"limit": 10}});
        assert!(task.update(&impossible.to_string()).await.is_err());
        assert_eq!(stats(&task).await.most_memory, 32 * MEGABYTE);
        task.kill("", 15).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 0);
        assert_eq!(code(task.update("{}").await), Code::FAILED_PRECONDITION);
        task.end().await;
        shim.assert_gone();
    });
}

/// Frozen means frozen: the kernel says so, and time goes on afterwards.
#[test]
fn a_frozen_container_uses_no_time() {
    over_each(|shim| async move {
        let bundle = Bundle::script("while :; do :; done");
        let task = shim.started(&bundle).await;
        let pid = task.state("").await.unwrap().pid;
        let ticks = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        eventually("it runs", || async { (ticks() > 2).then_some(()) }).await;
        task.pause().await.unwrap();
        let frozen = ticks();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(ticks() <= frozen + 1, "it is frozen when the answer comes");
        task.resume().await.unwrap();
        eventually("it goes on", || async { (ticks() > frozen + 2).then_some(()) }).await;
        task.end().await;
        shim.assert_gone();
    });
}
