//! The lines of a log as Kubernetes writes them: time, stream, `F` for a whole line or `P` for a part of one, text.

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Longer lines are split, so that a stream without line ends needs no more memory than this.
pub(crate) const LONGEST: usize = 16 << 10;

/// What has come of a line whose end has not.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// Appends to `log` the lines that `bytes` complete.
    pub(crate) fn take(&mut self, mut bytes: &[u8], time: &str, log: &mut Vec<u8>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.parts(&bytes[..end], time, log);
            self.line(time, b'F', log);
            bytes = &bytes[end + 1..];
        }
        self.parts(bytes, time, log);
    }

    /// Appends a last line that never got an end.
    pub(crate) fn finish(&mut self, time: &str, log: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            self.line(time, b'F', log);
        }
    }

    fn parts(&mut self, mut bytes: &[u8], time: &str, log: &mut Vec<u8>) {
        while self.begun.len() + bytes.len() > LONGEST {
            let (now, later) = bytes.split_at(LONGEST - self.begun.len());
            self.begun.extend_from_slice(now);
            self.line(time, b'P', log);
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }

    fn line(&mut self, time: &str, tag: u8, log: &mut Vec<u8>) {
        let stream: &[u8] = match self.stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        };
        for part in [time.as_bytes(), stream, &[tag, b' '], &self.begun, b"\n"] {
            log.extend_from_slice(part);
        }
        // A long line once is no reason to keep its memory for ever.
        if self.begun.capacity() > 1024 { self.begun = Vec::new() } else { self.begun.clear() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(chunks: &[&[u8]]) -> String {
        let mut lines = Lines::new(Stream::Stdout);
        let mut log = Vec::new();
        for chunk in chunks {
            lines.take(chunk, "T", &mut log);
        }
        lines.finish("T", &mut log);
        String::from_utf8(log).unwrap()
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let wanted = "T stdout F one\nT stdout F \nT stdout F two\nT stdout F three\n";
        assert_eq!(log(&[b"one\n\ntwo\nthree"]), wanted);
        assert_eq!(log(&[b"o", b"ne", b"\n", b"\nt", b"wo\nthre", b"e"]), wanted);
        assert_eq!(log(&[b""]), "");
        let mut lines = Lines::new(Stream::Stderr);
        let mut log = Vec::new();
        lines.take(b"x\n", "T", &mut log);
        assert_eq!(log, b"T stderr F x\n");
    }

    #[test]
    fn long_lines_are_split_and_nothing_of_them_is_lost() {
        for extra in [0, 1, LONGEST, LONGEST + 1] {
            let line = vec![b'x'; LONGEST + extra];
            let seen = log(&[&line, b"\nend\n"]);
            let texts: Vec<_> = seen.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
            let parts = seen.lines().filter(|line| line.contains(" P ")).count();
            assert_eq!(parts, (LONGEST + extra - 1) / LONGEST, "{extra}");
            assert_eq!(texts[..texts.len() - 1].concat().len(), line.len());
            assert_eq!(texts.last(), Some(&"end"));
            assert!(seen.lines().all(|line| line.len() <= LONGEST + 20));
        }
    }
}
