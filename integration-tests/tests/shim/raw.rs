//! A client that speaks ttrpc byte by byte, so that it can say what no client says, or go away in the middle of a word.

use std::path::Path;

use protobuf::Message;
use skiff_integration_tests::command::patience;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use ttrpc::Request;

/// Type of a frame: a call.
pub(crate) const REQUEST: u8 = 1;

/// A frame with its header.
pub(crate) fn frame(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(u32::try_from(payload.len()).unwrap(), stream, kind);
    frame.extend_from_slice(payload);
    frame
}

/// A header that promises `length` bytes.
pub(crate) fn header(length: u32, stream: u32, kind: u8) -> Vec<u8> {
    let mut header = length.to_be_bytes().to_vec();
    header.extend(stream.to_be_bytes());
    header.extend([kind, 0]);
    header
}

/// The frame of one call of the task service.
pub(crate) fn call(method: &str, message: &impl Message) -> Vec<u8> {
    let mut request = Request::new();
    request.service = "containerd.task.v3.Task".into();
    request.method = method.into();
    request.payload = message.write_to_bytes().unwrap();
    frame(1, REQUEST, &request.write_to_bytes().unwrap())
}

/// Connects, says this and hangs up without listening.
pub(crate) async fn say_and_go(address: &str, bytes: &[u8]) {
    let mut stream = connect(address).await;
    stream.write_all(bytes).await.unwrap();
    // A client that is killed closes its socket; what it said is there to be read.
    drop(stream);
}

/// Connects, says this, says no more, and hears everything until the other side hangs up.
pub(crate) async fn say_and_hear(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    // A shim that has hung up in the middle of it is as good as one that does at the end.
    let _hung_up_early = stream.write_all(bytes).await;
    let _hung_up_already = stream.shutdown().await;
    let mut heard = Vec::new();
    let _reset_is_an_end = stream.read_to_end(&mut heard).await;
    heard
}

/// Connects, says this, and hears one answer.
pub(crate) async fn say_and_hear_one(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    let heard = async {
        stream.write_all(bytes).await?;
        let mut header = [0; 10];
        stream.read_exact(&mut header).await?;
        let mut payload = vec![0; u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize];
        stream.read_exact(&mut payload).await.map(|_| payload)
    };
    tokio::time::timeout(patience(), heard).await.expect("an answer comes").unwrap()
}

/// A connection that says nothing yet.
pub(crate) async fn connect(address: &str) -> UnixStream {
    UnixStream::connect(Path::new(address.strip_prefix("unix://").unwrap())).await.unwrap()
}
