//! From Create to Delete: states, exits, signals, and what a call in the wrong state is told.

use containerd_shim_protos::api;
use containerd_shim_protos::types::task::Status;
use protobuf::Message;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::rounds;
use ttrpc::{Code, Request};

use crate::harness::{code, connect, eventually, limit, over_each, refusal};

#[test]
fn a_container_is_created_started_waited_for_and_deleted() {
    over_each(|shim| async move {
        let bundle = Bundle::script("exit 7");
        let task = shim.created(&bundle).await;
        assert_eq!(task.status("").await, Status::CREATED);
        let pid = task.start("").await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 7);
        let state = task.state("").await.unwrap();
        assert_eq!((state.status.enum_value().unwrap(), state.exit_status, state.pid), (Status::STOPPED, 7, pid));
        assert!(state.exited_at.seconds > 1_600_000_000);
        assert_eq!(state.bundle, bundle.path().to_string_lossy());
        assert_eq!(task.delete("").await.unwrap(), 7);
        assert_eq!(code(task.state("").await), Code::NOT_FOUND);
        task.shutdown().await;
        let told = shim.listener.until(&format!("delete {} 7", bundle.id)).await;
        let id = &bundle.id;
        assert_eq!(
            told,
            [format!("create {id}"), format!("start {id}"), format!("exit {id}/{id} 7"), format!("delete {id} 7"),]
        );
        shim.assert_gone();
    });
}

#[test]
fn signals_end_it_and_an_ended_one_takes_none() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        assert_eq!(task.status("").await, Status::RUNNING);
        assert_eq!(code(task.kill("", 0).await), Code::INVALID_ARGUMENT);
        assert_eq!(code(task.kill("", 65).await), Code::INVALID_ARGUMENT);
        task.kill("", 9).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 137);
        let (code, words) = refusal(task.kill("", 9).await);
        assert_eq!(code, Code::NOT_FOUND);
        assert!(words.contains("process already finished"), "{words}");
        assert_eq!(task.end().await, 137);
        shim.assert_gone();
    });
}

#[test]
fn kill_all_reaches_every_process() {
    over_each(|shim| async move {
        let bundle = Bundle::script("sleep 1000 & sleep 1000 & wait");
        let task = shim.started(&bundle).await;
        let request = api::KillRequest { id: task.id.clone(), signal: 9, all: true, ..Default::default() };
        task.client.kill(limit(), &request).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 137);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn what_the_state_does_not_allow_is_refused() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        let refused = Code::FAILED_PRECONDITION;
        // Created.
        assert_eq!(code(task.pause().await), refused);
        assert_eq!(code(task.resume().await), refused);
        assert_eq!(code(task.client.create(limit(), &shim.request(&bundle, &task.id)).await), Code::ALREADY_EXISTS);
        task.start("").await.unwrap();
        // Running.
        let (code_seen, words) = refusal(task.start("").await);
        assert_eq!(code_seen, refused);
        assert!(words.contains(&task.id) && words.contains("it is running"), "{words}");
        assert_eq!(code(task.delete("").await), refused);
        assert_eq!(code(task.resume().await), refused);
        // Stopped.
        task.kill("", 9).await.unwrap();
        task.wait("").await.unwrap();
        for seen in [task.start("").await.map(drop), task.pause().await, task.resume().await, task.update("{}").await] {
            assert_eq!(code(seen), refused);
        }
        assert_eq!(code(task.exec("e", "true").await), refused);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn one_that_was_never_started_can_be_deleted() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        assert_eq!(task.delete("").await.unwrap(), 137);
        task.shutdown().await;
        let id = &bundle.id;
        let told = shim.listener.until(&format!("delete {id} 137")).await;
        assert_eq!(told, [format!("create {id}"), format!("exit {id}/{id} 137"), format!("delete {id} 137")]);
        shim.assert_gone();
    });
}

#[test]
fn one_that_is_killed_before_its_start_cannot_be_started() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        task.kill("", 9).await.unwrap();
        assert_eq!(task.wait("").await.unwrap(), 137);
        assert_eq!(code(task.start("").await), Code::FAILED_PRECONDITION);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn a_create_that_fails_leaves_nothing_and_says_why() {
    over_each(|shim| async move {
        let bundle = Bundle::new().edit(|config| config["process"]["args"] = serde_json::json!([]));
        let task = shim.client(&bundle, &bundle.id).await;
        let (code_seen, words) = refusal(task.client.create(limit(), &shim.request(&bundle, &task.id)).await);
        assert_eq!(code_seen, Code::UNKNOWN);
        assert!(words.contains("args"), "the runtime's own words: {words}");
        assert_eq!(code(task.state("").await), Code::NOT_FOUND);
        task.shutdown().await;
        assert!(shim.listener.told().is_empty());
        shim.assert_gone();
    });
}

#[test]
fn a_program_that_does_not_exist_fails_create_or_start() {
    over_each(|shim| async move {
        let bundle = Bundle::new().args(&["/bin/no-such-program"]);
        let task = shim.client(&bundle, &bundle.id).await;
        if task.client.create(limit(), &shim.request(&bundle, &task.id)).await.is_ok() {
            let (_, words) = refusal(task.start("").await);
            assert!(words.contains("no-such-program"), "{words}");
            task.end().await;
        }
        task.shutdown().await;
        shim.assert_gone();
    });
}

