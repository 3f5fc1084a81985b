//! Objects that are written piece by piece: a temporary that grows, and gets its name at the end.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::temporary::Temporary;
use super::{Disk, lock};
use crate::blocking::{Blocking, blocking};
use crate::error::{Error, Result};
use crate::storage::{ObjectName, ObjectWriter, check_range, layout};

/// What an object is called in messages before it has a name.
const UNNAMED: &str = "a new object";
/// What errors call the work on other threads.
const WORK: &str = "writing a new object";

/// Writes one object. A piece is written while the caller makes the next one.
pub(super) struct LocalWriter {
    disk: Arc<Disk>,
    state: WriterState,
    length: u64,
    place: Arc<WriterPlace>,
    /// Whether there may be a file at the place that only this writer removes.
    begun: bool,
}

/// The file in which an object is written. The writer knows it too, because the thread that writes a piece goes on after the writer was
/// dropped, and may end with the process before it removes the file.
struct WriterPlace {
    path: PathBuf,
    /// The writer was dropped: the file is to be removed.
    abandoned: AtomicBool,
}

enum WriterState {
    /// There is no file yet.
    New,
    /// A piece is being written.
    Writing(Blocking<Growing>),
    Idle(Growing),
    /// An error, or a caller that stopped waiting: what the file holds is not known.
    Lost,
}

/// A file on its way to its name.
struct Growing {
    temporary: Temporary,
    /// How many barriers had failed when it was begun.
    failures: u64,
}

impl LocalWriter {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        let path = Temporary::path_in(&disk.nursery());
        let place = Arc::new(WriterPlace { path, abandoned: AtomicBool::new(false) });
        Self { disk, state: WriterState::New, length: 0, place, begun: false }
    }

    /// What a thread needs to make the file, or to go on writing it.
    fn going_on(&mut self) -> (Arc<Disk>, Arc<WriterPlace>) {
        self.begun = true;
        (Arc::clone(&self.disk), Arc::clone(&self.place))
    }

    /// Waits for the piece under way. The state is lost until the caller sets it again.
    async fn settled(&mut self) -> Result<Option<Growing>> {
        match std::mem::replace(&mut self.state, WriterState::Lost) {
            WriterState::New => Ok(None),
            WriterState::Idle(growing) => Ok(Some(growing)),
            WriterState::Writing(task) => task.await.map(Some),
            WriterState::Lost => Err(Error::invalid(format!("{UNNAMED}: nothing can be written after an error"))),
        }
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        // In this order: a file that is made after this looked for it is removed by the thread that made it.
        self.place.abandoned.store(true, Ordering::SeqCst);
        // If it cannot be removed, it stays as garbage that no listing shows.
        let _ignored = fs::remove_file(&self.place.path);
    }
}

impl WriterPlace {
    fn require_wanted(&self) -> Result<()> {
        if self.abandoned.load(Ordering::SeqCst) {
            return Err(Error::unavailable(format!("{UNNAMED}: its writer was dropped")));
        }
        Ok(())
    }
}

impl Disk {
    /// The directory for objects whose name is not known yet: above the directories that they may end in, on the same file system.
    fn nursery(&self) -> PathBuf {
        self.path(layout::CHUNKS)
    }

    /// Makes the file that an object grows in.
    fn begin(&self, place: &WriterPlace) -> Result<Growing> {
        place.require_wanted()?;
        self.relieve()?;
        let failures = lock(&self.unsynced).failures;
        let temporary = self.in_directory(UNNAMED, &self.nursery(), || Temporary::create(place.path.clone()))?;
        place.require_wanted()?;
        Ok(Growing { temporary, failures })
    }

    fn append(&self, growing: &Growing, offset: u64, piece: &[u8]) -> Result<()> {
        growing.temporary.file().write_all_at(piece, offset).map_err(|e| self.trouble(UNNAMED, "be written", e))
    }

    /// Gives an object its name; the next barrier makes it durable.
    fn name_it(&self, name: &str, growing: Growing) -> Result<()> {
        let path: PathBuf = self.path(name);
        let failed = |e| self.trouble(name, "be written", e);
        let Growing { temporary, failures } = growing;
        let directory = path.parent().expect("an object's path is longer than the root's");
        self.in_directory(name, directory, || Ok(()))?;
        let doubtful = lock(&self.unsynced).doubtful.contains(&path);
        let there = if doubtful { Err(temporary) } else { temporary.rename_to_new(&path).map_err(failed)? };
        let file = match there {
            Ok(file) => file,
            // The existing file may be durable and in use, so it is replaced only by a durable one.
            Err(temporary) => {
                temporary.sync().map_err(failed)?;
                temporary.rename_over(&path).map_err(failed)?
            }
        };
        if lock(&self.unsynced).insert(&path, file, self.options.sync_individually, failures) {
            return Ok(());
        }
        Err(Error::unavailable(format!("{name}: a sync failed while it was being written, so it must be written again")))
    }
}

#[async_trait]
impl ObjectWriter for LocalWriter {
    async fn write(&mut self, piece: Bytes) -> Result<()> {
        let growing = self.settled().await?;
        let ((disk, place), offset) = (self.going_on(), self.length);
        self.length += piece.len() as u64;
        self.state = WriterState::Writing(blocking(WORK, move || {
            let growing = match growing {
                Some(growing) => growing,
                None => disk.begin(&place)?,
            };
            disk.append(&growing, offset, &piece)?;
            Ok(growing)
        }));
        Ok(())
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes> {
        let range = check_range(UNNAMED, self.length, range)?;
        let Some(growing) = self.settled().await? else {
            self.state = WriterState::New;
            return Ok(Bytes::new());
        };
        let disk = Arc::clone(&self.disk);
        let read = blocking(WORK, move || {
            let length = usize::try_from(range.end - range.start)
                .map_err(|e| Error::unsupported(format!("{UNNAMED}: more is asked for than memory holds")).caused_by(e))?;
            let mut bytes = vec![0; length];
            let found = growing.temporary.file().read_exact_at(&mut bytes, range.start);
            found.map_err(|e| disk.trouble(UNNAMED, "be read", e))?;
            Ok((Bytes::from(bytes), growing))
        });
        let (bytes, growing) = read.await?;
        self.state = WriterState::Idle(growing);
        Ok(bytes)
    }

    async fn finish(mut self: Box<Self>, name: &ObjectName) -> Result<()> {
        let growing = self.settled().await?;
        let ((disk, place), name) = (self.going_on(), name.clone());
        let named = blocking(WORK, move || {
            let growing = match growing {
                Some(growing) => growing,
                None => disk.begin(&place)?,
            };
            disk.name_it(name.as_str(), growing)
        });
        named.await?;
        // It is under its name now.
        self.begun = false;
        Ok(())
    }
}

impl fmt::Debug for LocalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writer({}, {} bytes)", self.disk.root.display(), self.length)
    }
}
