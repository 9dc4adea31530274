//! GVariant's text form, as `org.systemd.property.*` annotations have it: `'text'`, `true`, `uint64 5`, `@as []`,
//! `[('/dev/null', 'rw')]` (GLib, "GVariant Text Format"). Types are those of D-Bus, without `double`, which no property
//! of a unit has; a number without a type is an `int32`.

use super::Value;

/// How deep arrays and tuples may be nested.
const DEEPEST: u32 = 16;
/// Words that say the type of what follows them.
const WORDS: [(&str, &str); 10] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("string", "s"),
    ("objectpath", "o"),
];

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {reason}")]
pub struct Unparsable {
    /// From 1.
    pub at: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// The value that a text stands for.
///
/// # Errors
/// [`Unparsable`].
pub fn parse(text: &str) -> Result<Value, Unparsable> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(None, 0)?;
    parser.blanks();
    if parser.rest().is_empty() { Ok(value) } else { Err(parser.wrong("something follows the value")) }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, reason: &'static str) -> Unparsable {
        Unparsable { at: self.text[..self.at].chars().count() + 1, reason }
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn skip(&mut self, word: &str) -> bool {
        self.blanks();
        let there = self.rest().starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    /// Letters, digits and what numbers are made of besides.
    fn word(&mut self) -> &'a str {
        self.blanks();
        let rest = self.rest();
        let ends = |letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '+' | '-' | '.' | '_');
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// `wanted` is the signature, where it is known from what came before.
    fn value(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, Unparsable> {
        if depth > DEEPEST {
            return Err(self.wrong("values are nested too deep"));
        }
        self.blanks();
        match self.rest().chars().next() {
            Some('@') => self.annotated(wanted, depth),
            Some('[') => self.array(wanted, depth),
            Some('(') => self.tuple(wanted, depth),
            Some('<') => self.variant(wanted, depth),
            Some(quote @ ('\'' | '"')) => self.string(quote, wanted),
            Some('{') => Err(self.wrong("dictionaries are no values of unit properties")),
            Some(_) => self.plain(wanted, depth),
            None => Err(self.wrong("a value is missing")),
        }
    }

    fn annotated(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, Unparsable> {
        self.at += 1;
        let rest = self.rest();
        let signature = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
        if !is_known(signature) {
            return Err(self.wrong("this is not one type, made of the letters of D-Bus"));
        }
        self.agree(wanted, signature)?;
        self.at += signature.len();
        self.value(Some(signature), depth)
    }

    fn agree(&self, wanted: Option<&str>, found: &str) -> Result<(), Unparsable> {
        match wanted {
            Some(wanted) if wanted != found => {
                Err(self.wrong("another type was announced, or came first in the array"))
            }
            _ => Ok(()),
        }
    }

    fn array(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, Unparsable> {
        let mut element = match wanted {
            Some(wanted) => {
                Some(wanted.strip_prefix('a').ok_or_else(|| self.wrong("no array was announced"))?.to_owned())
            }
            None => None,
        };
        self.at += 1;
        let mut values = Vec::new();
        while !self.skip("]") {
            if !values.is_empty() && !self.skip(",") {
                return Err(self.wrong("`,` or `]` is missing"));
            }
            let value = self.value(element.as_deref(), depth + 1)?;
            element.get_or_insert_with(|| value.signature());
            values.push(value);
        }
        let element = element.ok_or_else(|| self.wrong("the type of an empty array is not known; write `@as []`"))?;
        Ok(Value::Array(element, values))
    }

    fn tuple(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, Unparsable> {
        let mut announced = match wanted {
            Some(wanted) => {
                let inner = wanted.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                Some(inner.ok_or_else(|| self.wrong("no tuple was announced"))?)
            }
            None => None,
        };
        self.at += 1;
        let mut members = Vec::new();
        while !self.skip(")") {
            if !members.is_empty() && !self.skip(",") {
                return Err(self.wrong("`,` or `)` is missing"));
            }
            // As in Python, a tuple of one has a comma after it.
            if members.len() == 1 && self.skip(")") {
                break;
            }
            let first = match announced {
                Some(rest) => Some(split(rest).ok_or_else(|| self.wrong("more members than announced"))?),
                None => None,
            };
            members.push(self.value(first.map(|(first, _)| first), depth + 1)?);
            announced = first.map(|(_, rest)| rest);
        }
        if members.is_empty() || announced.is_some_and(|rest| !rest.is_empty()) {
            return Err(self.wrong("the tuple has too few members"));
        }
        Ok(Value::Struct(members))
    }

    fn variant(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, Unparsable> {
        self.agree(wanted, "v")?;
        self.at += 1;
        let inner = self.value(None, depth + 1)?;
        if self.skip(">") { Ok(Value::Variant(Box::new(inner))) } else { Err(self.wrong("`>` is missing")) }
    }

    fn string(&mut self, quote: char, wanted: Option<&str>) -> Result<Value, Unparsable> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let mut letters = self.rest().chars();
            let Some(letter) = letters.next() else { return Err(self.wrong("the closing quote is missing")) };
            self.at += letter.len_utf8();
            match letter {
                '\\' => {
                    let escaped = letters.next().ok_or_else(|| self.wrong("nothing follows the backslash"))?;
                    self.at += escaped.len_utf8();
                    text.push(self.escaped(escaped)?);
                }
                letter if letter == quote => break,
                '\0' => return Err(self.wrong("a string holds no NUL")),
                letter => text.push(letter),
            }
        }
        match wanted {
            None | Some("s") => Ok(Value::String(text)),
            Some("o") if is_path(&text) => Ok(Value::ObjectPath(text)),
            Some("g") if text.is_ascii() && text.len() < 256 => Ok(Value::Signature(text)),
            Some(_) => {
                self.at = start;
                Err(self.wrong("a string does not fit the type that was announced"))
            }
        }
    }

    fn escaped(&mut self, letter: char) -> Result<char, Unparsable> {
        let digits = match letter {
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            'u' => 4,
            'U' => 8,
            other => return Ok(other),
        };
        let number = self.rest().get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let found = number.and_then(char::from_u32).filter(|found| *found != '\0');
        let found = found.ok_or_else(|| self.wrong("hexadecimal digits of a character are missing"))?;
        self.at += digits;
        Ok(found)
    }

    /// A truth, a number, or the word for the type of what follows.
    fn plain(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, Unparsable> {
        let start = self.at;
        let word = self.word();
        if let Some((_, signature)) = WORDS.iter().find(|(name, _)| *name == word) {
            self.agree(wanted, signature)?;
            return self.value(Some(signature), depth + 1);
        }
        if let ("true" | "false", None | Some("b")) = (word, wanted) {
            return Ok(Value::Bool(word == "true"));
        }
        number(word, wanted.unwrap_or("i")).ok_or_else(|| {
            self.at = start;
            self.wrong("this is neither a quoted string nor `true`, `false` or a number of its type")
        })
    }
}

fn number(word: &str, signature: &str) -> Option<Value> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (radix, digits) = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(digits), _) => (16, digits),
        (None, Some(digits)) if !digits.is_empty() => (8, digits),
        _ => (10, digits),
    };
    // Or a second sign would be taken.
    let number = u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))?;
    if negative {
        let number = 0_i64.checked_sub_unsigned(number)?;
        return Some(match signature {
            "n" => Value::Int16(number.try_into().ok()?),
            "i" => Value::Int32(number.try_into().ok()?),
            "x" => Value::Int64(number),
            _ => return None,
        });
    }
    Some(match signature {
        "y" => Value::Byte(number.try_into().ok()?),
        "n" => Value::Int16(number.try_into().ok()?),
        "q" => Value::Uint16(number.try_into().ok()?),
        "i" => Value::Int32(number.try_into().ok()?),
        "u" => Value::Uint32(number.try_into().ok()?),
        "x" => Value::Int64(number.try_into().ok()?),
        "t" => Value::Uint64(number),
        _ => return None,
    })
}

