//! Several logs as one: the line that is told next is the oldest of those that come next in each.

use super::cri::Piece;
use super::source::Source;
use skiff_planner::name::InstanceId;
use std::io;
use std::time::SystemTime;

/// Logs that are told together.
#[derive(Debug, Default)]
pub(super) struct Merge {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    /// What comes next.
    next: Option<Piece>,
    /// Nothing more is there; asked again after a look.
    dry: bool,
    /// When the line before was written: what has no time of its own stays behind it.
    last: SystemTime,
    /// The line that is begun is wanted.
    wanted: bool,
}

impl Merge {
    pub(super) fn add(&mut self, source: Source) {
        self.entries.push(Entry { source, next: None, dry: false, last: SystemTime::UNIX_EPOCH, wanted: false });
    }

    pub(super) fn has(&self, instance: &InstanceId) -> bool {
        self.entries.iter().any(|entry| entry.source.instance() == instance)
    }

    /// Goes to the beginning of so many of the last lines of each, and returns how many there are in all.
    pub(super) async fn rewind(&mut self, lines: u64) -> io::Result<u64> {
        let mut found = 0;
        for entry in &mut self.entries {
            found += entry.source.rewind(lines).await?;
        }
        Ok(found)
    }

    /// Looks for what was written since.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        for entry in &mut self.entries {
            entry.source.refresh()?;
            entry.dry = false;
        }
        Ok(())
    }

    /// The next piece, if there is one now, and whose. `wants` is asked once for each line.
    pub(super) fn next(
        &mut self,
        wants: impl FnOnce(&Piece) -> bool,
    ) -> io::Result<Option<(Piece, &InstanceId, bool)>> {
        for entry in &mut self.entries {
            entry.fill()?;
        }
        let waiting = self.entries.iter_mut().filter(|entry| entry.next.is_some());
        let Some(entry) = waiting.min_by_key(|entry| entry.last) else { return Ok(None) };
        let Some(piece) = entry.next.take() else { return Ok(None) };
        if piece.begins {
            entry.wanted = wants(&piece);
        }
        Ok(Some((piece, entry.source.instance(), entry.wanted)))
    }
}

impl Entry {
    fn fill(&mut self) -> io::Result<()> {
        if self.next.is_none() && !self.dry {
            self.next = self.source.next()?;
            self.dry = self.next.is_none();
            if let Some(head) = self.next.as_ref().and_then(|piece| piece.head.as_ref()) {
                self.last = head.at;
            }
        }
        Ok(())
    }
}