/// Not one may be lost, and none may be told before its start.
#[test]
fn many_quick_ones() {
    over_each(|shim| async move {
        let group = |config: &mut serde_json::Value| {
            config["annotations"] = serde_json::json!({"io.containerd.runc.v2.group": "hundred"});
        };
        let mut connection = None;
        for number in 0..rounds(100) {
            let bundle = Bundle::new().edit(group);
            let task = shim.client(&bundle, &bundle.id).await;
            task.client.create(limit(), &shim.request(&bundle, &task.id)).await.unwrap();
            task.start("").await.unwrap();
            assert_eq!(task.wait("").await.unwrap(), 0, "number {number}");
            assert_eq!(task.delete("").await.unwrap(), 0);
            let id = &bundle.id;
            let told = shim.listener.until(&format!("delete {id} 0")).await;
            let own: Vec<_> = told.into_iter().filter(|told| told.contains(id.as_str())).collect();
            assert_eq!(
                own,
                [format!("create {id}"), format!("start {id}"), format!("exit {id}/{id} 0"), format!("delete {id} 0"),]
            );
            connection = Some(task);
        }
        connection.unwrap().shutdown().await;
        shim.assert_gone();
    });
}

#[test]
fn a_client_that_goes_away_finds_everything_when_it_is_back() {
    over_each(|shim| async move {
        let bundle = Bundle::script("read line; exit 5");
        let fifo = shim.folder.path().join("in");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let task = shim.created_with(&bundle, |request| request.stdin = fifo.to_string_lossy().into()).await;
        let pid = task.start("").await.unwrap();
        let (address, id) = (task.address.clone(), task.id.clone());
        drop(task);
        let task = crate::harness::Task { client: connect(&address).await, id, address };
        let connected = task.connect().await.unwrap();
        assert_eq!(connected.task_pid, pid);
        assert_eq!(task.status("").await, Status::RUNNING);
        std::fs::write(&fifo, "go\n").unwrap();
        assert_eq!(task.wait("").await.unwrap(), 5);
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn a_create_whose_client_goes_away_is_finished() {
    over_each(|shim| async move {
        let hook = serde_json::json!([{"path": "/bin/sleep", "args": ["sleep", "0.3"]}]);
        let bundle = Bundle::sleeper().edit(|config| config["hooks"] = serde_json::json!({"createRuntime": hook}));
        let task = shim.client(&bundle, &bundle.id).await;
        let request = shim.request(&bundle, &task.id);
        let gone = tokio::time::timeout(std::time::Duration::from_millis(100), task.client.create(limit(), &request));
        assert!(gone.await.is_err(), "the hook takes longer");
        let (address, id) = (task.address.clone(), task.id.clone());
        drop(task);
        let task = crate::harness::Task { client: connect(&address).await, id, address };
        eventually("the container is created", || async { (task.status("").await == Status::CREATED).then_some(()) })
            .await;
        task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn a_slow_create_does_not_delay_another_container() {
    over_each(|shim| async move {
        let annotate = |config: &mut serde_json::Value| {
            config["annotations"] = serde_json::json!({"io.containerd.runc.v2.group": "slow"});
        };
        let hook = serde_json::json!([{"path": "/bin/sleep", "args": ["sleep", "2"]}]);
        let slow = Bundle::sleeper()
            .edit(annotate)
            .edit(|config| config["hooks"] = serde_json::json!({"createRuntime": hook}));
        let quick = Bundle::script("exit 3").edit(annotate);
        let slow_task = shim.client(&slow, &slow.id).await;
        let request = shim.request(&slow, &slow.id);
        let creating = {
            let client = slow_task.client.clone();
            tokio::spawn(async move { client.create(limit(), &request).await })
        };
        eventually("the slow one is being created", || async { (slow_task.state("").await.is_ok()).then_some(()) })
            .await;
        // What is being created takes no calls, and is not found missing either.
        assert_eq!(slow_task.status("").await, Status::UNKNOWN);
        assert_eq!(code(slow_task.start("").await), Code::FAILED_PRECONDITION);
        assert_eq!(code(slow_task.delete("").await), Code::FAILED_PRECONDITION);
        let task = shim.started(&quick).await;
        assert_eq!(task.wait("").await.unwrap(), 3);
        assert_eq!(task.delete("").await.unwrap(), 3);
        assert!(!creating.is_finished(), "two seconds are not over");
        creating.await.unwrap().unwrap();
        slow_task.end().await;
        shim.assert_gone();
    });
}

#[test]
fn containerd_ones_name_of_the_service_is_served_too() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.created(&bundle).await;
        let client = ttrpc::r#async::Client::connect(&task.address).await.unwrap();
        let mut request = Request::new();
        request.service = "containerd.task.v2.Task".into();
        request.method = "State".into();
        request.payload = api::StateRequest { id: task.id.clone(), ..Default::default() }.write_to_bytes().unwrap();
        let response = client.request(request.clone()).await.unwrap();
        let state = api::StateResponse::parse_from_bytes(&response.payload).unwrap();
        assert_eq!((state.id, state.status.enum_value().unwrap()), (task.id.clone(), Status::CREATED));
        request.method = "NoSuchMethod".into();
        assert_eq!(code(client.request(request).await), Code::UNIMPLEMENTED);
        task.end().await;
        shim.assert_gone();
    });
}
