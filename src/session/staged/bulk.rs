//! Many references at once: written as a run when they come, sorted by nobody if they come in order.

use super::Staged;
use super::run::{Builder, Run, Stored};
use crate::error::Result;
use crate::format::FileKey;
use crate::key::MapKey;
use crate::scratch::Scratch;

/// References on their way into a session, of which it knows nothing before [`finish`](Self::finish).
#[derive(Debug, Default)]
pub(in crate::session) struct Bulk {
    runs: Vec<Run>,
    /// What they take in memory, in bytes.
    held: usize,
    builder: Builder,
}

impl Bulk {
    /// Takes a reference into the file with this number. Its key must follow the last one since [`cut`](Self::cut).
    pub(in crate::session) fn push(&mut self, staged: &mut Staged, key: &str, file: usize, offset: u64, length: u64) -> Result<()> {
        self.builder.push(key, &Stored::Virtual { file, offset, length });
        if self.held + self.builder.held() <= staged.limit / 2 {
            return Ok(());
        }
        let mut scratch = staged.take_scratch()?;
        let spilled = self.spill(&mut scratch);
        staged.scratch = Some(scratch);
        spilled
    }

    fn spill(&mut self, scratch: &mut Scratch) -> Result<()> {
        self.runs.iter_mut().try_for_each(|run| run.spill(scratch))?;
        self.held = 0;
        self.builder.spill(scratch)
    }

    /// Prepares for references that do not follow the last one.
    pub(in crate::session) fn cut(&mut self, staged: &Staged) {
        if let Some(run) = std::mem::take(&mut self.builder).finish(staged.stamp, 0) {
            self.held += run.held();
            self.runs.push(run);
        }
    }

    /// Stages everything, later than anything else. After an error nothing of it is staged.
    pub(in crate::session) fn finish(mut self, staged: &mut Staged) -> Result<()> {
        self.cut(staged);
        let mut overridden = Vec::new();
        for run in &self.runs {
            let mut cursor = run.cursor();
            for (key, _) in staged.memory.range(MapKey::new(run.first())..=MapKey::new(run.last())) {
                if cursor.seek(key.as_str())? && cursor.key == key.as_str() {
                    overridden.push(key.clone());
                }
            }
        }
        for key in &overridden {
            staged.forget(key);
        }
        for run in self.runs {
            staged.push(run);
        }
        Ok(())
    }
}

impl Staged {
    /// The number by which references name `file`.
    pub(in crate::session) fn number(&mut self, file: &FileKey) -> usize {
        self.names.number(file)
    }
}