/// D-Bus specification, "Valid Object Paths".
fn is_path(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}

fn split(signature: &str) -> Option<(&str, &str)> {
    super::wire::split_first(signature).ok()
}

/// Whether a signature is one type, and of types that this parser makes.
fn is_known(signature: &str) -> bool {
    let Some((first, "")) = split(signature) else { return false };
    let Some(members) = first.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
        return first.strip_prefix('a').map_or("ybnqiuxtsogv".contains(first), is_known);
    };
    let mut rest = members;
    while let Some((one, others)) = split(rest) {
        if !is_known(one) {
            return false;
        }
        rest = others;
    }
    rest.is_empty() && !members.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn values_are_read_with_their_types() {
        let cases = [
            ("'a b'", Value::string("a b")),
            (r#" "it's\t\"\u00e4\\" "#, Value::string("it's\t\"ä\\")),
            ("true", Value::Bool(true)),
            ("boolean false", Value::Bool(false)),
            ("-7", Value::Int32(-7)),
            ("uint64 0xff", Value::Uint64(255)),
            ("@t 18446744073709551615", Value::Uint64(u64::MAX)),
            ("byte 010", Value::Byte(8)),
            ("int64 -1", Value::Int64(-1)),
            ("-0", Value::Int32(0)),
            ("int64 -9223372036854775808", Value::Int64(i64::MIN)),
            ("objectpath '/a/b_1'", Value::ObjectPath("/a/b_1".into())),
            ("@as []", Value::Array("s".into(), vec![])),
            ("['a','b']", Value::Array("s".into(), vec![Value::string("a"), Value::string("b")])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::Uint32(1), Value::Uint32(2)])),
            ("<true>", Value::Variant(Box::new(Value::Bool(true)))),
            ("(byte 1,)", Value::Struct(vec![Value::Byte(1)])),
            (
                "@a(st) [('/dev/sda', 5)]",
                Value::Array("(st)".into(), vec![Value::Struct(vec![Value::string("/dev/sda"), Value::Uint64(5)])]),
            ),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_told_with_its_place() {
        assert_eq!(wrong(""), "at character 1: a value is missing");
        assert_eq!(wrong("'ä' x"), "at character 5: something follows the value");
        assert!(wrong("[]").contains("write `@as []`"));
        assert!(wrong("infinity").contains("neither a quoted string nor"));
        for text in ["uint64 -1", "byte 256", "--1", "0x", "true 1", "'a", "'\\u12'", "'\\", "@s 5", "@", "@ss ''"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["['a', 1]", "['a' 'b']", "[1", "(1", "()", "<1", "@(st) ('a')", "@s ['a']", "{'a': 1}", "'\0'"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in [
            "@a{sv} []",
            "@() 1",
            "@h 1",
            "objectpath 'a'",
            "uint32 uint64 1",
            "@t true",
            "2.5",
            "@d 1",
            "uint64 -0",
            "byte -1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(wrong(&"[".repeat(1000)).contains("too deep"));
    }
}
