//! The client against sockets that misbehave.

use super::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

/// A server that says these bytes to whoever asks, and then hangs or ends.
struct Server(tempfile::TempDir);

impl Server {
    fn saying(pieces: &[&str], hangs: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            if hangs {
                std::future::pending::<()>().await;
            }
        });
        Self(folder)
    }

    fn client(&self) -> Client {
        Client { socket: self.0.path().join("s"), patience: Duration::from_millis(100) }
    }
}

const LINES: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn silence_has_an_end() {
    for pieces in [&[][..], &["HTTP/1.1 200 OK\r\n"], &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"]] {
        let server = Server::saying(pieces, true);
        let error = server.client().get::<Value>("/").await.unwrap_err();
        assert!(matches!(error, Error::Silent { .. }), "{pieces:?}: {error}");
    }
    let server = Server::saying(&[LINES, "4\r\none\n\r\n"], true);
    let client = server.client();
    let mut lines = client.lines("/", false).await.unwrap();
    assert_eq!(lines.next(|| Ok(())).await.unwrap().unwrap(), b"one");
    let error = lines.next(|| Ok(())).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Error::Silent { .. })), "{error}");
}

#[tokio::test]
async fn who_follows_waits_for_ever() {
    let server = Server::saying(&[LINES], true);
    let client = server.client();
    let mut lines = client.lines("/", true).await.unwrap();
    let more = tokio::time::timeout(client.patience * 3, lines.next(|| Ok(()))).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn lines_are_cut_where_they_end() {
    let server = Server::saying(&[LINES, "3\r\n{}\n\r\n", "1\r\na\r\n", "7\r\nb\n\ncd\ne\r\n", "0\r\n\r\n"], false);
    let client = server.client();
    let mut lines = client.lines("/", true).await.unwrap();
    let (mut found, mut waits) = (Vec::new(), 0);
    let idle = |waits: &mut i32| {
        *waits += 1;
        Ok(())
    };
    while let Some(line) = lines.next(|| idle(&mut waits)).await.unwrap() {
        found.push(String::from_utf8(line).unwrap());
    }
    assert_eq!(found, ["{}", "ab", "", "cd", "e"]);
    assert!(waits > 1, "what came is shown before more is waited for");
}

#[tokio::test]
async fn what_is_cut_off_is_not_taken_for_whole() {
    for pieces in [
        &[][..],
        &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"],
        &[LINES, "2\r\n{}\r\n"],
        &["HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{}"],
    ] {
        let server = Server::saying(pieces, false);
        let error = server.client().get::<Value>("/").await.unwrap_err();
        assert!(matches!(error, Error::Cut { .. }), "{pieces:?}: {error}");
    }
}

#[tokio::test]
async fn what_is_not_skiffd_is_said_to_be_strange() {
    for (piece, says) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", "expected"),
        ("HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\n\x1b[2J", "status 502"),
    ] {
        let server = Server::saying(&[piece], false);
        let error = server.client().get::<Value>("/").await.unwrap_err();
        assert!(matches!(error, Error::Strange { .. }) && error.to_string().contains(says), "{piece}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_way_out() {
    for (body, says) in [
        (r#"{"error":"no","hint":"ask \u001b[2J"}"#, "no; ask \\u{1b}[2J"),
        (r#"{"error":"no","hint":""}"#, "no"),
        (r#"{"error":"no"}"#, "no"),
    ] {
        let answer = format!("HTTP/1.1 404 N\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let server = Server::saying(&[&answer], false);
        let error = server.client().post::<Value>("/").await.unwrap_err();
        assert!(matches!(error, Error::Refused { status: 404, .. }), "{error}");
        assert_eq!(error.to_string(), says);
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket() {
    let client = Client::new(PathBuf::from("x".repeat(200)));
    let error = client.get::<Value>("/").await.unwrap_err().to_string();
    assert!(error.contains("shorter path"), "{error}");
}
