//! The lines of a log as Kubernetes writes them: time, stream, `F` for a whole line or `P` for a part of one, text. Pure:
//! blocks of bytes become pieces, whatever is in them, and no piece is longer than [`LONGEST`].

use super::Stream;
use crate::clock::rfc3339;
use std::time::SystemTime;

/// The longest piece of a line, in bytes; a longer line comes in several.
pub(super) const LONGEST: usize = 64 << 10;

/// What stands before the text of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its time, to compare.
    pub(super) at: SystemTime,
    /// Its time, as written.
    pub(super) time: String,
    pub(super) stream: Stream,
    pub(super) partial: bool,
}

/// A line, or part of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Absent where the line is none of CRI: what a power cut left, for one.
    pub(super) head: Option<Head>,
    pub(super) text: String,
    /// It is the beginning of its line.
    pub(super) begins: bool,
}

/// Cuts blocks into pieces.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    held: Vec<u8>,
    /// What of it is cut off already.
    done: usize,
    /// The head of a line of which only the first pieces were cut.
    inside: Option<Option<Head>>,
}

impl Cutter {
    /// Adds what comes next.
    pub(super) fn push(&mut self, block: &[u8]) {
        self.held.drain(..std::mem::take(&mut self.done));
        self.held.extend_from_slice(block);
    }

    /// The next piece, if it is complete.
    pub(super) fn next(&mut self) -> Option<Piece> {
        let rest = &self.held[self.done..];
        let end = rest.iter().take(LONGEST + 1).position(|byte| *byte == b'\n');
        match end {
            Some(end) => Some(self.cut(end, 1, true)),
            None if rest.len() > LONGEST => Some(self.cut(LONGEST, 0, false)),
            None => {
                if rest.is_empty() {
                    // A log that is followed and says nothing holds no memory.
                    (self.held, self.done) = (Vec::new(), 0);
                }
                None
            }
        }
    }

    /// The last piece, of a line that never got an end: nothing is to come.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let rest = self.held.len() - self.done;
        let piece = (rest > 0).then(|| self.cut(rest, 0, false));
        *self = Self::default();
        piece
    }

    /// Cuts off so many bytes and leaves out those after them.
    fn cut(&mut self, length: usize, left_out: usize, ends: bool) -> Piece {
        let bytes = &self.held[self.done..self.done + length];
        self.done += length + left_out;
        let begins = self.inside.is_none();
        let (head, text) = match self.inside.take() {
            Some(head) => (head, bytes),
            None => parse(bytes).map_or((None, bytes), |(head, text)| (Some(head), text)),
        };
        let mut piece = Piece { text: String::new(), begins, head };
        if piece.head.is_some() {
            piece.text = String::from_utf8_lossy(text).into_owned();
        }
        if !ends {
            self.inside = Some(piece.head.clone());
            if let Some(head) = &mut piece.head {
                head.partial = true;
            }
        }
        piece
    }
}

/// Reads the beginning of a line, and returns the text after it.
fn parse(line: &[u8]) -> Option<(Head, &[u8])> {
    // File systems fill with zeros what was not on the disk at a power cut; the shim goes on writing after it.
    let zeros = line.iter().take_while(|byte| **byte == 0).count();
    let mut fields = line[zeros..].splitn(4, |byte| *byte == b' ');
    let mut field = || fields.next();
    let time = std::str::from_utf8(field()?).ok()?;
    let at = rfc3339::parse(time)?;
    let stream = match field()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = match field()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let text = field().unwrap_or_default();
    Some((Head { at, time: time.to_owned(), stream, partial }, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-24T08:00:00.000000001Z";

    /// Each piece as `begins, stream, partial, text`, `-` for one without a head.
    fn cut(blocks: &[&[u8]]) -> Vec<String> {
        let mut cutter = Cutter::default();
        let mut seen = Vec::new();
        for block in blocks {
            cutter.push(block);
            seen.extend(std::iter::from_fn(|| cutter.next()));
        }
        seen.extend(cutter.finish());
        assert_eq!(cutter.held.capacity(), 0);
        let told = |piece: Piece| match piece.head {
            Some(head) => format!("{} {:?} {} {}", piece.begins, head.stream, head.partial, piece.text),
            None => format!("{} -", piece.begins),
        };
        seen.into_iter().map(told).collect()
    }

    fn head(line: &str) -> Option<Head> {
        parse(line.as_bytes()).map(|(head, _)| head)
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let log = format!("{TIME} stdout F one\n{TIME} stderr P  two \n{TIME} stdout F \n{TIME} stdout F torn");
        let wanted = ["true Stdout false one", "true Stderr true  two ", "true Stdout false ", "true Stdout true torn"];
        assert_eq!(cut(&[log.as_bytes()]), wanted);
        let bytes: Vec<_> = log.as_bytes().chunks(1).collect();
        assert_eq!(cut(&bytes), wanted);
        assert_eq!(cut(&[]), [""; 0]);
    }

    #[test]
    fn what_is_no_line_harms_no_other() {
        for bad in ["", "x", "T stdout F x", &format!("{TIME} stdin F x"), &format!("{TIME} stdout X x"), TIME] {
            assert_eq!(head(bad), None, "{bad}");
            let log = format!("{TIME} stdout F one\n{bad}\n{TIME} stdout F two\n{bad}");
            assert_eq!(cut(&[log.as_bytes()])[..3], ["true Stdout false one", "true -", "true Stdout false two"]);
        }
        let log = format!("\0\0\0{TIME} stdout F \u{fffd}\0\n");
        assert_eq!(cut(&[log.replace('\u{fffd}', "x").as_bytes()]), ["true Stdout false x\0"]);
        let mut log = format!("{TIME} stdout F ").into_bytes();
        log.extend([0xff, 0xfe, b'\n']);
        assert_eq!(cut(&[&log]), ["true Stdout false \u{fffd}\u{fffd}"]);
        assert_eq!(head(&format!("{TIME} stdout F")).map(|head| head.time), Some(TIME.to_owned()));
    }

    #[test]
    fn long_lines_come_in_pieces_and_nothing_of_them_is_lost() {
        for length in [LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST] {
            let begin = format!("{TIME} stderr F ");
            let text = "x".repeat(length - begin.len());
            let log = format!("{begin}{text}\n{TIME} stdout F end\n");
            for size in [log.len(), 1000] {
                let blocks: Vec<_> = log.as_bytes().chunks(size).collect();
                let mut seen = cut(&blocks);
                assert_eq!(seen.pop().unwrap(), "true Stdout false end");
                assert_eq!(seen.len(), length.div_ceil(LONGEST), "{length} {size}");
                let joined: String = seen.iter().map(|piece| piece.rsplit(' ').next().unwrap()).collect();
                assert_eq!(joined, text);
                let partial = seen.iter().filter(|piece| piece.contains(" true ")).count();
                assert_eq!((partial, seen[0].starts_with("true")), (seen.len() - 1, true));
                assert!(seen[1..].iter().all(|piece| piece.starts_with("false Stderr")));
            }
        }
    }

    #[test]
    fn a_long_line_that_is_none_is_left_out_as_one() {
        let log = format!("{}\n{TIME} stdout F end\n", "x".repeat(2 * LONGEST));
        assert_eq!(cut(&[log.as_bytes()]), ["true -", "false -", "true Stdout false end"]);
    }
}
