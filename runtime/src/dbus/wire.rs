//! Values as bytes, and bytes as values (D-Bus specification, "Marshaling"). Written little-endian; read in either order.

use super::{Error, Value};

/// The longest message that is read, in bytes. systemd's are a few kilobytes; the specification allows 128 MiB.
pub(super) const LONGEST: usize = 4 << 20;
/// The longest array, by the specification.
const LONGEST_ARRAY: usize = 64 << 20;
/// How deep values may be nested, by the specification: 32 arrays and 32 structures, and variants count too.
const DEEPEST: u32 = 64;

/// Where values of this signature begin.
fn alignment(signature: &str) -> usize {
    match signature.bytes().next() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Bytes being written. The first is taken to lie on a boundary of eight.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.pad(4);
        self.bytes.extend(number.to_le_bytes());
    }

    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.pad(N);
        self.bytes.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        // What is longer than any message is cut off by the other side, which closes the connection.
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(number) => self.bytes.push(*number),
            Value::Bool(truth) => self.u32(u32::from(*truth)),
            Value::Int16(number) => self.fixed(number.to_le_bytes()),
            Value::Uint16(number) => self.fixed(number.to_le_bytes()),
            Value::Int32(number) => self.fixed(number.to_le_bytes()),
            Value::Uint32(number) => self.u32(*number),
            Value::Int64(number) => self.fixed(number.to_le_bytes()),
            Value::Uint64(number) => self.fixed(number.to_le_bytes()),
            Value::Double(number) => self.fixed(number.to_le_bytes()),
            Value::String(text) | Value::ObjectPath(text) => self.text(text),
            Value::Signature(text) => self.signature(text),
            Value::Array(element, values) => self.array(element, values),
            Value::Struct(members) => {
                self.pad(8);
                members.iter().for_each(|member| self.value(member));
            }
            Value::Entry(pair) => {
                self.pad(8);
                self.value(&pair.0);
                self.value(&pair.1);
            }
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
        }
    }

    /// The length counts neither itself nor the padding before the first element.
    fn array(&mut self, element: &str, values: &[Value]) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.pad(alignment(element));
        let start = self.bytes.len();
        values.iter().for_each(|value| self.value(value));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Bytes being read.
#[derive(Debug)]
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
    big: bool,
    /// What is left of the body's signature.
    signature: String,
}

impl Reader {
    pub(super) fn new(bytes: Vec<u8>, big: bool, signature: &str) -> Self {
        Self { bytes, at: 0, big, signature: signature.to_owned() }
    }

    /// The next value of the body.
    ///
    /// # Errors
    /// [`Error::Garbled`].
    pub fn next_value(&mut self) -> Result<Value, Error> {
        let signature = std::mem::take(&mut self.signature);
        let (first, rest) = split_first(&signature)?;
        rest.clone_into(&mut self.signature);
        self.value(first, 0)
    }

    /// The next value, which is to be a string or an object path.
    ///
    /// # Errors
    /// [`Error::Garbled`].
    pub fn next_text(&mut self) -> Result<String, Error> {
        match self.next_value()? {
            Value::String(text) | Value::ObjectPath(text) => Ok(text),
            _ => Err(Error::Garbled("another type than a string")),
        }
    }

    /// What comes after a header, which ends on a boundary of eight.
    pub(super) fn into_body(mut self) -> Result<Self, Error> {
        self.align(8)?;
        Ok(Self { bytes: self.bytes.split_off(self.at), at: 0, big: self.big, signature: String::new() })
    }

    /// Says what there is to be read.
    pub(super) fn announce(&mut self, signature: &str) {
        signature.clone_into(&mut self.signature);
    }

