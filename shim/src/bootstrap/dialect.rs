//! In which words `start` answers: a plain address, JSON, or a protobuf message.
//!
//! | caller | what it gives | what it takes |
//! |---|---|---|
//! | containerd 1.6 | runtime options on standard input, or nothing | a plain address |
//! | containerd 1.7, 2.0 to 2.2 | the same, and `MAX_SHIM_VERSION=2` | a plain address |
//! | a caller with `MAX_SHIM_VERSION` of 3 or more | the same | JSON, version 3 |
//! | containerd 2.3 and newer | `BootstrapParams` on standard input | `BootstrapResult` |
//! | skiffd | nothing | a plain address |
//!
//! A plain address is understood by all of them and means version 2, so it is the answer unless more is certain.

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message;

/// The version of the task API that is answered where the dialect has a place for it.
const TASK_VERSION: i32 = 3;

/// The way of answering.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dialect {
    /// `unix:///path`
    Plain,
    /// `{"version":3,"address":"unix:///path","protocol":"ttrpc"}`
    Json,
    /// `BootstrapResult`, and what came with the question.
    Protobuf(Box<BootstrapParams>),
}

/// Tells the dialects apart. Runtime options parse as `BootstrapParams` too (a type's address lands in `instance_id`),
/// so the message must repeat the id and the namespace of the flags.
pub(crate) fn dialect(input: &[u8], id: &str, containerd_namespace: &str, max_version: Option<&str>) -> Dialect {
    if let Ok(params) = BootstrapParams::parse_from_bytes(input) {
        if params.instance_id == id && params.namespace == containerd_namespace {
            return Dialect::Protobuf(Box::new(params));
        }
    }
    match max_version.and_then(|word| word.trim().parse::<i32>().ok()) {
        Some(TASK_VERSION..) => Dialect::Json,
        Some(_) | None => Dialect::Plain,
    }
}

/// The answer's bytes.
pub(crate) fn answer(dialect: &Dialect, address: &str) -> Vec<u8> {
    match dialect {
        Dialect::Plain => address.as_bytes().to_vec(),
        Dialect::Json => serde_json::json!({"version": TASK_VERSION, "address": address, "protocol": "ttrpc"})
            .to_string()
            .into_bytes(),
        Dialect::Protobuf(_) => {
            let mut result = BootstrapResult::new();
            result.version = TASK_VERSION;
            result.address = address.to_owned();
            result.protocol = "ttrpc".to_owned();
            result.write_to_bytes().expect("a message in memory is written to memory")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protobuf::well_known_types::any::Any;

    fn params(id: &str, containerd_namespace: &str) -> Vec<u8> {
        let mut params = BootstrapParams::new();
        params.instance_id = id.to_owned();
        params.namespace = containerd_namespace.to_owned();
        params.socket_dir = Some("/run/containerd/s".to_owned());
        params.write_to_bytes().unwrap()
    }

    fn options(type_url: &str, value: &[u8]) -> Vec<u8> {
        let any = Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() };
        any.write_to_bytes().unwrap()
    }

    #[test]
    fn table() {
        let runc = options("containerd.runc.v1.Options", b"");
        let rows: [(&[u8], Option<&str>, &str); 12] = [
            (b"", None, "plain"),
            (&runc, None, "plain"),
            (b"", Some("2"), "plain"),
            (&runc, Some("2"), "plain"),
            (b"", Some("3"), "json"),
            (&runc, Some("4"), "json"),
            (b"", Some("many"), "plain"),
            (b"", Some("-3"), "plain"),
            (b"\xff\xff\xff", None, "plain"),
            (&params("web", "default"), None, "protobuf"),
            (&params("web", "default"), Some("2"), "protobuf"),
            (&params("other", "default"), Some("2"), "plain"),
        ];
        for (input, max, wanted) in rows {
            let seen = match dialect(input, "web", "default", max) {
                Dialect::Plain => "plain",
                Dialect::Json => "json",
                Dialect::Protobuf(_) => "protobuf",
            };
            assert_eq!(seen, wanted, "{input:?} {max:?}");
        }
    }

    #[test]
    fn options_named_like_the_container_are_still_told_apart_by_the_namespace() {
        let any = options("web", b"");
        assert_eq!(dialect(&any, "web", "default", None), Dialect::Plain);
    }

    #[test]
    fn answers() {
        let address = "unix:///run/containerd/s/ab";
        assert_eq!(answer(&Dialect::Plain, address), address.as_bytes());
        let json: serde_json::Value = serde_json::from_slice(&answer(&Dialect::Json, address)).unwrap();
        assert_eq!(json, serde_json::json!({"version": 3, "address": address, "protocol": "ttrpc"}));
        let bytes = answer(&Dialect::Protobuf(Box::default()), address);
        let result = BootstrapResult::parse_from_bytes(&bytes).unwrap();
        assert_eq!((result.version, result.address.as_str(), result.protocol.as_str()), (3, address, "ttrpc"));
    }
}
