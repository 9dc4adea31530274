//! Bytes as the specification draws them, there and back, and bytes that are none.

use super::*;

fn written(value: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.value(value);
    writer.bytes
}

fn back(value: &Value) -> Value {
    Reader::new(written(value), false, &value.signature()).next_value().unwrap()
}

#[test]
fn bytes_are_where_the_specification_wants_them() {
    assert_eq!(written(&Value::string("foo")), b"\x03\0\0\0foo\0");
    assert_eq!(written(&Value::Variant(Box::new(Value::Uint32(7)))), b"\x01u\0\0\x07\0\0\0");
    // Four bytes of length, four to the boundary that the empty array's elements would have begun at.
    assert_eq!(written(&Value::Array("t".into(), vec![])), [0; 8]);
    let array = Value::Array("x".into(), vec![Value::Int64(5)]);
    assert_eq!(written(&array), [8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn every_type_comes_back() {
    let text = Value::string("ä");
    let values = vec![
        Value::Byte(1),
        Value::Bool(true),
        Value::Int16(-2),
        Value::Uint16(3),
        Value::Int32(-4),
        Value::Uint32(5),
        Value::Int64(-6),
        Value::Uint64(u64::MAX),
        Value::Double(0.5),
        text.clone(),
        Value::ObjectPath("/a".into()),
        Value::Signature("a(sv)".into()),
        Value::Variant(Box::new(Value::Struct(vec![text.clone(), Value::Byte(9)]))),
        Value::Array("(st)".into(), vec![Value::Struct(vec![text.clone(), Value::Uint64(1)]); 2]),
        Value::Array("{sv}".into(), vec![Value::Entry(Box::new((text.clone(), Value::Variant(Box::new(text)))))]),
    ];
    for value in &values {
        assert_eq!(&back(value), value);
    }
    let all = Value::Struct(values);
    assert_eq!(back(&all), all);
}

#[test]
fn the_other_byte_order_is_read() {
    let bytes = b"\0\0\0\x02\0\x05\0\0\0\0\0\x01".to_vec();
    let mut reader = Reader::new(bytes, true, "anu");
    assert_eq!(reader.next_value().unwrap(), Value::Array("n".into(), vec![Value::Int16(5)]));
    assert_eq!(reader.next_value().unwrap(), Value::Uint32(1));
    assert!(reader.next_value().is_err());
}

#[test]
fn garbage_is_an_error_and_no_panic() {
    let read = |bytes: &[u8], signature: &str| Reader::new(bytes.to_vec(), false, signature).next_value();
    assert!(read(b"\xff\xff\xff\xffabc", "s").is_err(), "a length past the end");
    assert!(read(b"\xff\xff\xff\x00", "au").is_err());
    assert!(read(b"\x03\0\0\0\x01\0\0\0", "au").is_err(), "a torn array");
    assert!(read(b"\x01\0\0\0\xff\0", "s").is_err(), "not UTF-8");
    assert!(read(&[1; 64], "(").is_err() && read(&[1; 64], "").is_err() && read(&[1; 64], "a").is_err());
    assert!(read(b"\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "a()").is_err());
    assert!(read(&[0; 64], "{s}").is_err() && read(&[0; 8], "h").is_err());
    let nested: Vec<u8> = std::iter::repeat_n(*b"\x01v\0", 100).flatten().collect();
    assert!(read(&nested, "v").unwrap_err().to_string().contains("too deep"));
}

#[test]
fn a_signature_is_split_at_complete_types() {
    let split = |signature| split_first(signature).unwrap();
    assert_eq!(split("ssa(sv)"), ("s", "sa(sv)"));
    assert_eq!(split("aa{s(iv)}u"), ("aa{s(iv)}", "u"));
    assert_eq!(split("(s(i)(u))v"), ("(s(i)(u))", "v"));
    assert!(split_first("a").is_err() && split_first("(s").is_err() && split_first(")").is_err());
}
