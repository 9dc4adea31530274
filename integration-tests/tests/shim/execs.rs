//! Further processes of a container, from Exec to Delete, and their order with the container's own end.

use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::types::task::Status;
use protobuf::Message;
use skiff_integration_tests::bundle::Bundle;
use ttrpc::Code;

use crate::harness::{Shim, Task, code, limit, over_each, reader, refusal, text};

#[test]
fn an_exec_is_asked_for_started_waited_for_and_deleted() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        task.exec("e", "exit 4").await.unwrap();
        assert_eq!(task.status("e").await, Status::CREATED);
        assert_eq!(task.state("e").await.unwrap().pid, 0);
        // Who waits before the start is told as well.
        let waiting = {
            let (client, id) = (task.client.clone(), task.id.clone());
            let task = Task { client, id, address: task.address.clone() };
            tokio::spawn(async move { task.wait("e").await })
        };
        let pid = task.start("e").await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), 4);
        let state = task.state("e").await.unwrap();
        assert_eq!((state.status.enum_value().unwrap(), state.exit_status, state.pid), (Status::STOPPED, 4, pid));
        assert_eq!(state.exec_id, "e");
        assert_eq!(task.status("").await, Status::RUNNING);
        assert_eq!(task.delete("e").await.unwrap(), 4);
        for seen in [task.state("e").await.map(drop), task.wait("e").await.map(drop), task.kill("e", 9).await] {
            assert_eq!(code(seen), Code::NOT_FOUND);
        }
        assert_eq!(code(task.delete("e").await), Code::NOT_FOUND);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn streams_of_an_exec_are_its_own() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let (input, out, err) = (shim.fifo("in"), shim.fifo("out"), shim.fifo("err"));
        let mut request = task.exec_request("e", "cat; echo said >&2");
        (request.stdin, request.stdout, request.stderr) = (text(&input), text(&out), text(&err));
        task.client.exec(limit(), &request).await.unwrap();
        let (said, complained) = (reader(&out), reader(&err));
        task.start("e").await.unwrap();
        std::fs::write(&input, "word\n").unwrap();
        task.close_stdin("e").await.unwrap();
        assert_eq!(task.wait("e").await.unwrap(), 0);
        assert_eq!((said.await, complained.await), ("word\n".to_owned(), "said\n".to_owned()));
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn an_exec_has_a_terminal_of_its_own() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let (input, out) = (shim.fifo("in"), shim.fifo("out"));
        let mut request = task.exec_request("e", "test -t 0 && test -t 2 && read line && stty size; exit 7");
        (request.stdin, request.stdout, request.terminal) = (text(&input), text(&out), true);
        task.client.exec(limit(), &request).await.unwrap();
        let said = reader(&out);
        task.start("e").await.unwrap();
        task.resize("e", 90, 30).await.unwrap();
        std::fs::write(&input, "\n").unwrap();
        assert_eq!(task.wait("e").await.unwrap(), 7);
        let said = said.await;
        assert!(said.contains("30 90\r\n"), "{said:?}");
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn before_the_start_an_exec_takes_few_calls() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        task.exec("e", "sleep 1000").await.unwrap();
        assert_eq!(code(task.kill("e", 9).await), Code::FAILED_PRECONDITION);
        // It can be forgotten, and its name is free then.
        task.delete("e").await.unwrap();
        task.exec_started("e", "sleep 1000").await;
        assert_eq!(code(task.start("e").await), Code::FAILED_PRECONDITION);
        assert_eq!(code(task.delete("e").await), Code::FAILED_PRECONDITION);
        task.kill("e", 15).await.unwrap();
        assert_eq!(task.wait("e").await.unwrap(), 143);
        assert_eq!(code(task.kill("e", 9).await), Code::NOT_FOUND);
        assert_eq!(code(task.start("e").await), Code::FAILED_PRECONDITION);
        assert_eq!(task.delete("e").await.unwrap(), 143);
        assert_eq!(task.status("").await, Status::RUNNING);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn an_id_is_used_once_at_a_time() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        task.exec_started("e", "exit 1").await;
        let (seen, words) = refusal(task.exec("e", "true").await);
        assert_eq!(seen, Code::ALREADY_EXISTS);
        assert!(words.contains("`e`") && words.contains(&task.id), "{words}");
        // In events a process has one id, so an exec cannot have its container's.
        assert_eq!(code(task.exec(&task.id, "true").await), Code::ALREADY_EXISTS);
        task.wait("e").await.unwrap();
        assert_eq!(code(task.exec("e", "true").await), Code::ALREADY_EXISTS);
        task.delete("e").await.unwrap();
        task.exec_started("e", "exit 2").await;
        assert_eq!(task.wait("e").await.unwrap(), 2);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn after_the_containers_end_nothing_is_started_in_it() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        task.exec("late", "true").await.unwrap();
        task.kill("", 9).await.unwrap();
        task.wait("").await.unwrap();
        let (seen, words) = refusal(task.start("late").await);
        assert_eq!(seen, Code::FAILED_PRECONDITION);
        assert!(words.contains("stopped"), "{words}");
        assert_eq!(code(task.exec("later", "true").await), Code::FAILED_PRECONDITION);
        task.delete("late").await.unwrap();
        task.end().await;
        shim.assert_gone();
    });
}

/// runc takes an exec into a container that is created; so do we.
#[test]
fn a_created_container_takes_an_exec() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        task.exec_started("e", "exit 3").await;
        assert_eq!(task.wait("e").await.unwrap(), 3);
        assert_eq!(task.status("").await, Status::CREATED);
        task.start("").await.unwrap();
        task.end().await;
        shim.assert_gone();
    });
}

