//! The frames, and conversations whose other side has said its part beforehand.

use super::*;

const CALL: Call<'_> = Call { destination: "a.b", path: "/a", interface: "a.b.C", member: "Do" };

/// A message with these fields beside the member, as the other side would send it.
fn message(kind: u8, reply_to: u32, sender: Option<&str>, arguments: &[Value]) -> Vec<u8> {
    let mut body = Writer::default();
    arguments.iter().for_each(|argument| body.value(argument));
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut fields = vec![
        (MEMBER, Value::string("Done")),
        (ERROR_NAME, Value::string("a.b.Bad")),
        (REPLY_SERIAL, Value::Uint32(reply_to)),
        (SIGNATURE, Value::Signature(signature)),
    ];
    fields.extend(sender.map(|sender| (SENDER, Value::string(sender))));
    let field = |(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut writer = Writer::default();
    writer.bytes.extend([b'l', kind, 0, 1]);
    writer.u32(u32::try_from(body.bytes.len()).unwrap());
    writer.u32(99);
    writer.value(&Value::Array("(yv)".into(), fields.into_iter().map(field).collect()));
    writer.pad(8);
    writer.bytes.extend(body.bytes);
    writer.bytes
}

/// A connection to whoever holds the other end.
fn connected(patience: Duration) -> (Connection, OwnedFd) {
    let (socket, other) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let (buffer, signals) = (Vec::new(), VecDeque::new());
    (Connection { socket, serial: 0, patience, buffer, signals, peer: None }, other)
}

fn say(to: &OwnedFd, bytes: &[u8]) {
    assert_eq!(rustix::net::send(to, bytes, SendFlags::NOSIGNAL).unwrap(), bytes.len());
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_call_is_a_message() {
    let bytes = encode(CALL, 7, &[Value::string("x"), Value::Uint64(5)]);
    assert_eq!(length(&bytes).unwrap(), Some(bytes.len()));
    let mut read = decode(bytes).unwrap();
    assert_eq!((read.kind, read.member.as_str()), (METHOD_CALL, "Do"));
    assert_eq!(read.body.next_text().unwrap(), "x");
    assert_eq!(read.body.next_value().unwrap(), Value::Uint64(5));
    assert!(read.body.next_value().is_err(), "there are two");
}

#[test]
fn an_answer_is_found_among_signals() {
    let (mut connection, other) = connected(SECOND);
    let signal = message(SIGNAL, 0, Some(":1.1"), &[Value::Uint32(1)]);
    // In pieces, as a stream has no borders.
    say(&other, &[&signal[..], &message(METHOD_RETURN, 1, Some(":1.1"), &[Value::string("yes")])[..9]].concat());
    say(&other, &message(METHOD_RETURN, 1, Some(":1.1"), &[Value::string("yes")])[9..]);
    say(&other, &message(SIGNAL, 0, Some(":1.66"), &[Value::Uint32(2)]));
    say(&other, &message(SIGNAL, 0, Some(":1.1"), &[Value::Uint32(3)]));
    assert_eq!(connection.call(CALL, &[]).unwrap().next_text().unwrap(), "yes");
    let deadline = Instant::now() + SECOND;
    let mut next = || connection.next_signal(deadline).unwrap().body.next_value().unwrap();
    assert_eq!((next(), next()), (Value::Uint32(1), Value::Uint32(3)), "nobody else is believed");
}

#[test]
fn errors_carry_their_name() {
    let (mut connection, other) = connected(SECOND);
    say(&other, &message(ERROR, 1, None, &[Value::string("no such thing")]));
    let error = connection.call(CALL, &[]).unwrap_err();
    assert!(error.is_answer("a.b.Bad"));
    assert_eq!(error.to_string(), "no such thing (a.b.Bad)");
}

#[test]
fn silence_and_an_end_are_told_apart() {
    let (mut connection, other) = connected(Duration::from_millis(20));
    assert!(matches!(connection.call(CALL, &[]), Err(Error::Late { .. })));
    drop(other);
    assert!(matches!(connection.call(CALL, &[]), Err(Error::Closed)));
}

#[test]
fn garbage_is_refused() {
    for bytes in [&b"HTTP/1.1 400 Bad\r\n\r\n"[..], &[b'l', 2, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let (mut connection, other) = connected(SECOND);
        say(&other, bytes);
        assert!(matches!(connection.call(CALL, &[]), Err(Error::Garbled(_))));
    }
}

#[test]
fn who_is_not_let_in_is_told() {
    let (mut connection, other) = connected(SECOND);
    say(&other, b"REJECTED EXTERNAL\r\n");
    let error = connection.authenticate(Path::new("/s"), 7).unwrap_err().to_string();
    assert!(error.contains("`/s` does not let user 7 in") && error.ends_with("`REJECTED EXTERNAL`"), "{error}");
    say(&other, b"OK 0123\r\n");
    assert!(connection.authenticate(Path::new("/s"), 7).is_ok());
}
