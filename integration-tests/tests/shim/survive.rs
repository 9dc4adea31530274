//! Clients that go away in the middle of anything, and those that come after them.

use std::path::Path;

use containerd_shim_protos::api;
use containerd_shim_protos::types::task::Status;
use skiff_integration_tests::bundle::Bundle;
use ttrpc::Code;
use ttrpc::context::with_timeout;

use crate::harness::{Shim, Task, code, connect, eventually, over_each, reader, text};
use crate::raw::{call, connect as plain, say_and_go};

/// Another client of the same shim.
async fn again(task: &Task) -> Task {
    Task { client: connect(&task.address).await, id: task.id.clone(), address: task.address.clone() }
}

async fn reaches(task: &Task, exec_id: &str, wanted: Status) {
    let asked = || async {
        let state = task.state(exec_id).await.ok()?;
        (state.status.enum_value() == Ok(wanted)).then_some(())
    };
    eventually(&format!("{exec_id:?} is {wanted:?}"), asked).await;
}

/// What was asked for is done, although who asked was killed before the answer.
#[test]
fn every_call_is_finished_without_its_client() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.client(&bundle, &bundle.id).await;
        let id = || task.id.clone();
        say_and_go(&task.address, &call("Create", &shim.request(&bundle, &bundle.id))).await;
        reaches(&task, "", Status::CREATED).await;
        let start = |exec_id: &str| api::StartRequest { id: id(), exec_id: exec_id.into(), ..Default::default() };
        say_and_go(&task.address, &call("Start", &start(""))).await;
        reaches(&task, "", Status::RUNNING).await;
        say_and_go(&task.address, &call("Exec", &task.exec_request("e", "exit 3"))).await;
        reaches(&task, "e", Status::CREATED).await;
        say_and_go(&task.address, &call("Start", &start("e"))).await;
        reaches(&task, "e", Status::STOPPED).await;
        assert_eq!(task.wait("e").await.unwrap(), 3);
        say_and_go(&task.address, &call("Pause", &api::PauseRequest { id: id(), ..Default::default() })).await;
        reaches(&task, "", Status::PAUSED).await;
        say_and_go(&task.address, &call("Resume", &api::ResumeRequest { id: id(), ..Default::default() })).await;
        reaches(&task, "", Status::RUNNING).await;
        let kill = api::KillRequest { id: id(), signal: 9, ..Default::default() };
        say_and_go(&task.address, &call("Kill", &kill)).await;
        reaches(&task, "", Status::STOPPED).await;
        say_and_go(&task.address, &call("Delete", &api::DeleteRequest { id: id(), ..Default::default() })).await;
        eventually("it is deleted", || async { task.state("").await.is_err().then_some(()) }).await;
        say_and_go(&task.address, &call("Shutdown", &api::ShutdownRequest { id: id(), ..Default::default() })).await;
        let told = shim.listener.until(&format!("delete {} 137", bundle.id)).await;
        let kinds: Vec<_> = told.iter().map(|told| told.split(' ').next().unwrap()).collect();
        let wanted = ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"];
        assert_eq!(kinds, wanted);
        shim.assert_gone();
    });
}

/// The same calls, cut off within their first, middle and last byte: they are not made, and hurt nobody.
#[test]
fn half_a_call_is_no_call() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let pid = shim.pid(&bundle);
        let before = settled_sockets(&shim, &bundle, pid).await;
        let kill = call("Kill", &api::KillRequest { id: task.id.clone(), signal: 9, ..Default::default() });
        for length in [1, 5, 9, 10, 11, kill.len() / 2, kill.len() - 1] {
            say_and_go(&task.address, &kill[..length]).await;
        }
        // All of them have been read when their connections are gone.
        let connections = || async { (sockets(pid) <= before).then_some(()) };
        eventually("the connections are closed", connections).await;
        assert_eq!(task.status("").await, Status::RUNNING);
        task.end().await;
        shim.assert_gone();
    });
}

fn descriptors(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).map(|path| text(&path)).collect()
}

fn sockets(pid: u32) -> usize {
    descriptors(pid).iter().filter(|name| name.starts_with("socket:")).count()
}

/// The sockets of a shim once the one for events is among them.
async fn settled_sockets(shim: &Shim, bundle: &Bundle, pid: u32) -> usize {
    shim.listener.until(&format!("start {}", bundle.id)).await;
    sockets(pid)
}

/// A second client finds everything as it is, while the first is still there and after it.
#[test]
fn a_second_client_connects() {
    over_each(|shim| async move {
        let bundle = Bundle::script("read line; echo \"heard $line\"; exit 6");
        let (input, out) = (shim.fifo("in"), shim.fifo("out"));
        let first =
            shim.created_with(&bundle, |request| (request.stdin, request.stdout) = (text(&input), text(&out))).await;
        let pid = first.start("").await.unwrap();
        let second = again(&first).await;
        let connected = second.connect().await.unwrap();
        assert_eq!((connected.task_pid, connected.shim_pid), (pid, shim.pid(&bundle)));
        assert!(!connected.version.is_empty());
        // Both wait, and both are told.
        let waiting = {
            let second = again(&first).await;
            tokio::spawn(async move { second.wait("").await })
        };
        drop(first);
        let said = reader(&out);
        std::fs::write(&input, "you\n").unwrap();
        assert_eq!(second.wait("").await.unwrap(), 6);
        assert_eq!(waiting.await.unwrap().unwrap(), 6);
        assert_eq!(said.await, "heard you\n");
        // One who comes after the end is told it too.
        let third = again(&second).await;
        assert_eq!(third.wait("").await.unwrap(), 6);
        assert_eq!(third.end().await, 6);
        shim.assert_gone();
    });
}