/// Everything that says `exit`, in the order of its telling.
fn exits(told: &[String]) -> Vec<&str> {
    told.iter().filter_map(|told| told.strip_prefix("exit ")).collect()
}

async fn ends_last(shim: &Shim, task: &Task) {
    for name in ["a", "b", "c"] {
        task.exec_started(name, "sleep 1000").await;
    }
    task.kill("", 9).await.unwrap();
    assert_eq!(task.wait("").await.unwrap(), 137);
    // The container's end is known, so theirs is too.
    for name in ["a", "b", "c"] {
        assert_eq!(task.status(name).await, Status::STOPPED);
    }
    let id = &task.id;
    let told = shim.listener.until(&format!("exit {id}/{id} 137")).await;
    let mut exits = exits(&told);
    assert_eq!(exits.pop(), Some(&*format!("{id}/{id} 137")), "the container's own is the last");
    exits.sort_unstable();
    assert_eq!(exits, [format!("{id}/a 137"), format!("{id}/b 137"), format!("{id}/c 137")]);
    task.end().await;
    shim.assert_gone();
}

#[test]
fn execs_end_before_their_container() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        ends_last(&shim, &task).await;
    });
}

/// Without a pid namespace the kernel kills nobody else; the shim does.
#[test]
fn execs_end_with_a_container_that_shares_the_hosts_processes() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper().without_namespace("pid");
        let task = shim.started(&bundle).await;
        ends_last(&shim, &task).await;
    });
}

#[test]
fn one_that_cannot_be_started_says_why_and_can_be_forgotten() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let mut request = task.exec_request("e", "");
        let document = serde_json::json!({"args": ["/bin/no-such-program"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
        request.set_spec(crate::harness::json("Process", &document.to_string()));
        task.client.exec(limit(), &request).await.unwrap();
        let (_, words) = refusal(task.start("e").await);
        assert!(words.contains("no-such-program"), "{words}");
        assert_eq!(task.status("e").await, Status::CREATED);
        task.delete("e").await.unwrap();
        assert_eq!(task.status("").await, Status::RUNNING);
        let left: Vec<_> = std::fs::read_dir(bundle.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("exec-") || name.starts_with("console-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn pids_tell_which_is_whose() {
    over_each(|shim| async move {
        let bundle = Bundle::script("sleep 1000 & wait");
        let task = shim.started(&bundle).await;
        let exec = task.exec_started("e", "exec sleep 1000").await;
        let own = task.state("").await.unwrap().pid;
        let seen = crate::harness::eventually("three processes", || async {
            let processes = task.pids().await.unwrap().processes;
            (processes.len() == 3).then_some(processes)
        })
        .await;
        for process in seen {
            let details = process.info.into_option().map(|info| {
                assert_eq!(info.type_url, "containerd.runc.v1.ProcessDetails");
                ProcessDetails::parse_from_bytes(&info.value).unwrap().exec_id
            });
            assert_eq!(details.as_deref(), (process.pid == exec).then_some("e"), "{}: container {own}", process.pid);
        }
        task.end().await;
        shim.assert_gone();
    });
}

/// Not one may be lost, and none may be told before its start.
#[test]
fn fifty_quick_ones() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let id = &task.id;
        for number in 0..50 {
            let name = format!("e{number}");
            task.exec_started(&name, &format!("exit {number}")).await;
            assert_eq!(task.wait(&name).await.unwrap(), number);
            assert_eq!(task.delete(&name).await.unwrap(), number);
            let told = shim.listener.until(&format!("exit {id}/{name} {number}")).await;
            let about = format!("/{name}");
            let own: Vec<_> = told
                .iter()
                .filter(|told| told.split(' ').any(|word| word.ends_with(&about)))
                .map(|told| told.split(' ').next().unwrap())
                .collect();
            assert_eq!(own, ["exec-added", "exec-started", "exit"]);
        }
        task.end().await;
        shim.assert_gone();
    });
}

/// Starts and the container's end at the same time: each call is answered, and the container's exit is told last.
#[test]
fn execs_that_begin_while_the_container_ends() {
    over_each(|shim| async move {
        for round in 0..5 {
            let bundle = Bundle::sleeper();
            let task = shim.started(&bundle).await;
            for name in ["a", "b", "c", "d"] {
                task.exec(name, "sleep 1000").await.unwrap();
            }
            let starts: Vec<_> = ["a", "b", "c", "d"]
                .map(|name| {
                    let task = Task { client: task.client.clone(), id: task.id.clone(), address: task.address.clone() };
                    tokio::spawn(async move { task.start(name).await })
                })
                .into_iter()
                .collect();
            // Some milliseconds later in each round.
            tokio::time::sleep(std::time::Duration::from_millis(round * 15)).await;
            task.kill("", 9).await.unwrap();
            let mut started = 0;
            for start in starts {
                started += usize::from(start.await.unwrap().is_ok());
            }
            assert_eq!(task.wait("").await.unwrap(), 137);
            let id = &task.id;
            let told = shim.listener.until(&format!("exit {id}/{id} 137")).await;
            let own: Vec<_> = exits(&told).into_iter().filter(|told| told.starts_with(&format!("{id}/"))).collect();
            assert_eq!(own.len(), started + 1, "round {round}: {told:#?}");
            assert_eq!(own.last(), Some(&&*format!("{id}/{id} 137")));
            task.end().await;
        }
        shim.assert_gone();
    });
}
