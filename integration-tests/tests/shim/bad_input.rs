//! What no well-meaning client says. Whatever it is, it is refused by name or hung up on, and other clients go on.

use containerd_shim_protos::api;
use containerd_shim_protos::types::task::Status;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use skiff_integration_tests::bundle::Bundle;
use skiff_lanes::runs;
use ttrpc::{Code, Request};

use crate::harness::{Task, code, json, limit, over_each, refusal, text};
use crate::raw::{REQUEST, call, frame, header, say_and_go, say_and_hear, say_and_hear_one};

#[runs(host)]
fn noise_on_the_socket_hurts_nobody() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let mut noise = Vec::new();
        // xorshift: noise that is the same in every run.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..50 {
            let mut bytes = Vec::new();
            for _ in 0..200 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes());
            }
            noise.push(bytes);
        }
        noise.push(b"GET / HTTP/1.1\r\nHost: skiff\r\n\r\n".to_vec());
        noise.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
        noise.push(vec![0; 4096]);
        noise.push(vec![0xff; 4096]);
        for bytes in &noise {
            say_and_hear(&task.address, bytes).await;
        }
        assert_eq!(task.status("").await, Status::RUNNING);
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn frames_that_are_none_hurt_nobody() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let id = || task.id.clone();
        let state = call("State", &api::StateRequest { id: id(), ..Default::default() });
        let payload = state[10..].to_vec();
        let frames = [
            // Of no kind, an answer, data for a stream that is not open.
            frame(1, 0, &payload),
            frame(1, 2, &payload),
            frame(1, 3, &payload),
            frame(1, 0xff, &payload),
            // Streams that only a server opens, and none.
            frame(2, REQUEST, &payload),
            frame(0, REQUEST, &payload),
            // Not a request.
            frame(1, REQUEST, b"\xff\xff\xff"),
            frame(1, REQUEST, b""),
            // The same stream twice.
            [state.clone(), state.clone()].concat(),
        ];
        for bytes in frames {
            say_and_hear(&task.address, &bytes).await;
        }
        let heard = say_and_hear_one(&task.address, &state).await;
        assert!(heard.windows(task.id.len()).any(|window| window == task.id.as_bytes()), "a good one is answered");
        task.end().await;
        shim.assert_gone();
    });
}