#[test]
fn only_an_empty_shim_can_be_shut_down() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        task.shutdown().await;
        assert_eq!(task.status("").await, Status::CREATED);
        task.start("").await.unwrap();
        task.shutdown().await;
        assert_eq!(again(&task).await.status("").await, Status::RUNNING);
        task.kill("", 9).await.unwrap();
        task.wait("").await.unwrap();
        task.shutdown().await;
        assert_eq!(again(&task).await.status("").await, Status::STOPPED);
        task.delete("").await.unwrap();
        // Those were too early and mean nothing now.
        assert_eq!(code(again(&task).await.state("").await), Code::NOT_FOUND);
        task.shutdown().await;
        shim.assert_gone();
    });
}

/// Two clients that delete the same container at the same time: one does, and the other hears that it is done.
#[test]
fn a_deletion_happens_once() {
    over_each(|shim| async move {
        let bundle = Bundle::script("exit 1");
        let task = shim.started(&bundle).await;
        task.wait("").await.unwrap();
        let calls: Vec<_> = [again(&task).await, again(&task).await, again(&task).await]
            .into_iter()
            .map(|task| tokio::spawn(async move { task.delete("").await }))
            .collect();
        let mut done = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(status) => {
                    assert_eq!(status, 1);
                    done += 1;
                }
                other => assert!(matches!(code(other), Code::NOT_FOUND | Code::FAILED_PRECONDITION)),
            }
        }
        assert_eq!(done, 1);
        task.shutdown().await;
        shim.assert_gone();
    });
}

/// A client's patience is its own: a call that it gave up on goes on, and a Wait can be asked again.
#[test]
fn a_call_that_ran_out_of_time_can_be_made_again() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let request = api::WaitRequest { id: task.id.clone(), ..Default::default() };
        let short = with_timeout(50_000_000);
        assert!(task.client.wait(short, &request).await.is_err());
        assert_eq!(task.status("").await, Status::RUNNING);
        task.kill("", 9).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 137);
        task.end().await;
        shim.assert_gone();
    });
}

/// Two hundred clients that come and go, some of them waiting, leave no descriptor and no memory behind.
#[test]
fn clients_that_come_and_go_leave_nothing_in_the_shim() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let pid = shim.pid(&bundle);
        let connected = settled_sockets(&shim, &bundle, pid).await;
        let wait = call("Wait", &api::WaitRequest { id: task.id.clone(), ..Default::default() });
        let round = || async {
            for _ in 0..100 {
                say_and_go(&task.address, &wait).await;
                drop(plain(&task.address).await);
            }
            eventually("the connections are closed", || async { (sockets(pid) <= connected).then_some(()) }).await;
        };
        round().await;
        let (before, memory) = (descriptors(pid).len(), resident(pid));
        round().await;
        assert!(descriptors(pid).len() <= before, "{:#?}", descriptors(pid));
        assert!(resident(pid) < memory + 2048, "{memory} kB became {} kB", resident(pid));
        task.end().await;
        shim.assert_gone();
    });
}

/// Fifty lives of containers in one shim: what each held is given back.
#[test]
fn containers_that_come_and_go_leave_nothing_in_the_shim() {
    over_each(|shim| async move {
        let keeper = crate::harness::grouped(Bundle::sleeper(), "keeper");
        let kept = shim.started(&keeper).await;
        let pid = kept.connect().await.unwrap().shim_pid;
        let connected = settled_sockets(&shim, &keeper, pid).await;
        let mut counts = Vec::new();
        for number in 0..20 {
            let bundle = crate::harness::grouped(Bundle::script("echo said; exit 1"), "keeper");
            let out = shim.fifo(&format!("out-{number}"));
            let task = shim.client(&bundle, &bundle.id).await;
            let mut request = shim.request(&bundle, &bundle.id);
            request.stdout = text(&out);
            task.client.create(crate::harness::limit(), &request).await.unwrap();
            task.start("").await.unwrap();
            task.wait("").await.unwrap();
            task.delete("").await.unwrap();
            drop(task);
            eventually("the connection is closed", || async { (sockets(pid) <= connected).then_some(()) }).await;
            counts.push(descriptors(pid).len());
        }
        assert!(counts[19] <= counts[4], "descriptors: {counts:?}");
        assert_eq!(children(pid), 1, "only the one that is kept");
        kept.end().await;
        shim.assert_gone();
    });
}

fn children(pid: u32) -> usize {
    let all = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    all.split_whitespace().count()
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A bundle's folder can go while its container runs: nothing in the shim stands in it.
#[test]
fn the_shim_stands_in_no_folder_and_holds_no_terminal() {
    over_each(|shim: Shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let pid = shim.pid(&bundle);
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
        for number in 0..3 {
            assert_eq!(std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap(), Path::new("/dev/null"));
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // proc(5): process group, session, terminal.
        assert_eq!((fields[2], fields[3], fields[4]), (&*pid.to_string(), &*pid.to_string(), "0"));
        task.end().await;
        shim.assert_gone();
    });
}