    fn value(&mut self, signature: &str, depth: u32) -> Result<Value, Error> {
        if depth > DEEPEST {
            return Err(Error::Garbled("values nested too deep"));
        }
        Ok(match signature.as_bytes() {
            b"y" => Value::Byte(self.take(1)?[0]),
            b"b" => Value::Bool(self.u32()? != 0),
            b"n" => Value::Int16(i16::from_le_bytes(self.fixed()?)),
            b"q" => Value::Uint16(u16::from_le_bytes(self.fixed()?)),
            b"i" => Value::Int32(i32::from_le_bytes(self.fixed()?)),
            b"u" => Value::Uint32(self.u32()?),
            b"x" => Value::Int64(i64::from_le_bytes(self.fixed()?)),
            b"t" => Value::Uint64(u64::from_le_bytes(self.fixed()?)),
            b"d" => Value::Double(f64::from_le_bytes(self.fixed()?)),
            b"s" => Value::String(self.text()?),
            b"o" => Value::ObjectPath(self.text()?),
            b"g" => Value::Signature(self.signature()?),
            b"v" => {
                let inner = self.signature()?;
                match split_first(&inner)? {
                    (first, "") => Value::Variant(Box::new(self.value(first, depth + 1)?)),
                    _ => return Err(Error::Garbled("a variant of several types")),
                }
            }
            [b'a', ..] => self.array(&signature[1..], depth)?,
            [b'(', ..] => Value::Struct(self.members(&signature[1..signature.len() - 1], depth)?),
            [b'{', ..] => match <[Value; 2]>::try_from(self.members(&signature[1..signature.len() - 1], depth)?) {
                Ok([key, value]) => Value::Entry(Box::new((key, value))),
                Err(_) => return Err(Error::Garbled("a dictionary's entry without key and value")),
            },
            _ => return Err(Error::Garbled("an unknown type")),
        })
    }

    fn array(&mut self, element: &str, depth: u32) -> Result<Value, Error> {
        let length = self.u32()? as usize;
        if length > LONGEST_ARRAY {
            return Err(Error::Garbled("an array that is too long"));
        }
        self.align(alignment(element))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Error::Garbled("an array that ends after its message"))?;
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.value(element, depth + 1)?);
        }
        if self.at == end { Ok(Value::Array(element.to_owned(), values)) } else { Err(Error::Garbled("a torn array")) }
    }

    fn members(&mut self, mut signature: &str, depth: u32) -> Result<Vec<Value>, Error> {
        // One that takes no bytes could be repeated for ever.
        if signature.is_empty() {
            return Err(Error::Garbled("a structure without members"));
        }
        self.align(8)?;
        let mut members = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split_first(signature)?;
            members.push(self.value(first, depth + 1)?);
            signature = rest;
        }
        Ok(members)
    }

    fn align(&mut self, to: usize) -> Result<(), Error> {
        let at = self.at.next_multiple_of(to);
        self.take(at - self.at).map(drop)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Error> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Error::Garbled("a value that ends after its message"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// In little-endian order, whatever it came in.
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.align(N)?;
        let big = self.big;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        if big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    fn text(&mut self) -> Result<String, Error> {
        let length = self.u32()? as usize;
        self.ended(length)
    }

    fn signature(&mut self) -> Result<String, Error> {
        let length = usize::from(self.take(1)?[0]);
        self.ended(length)
    }

    /// Text with a zero byte after it.
    fn ended(&mut self, length: usize) -> Result<String, Error> {
        let bytes = self.take(length)?.to_vec();
        self.take(1)?;
        String::from_utf8(bytes).map_err(|_| Error::Garbled("text that is not UTF-8"))
    }
}

/// The first complete type of a signature, and the rest.
pub(super) fn split_first(signature: &str) -> Result<(&str, &str), Error> {
    let garbled = || Error::Garbled("a signature that is none");
    let bytes = signature.as_bytes();
    let arrays = bytes.iter().take_while(|byte| **byte == b'a').count();
    let length = match bytes.get(arrays) {
        Some(open @ (b'(' | b'{')) => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut depth = 0_usize;
            let end = bytes[arrays..].iter().position(|byte| {
                depth += usize::from(byte == open);
                depth -= usize::from(*byte == close);
                depth == 0
            });
            arrays + end.ok_or_else(garbled)? + 1
        }
        Some(byte) if b"ybnqiuxtdsogv".contains(byte) => arrays + 1,
        _ => return Err(garbled()),
    };
    Ok(signature.split_at(length))
}

#[cfg(test)]
mod tests;
