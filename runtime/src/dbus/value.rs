//! Values as D-Bus has them, and the signature of each.

/// One value (D-Bus specification, "Type System").
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    String(String),
    /// `o`
    ObjectPath(String),
    /// `g`
    Signature(String),
    /// `a` and the signature of its elements, each of which has it.
    Array(String, Vec<Value>),
    /// `(...)`, with one member or more.
    Struct(Vec<Value>),
    /// `{kv}`, in arrays alone.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A string.
    #[must_use]
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// Its signature.
    #[must_use]
    pub fn signature(&self) -> String {
        let plain = match self {
            Self::Byte(_) => "y",
            Self::Bool(_) => "b",
            Self::Int16(_) => "n",
            Self::Uint16(_) => "q",
            Self::Int32(_) => "i",
            Self::Uint32(_) => "u",
            Self::Int64(_) => "x",
            Self::Uint64(_) => "t",
            Self::Double(_) => "d",
            Self::String(_) => "s",
            Self::ObjectPath(_) => "o",
            Self::Signature(_) => "g",
            Self::Variant(_) => "v",
            Self::Array(element, _) => return format!("a{element}"),
            Self::Struct(members) => return format!("({})", members.iter().map(Self::signature).collect::<String>()),
            Self::Entry(pair) => return format!("{{{}{}}}", pair.0.signature(), pair.1.signature()),
        };
        plain.to_owned()
    }
}