/// A frame has four megabytes at most; more is not even kept while it comes.
#[runs(host)]
fn a_frame_that_is_too_long_is_refused_and_takes_no_memory() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let length = (4 << 20) + 1;
        let mut bytes = header(length, 1, REQUEST);
        bytes.resize(bytes.len() + length as usize, b'x');
        let heard = say_and_hear_one(&task.address, &bytes).await;
        let said = String::from_utf8_lossy(&heard);
        assert!(said.contains("4194304"), "it says how long one may be: {said:?}");
        // Four gigabytes are promised and never come.
        say_and_go(&task.address, &header(u32::MAX, 1, REQUEST)).await;
        say_and_go(&task.address, &[header(u32::MAX, 1, REQUEST), vec![b'x'; 100_000]].concat()).await;
        assert_eq!(task.status("").await, Status::RUNNING);
        let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid(&bundle))).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 64 << 10, "{peak} kB");
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn services_methods_and_messages_that_are_none() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let client = ttrpc::r#async::Client::connect(&task.address).await.unwrap();
        let request = |service: &str, method: &str, payload: &[u8]| {
            let mut request = Request::new();
            (request.service, request.method) = (service.into(), method.into());
            (request.payload, request.timeout_nano) = (payload.to_vec(), 10_000_000_000);
            request
        };
        for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
            let unknown = client.request(request(service, "Fly", b"")).await;
            assert_eq!(code(unknown), Code::UNIMPLEMENTED);
            // Before it reaches us: the word for it is the protocol library's.
            let broken = client.request(request(service, "State", b"\xff\xff\xff")).await;
            assert_eq!(code(broken), Code::UNKNOWN);
            assert_eq!(code(client.request(request(service, "State", b"")).await), Code::NOT_FOUND);
        }
        for service in ["containerd.task.v4.Task", "", "containerd.runtime.sandbox.v1.Sandbox"] {
            let unknown = client.request(request(service, "State", b"")).await;
            assert_eq!(code(unknown), Code::INVALID_ARGUMENT, "{service}");
        }
        let checkpoint =
            api::CheckpointTaskRequest { id: task.id.clone(), path: "/tmp/x".into(), ..Default::default() };
        assert_eq!(code(task.client.checkpoint(limit(), &checkpoint).await), Code::UNIMPLEMENTED);
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn containers_and_execs_that_nobody_knows() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        for id in ["", "other", "../x"] {
            let other = Task { client: task.client.clone(), id: id.into(), address: task.address.clone() };
            let seen = [
                other.state("").await.map(drop),
                other.start("").await.map(drop),
                other.wait("").await.map(drop),
                other.kill("", 9).await,
                other.delete("").await.map(drop),
                other.pause().await,
                other.resume().await,
                other.stats().await.map(drop),
                other.pids().await.map(drop),
                other.update("{}").await,
                other.exec("e", "true").await,
                other.close_stdin("").await,
                other.resize("", 1, 1).await,
            ];
            for (number, seen) in seen.into_iter().enumerate() {
                assert_eq!(code(seen), Code::NOT_FOUND, "call {number} for {id:?}");
            }
        }
        let seen = [
            task.state("e").await.map(drop),
            task.start("e").await.map(drop),
            task.wait("e").await.map(drop),
            task.kill("e", 9).await,
            task.delete("e").await.map(drop),
            task.close_stdin("e").await,
            task.resize("e", 1, 1).await,
        ];
        for (number, seen) in seen.into_iter().enumerate() {
            assert_eq!(code(seen), Code::NOT_FOUND, "call {number}");
        }
        task.end().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn a_create_that_cannot_be_meant_leaves_nothing() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.client(&bundle, &bundle.id).await;
        let any =
            |type_url: &str, value: &[u8]| Any { type_url: type_url.into(), value: value.to_vec(), ..Any::default() };
        let empty = tempfile::tempdir().unwrap();
        type Change<'a> = Box<dyn Fn(&mut api::CreateTaskRequest) + 'a>;
        let rows: Vec<(&str, Code, Change<'_>)> = vec![
            ("no id", Code::INVALID_ARGUMENT, Box::new(|request| request.id = String::new())),
            ("a path", Code::INVALID_ARGUMENT, Box::new(|request| request.id = "../x".into())),
            ("a long id", Code::INVALID_ARGUMENT, Box::new(|request| request.id = "x".repeat(2000))),
            ("an id of control", Code::INVALID_ARGUMENT, Box::new(|request| request.id = "a\nb".into())),
            ("no bundle", Code::INVALID_ARGUMENT, Box::new(|request| request.bundle = String::new())),
            ("a relative bundle", Code::INVALID_ARGUMENT, Box::new(|request| request.bundle = "tmp".into())),
            ("an absent bundle", Code::INVALID_ARGUMENT, Box::new(|request| request.bundle = "/no/such".into())),
            ("an empty bundle", Code::NOT_FOUND, Box::new(|request| request.bundle = text(empty.path()))),
            (
                "broken options",
                Code::INVALID_ARGUMENT,
                Box::new(|request| {
                    request.set_options(any("containerd.runc.v1.Options", b"\xff"));
                }),
            ),
            ("a checkpoint", Code::UNIMPLEMENTED, Box::new(|request| request.checkpoint = "/tmp/x".into())),
            (
                "no runtime",
                Code::FAILED_PRECONDITION,
                Box::new(|request| {
                    let options = containerd_shim_protos::shim::oci::Options {
                        binary_name: "/no/such/runtime".into(),
                        ..Default::default()
                    };
                    request.set_options(any("containerd.runc.v1.Options", &options.write_to_bytes().unwrap()));
                }),
            ),
            (
                "a root that cannot be mounted",
                Code::UNKNOWN,
                Box::new(|request| {
                    let mut mount = api::Mount::new();
                    (mount.type_, mount.source) = ("no-such-fs".into(), "none".into());
                    request.rootfs = vec![mount];
                }),
            ),
        ];
        for (what, wanted, change) in &rows {
            let mut request = shim.request(&bundle, &bundle.id);
            change(&mut request);
            let (seen, words) = refusal(task.client.create(limit(), &request).await);
            assert_eq!(seen, *wanted, "{what}: {words}");
            assert!(!words.is_empty() && !words.contains('\n'), "{what}: {words:?}");
        }
        // And the one that can be meant is not in its way.
        task.client.create(limit(), &shim.request(&bundle, &bundle.id)).await.unwrap();
        task.end().await;
        shim.assert_gone();
    });
}

