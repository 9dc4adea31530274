//! Probes of real sockets.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives every connection the same answer, and keeps it open when there is none.
async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                assert!(request.starts_with("GET /healthz HTTP/1.1\r\n"), "{request}");
                assert!(request.to_lowercase().contains("\r\nhost: 127.0.0.1:"), "{request}");
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    port
}

async fn probe(port: u16) -> Result<(), String> {
    http(&HttpProbe { port, path: "/healthz".into() }).await
}

#[tokio::test]
async fn statuses() {
    for (answer, reason) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", ""),
        ("HTTP/1.1 399 Odd\r\n\r\n", ""),
        ("HTTP/1.0 200 OK\r\n\r\n", ""),
        // The body never comes.
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", ""),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "status 400"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503"),
        ("SSH-2.0-OpenSSH\r\n", "GET /healthz"),
    ] {
        let outcome = probe(server(answer).await).await;
        match reason {
            "" => assert_eq!(outcome, Ok(()), "{answer}"),
            reason => assert!(outcome.clone().unwrap_err().contains(reason), "{answer}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let head: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)).into());
    assert!(probe(server(head).await).await.is_err());
}

#[tokio::test]
async fn ports() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(tcp(port).await.is_ok());
    drop(listener);
    assert!(tcp(port).await.unwrap_err().contains("refused"));
    assert!(probe(port).await.unwrap_err().contains("refused"));
}

#[tokio::test]
async fn one_that_does_not_answer_is_late() {
    let port = server("").await;
    let probe = serde_json::json!({"http": {"port": port, "path": "/healthz"}, "timeout": "50ms"});
    let probe: Probe = serde_json::from_value(probe).unwrap();
    let (stream, _peer) = tokio::net::UnixStream::pair().unwrap();
    let (seen, mut told) = mpsc::channel(4);
    let task = Task::new(stream, crate::node::task::Version::Two);
    let target = Target { instance: "web-0".parse().unwrap(), task, config: serde_json::Value::Null, seen };
    assert_eq!(tell(&target, ProbeKind::Liveness, &probe).await, Outcome::Failure("no answer within 50ms".into()));
    assert!(matches!(told.recv().await, Some(Seen::Probed { kind: ProbeKind::Liveness, .. })));
}