/// Options of another shim's type are not for us.
#[runs(host)]
fn options_of_another_type_are_passed_over() {
    over_each(|shim| async move {
        let bundle = Bundle::script("exit 3");
        let id = bundle.id.clone();
        let task = shim.client(&bundle, &id).await;
        let mut request = shim.request(&bundle, &id);
        request.set_options(Any { type_url: "example.v1.Options".into(), value: vec![0xff], ..Any::default() });
        // Without options the runtime is the one that was installed beside the shim, in its own place.
        let made = task.client.create(limit(), &request).await;
        if made.is_ok() {
            task.start("").await.unwrap();
            assert_eq!(task.wait("").await.unwrap(), 3);
            task.delete("").await.unwrap();
        } else {
            // It is looked for, and not found, where the programs of a test lie apart.
            assert_eq!(code(made), Code::FAILED_PRECONDITION);
        }
        task.shutdown().await;
        shim.assert_gone();
    });
}

#[runs(host)]
fn documents_that_are_none_are_refused() {
    over_each(|shim| async move {
        let bundle = Bundle::sleeper();
        let task = shim.started(&bundle).await;
        let mut request = task.exec_request("e", "true");
        request.spec = None.into();
        assert_eq!(code(task.client.exec(limit(), &request).await), Code::INVALID_ARGUMENT);
        for document in ["", "{", "[]", "null", "{}", r#"{"args":"sh"}"#, r#"{"args":[]}"#, r#"{"args":[1]}"#] {
            let mut request = task.exec_request("e", "true");
            request.set_spec(json("Process", document));
            let (seen, words) = refusal(task.client.exec(limit(), &request).await);
            assert_eq!(seen, Code::INVALID_ARGUMENT, "{document}: {words}");
            assert!(words.contains("process"), "{document}: {words}");
            assert_eq!(code(task.state("e").await), Code::NOT_FOUND, "{document}");
        }
        for exec_id in ["", "../e", "a/b", "a\nb", &"x".repeat(2000)] {
            assert_eq!(code(task.exec(exec_id, "true").await), Code::INVALID_ARGUMENT, "{exec_id:?}");
        }
        let request = api::UpdateTaskRequest { id: task.id.clone(), ..Default::default() };
        assert_eq!(code(task.client.update(limit(), &request).await), Code::INVALID_ARGUMENT);
        for document in ["", "{", "[]", "null"] {
            assert_eq!(code(task.update(document).await), Code::INVALID_ARGUMENT, "{document}");
        }
        for signal in [0, 65, u32::MAX] {
            assert_eq!(code(task.kill("", signal).await), Code::INVALID_ARGUMENT);
        }
        assert_eq!(code(task.resize("", 70_000, 1).await), Code::INVALID_ARGUMENT);
        assert_eq!(task.status("").await, Status::RUNNING);
        task.end().await;
        shim.assert_gone();
    });
}
