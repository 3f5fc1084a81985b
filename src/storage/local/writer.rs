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
use tokio::task::JoinHandle;

use super::temporary::Temporary;
use super::{Disk, lock};
use crate::error::{Error, Result};
use crate::storage::{ObjectName, ObjectWriter, check_range};

/// Writes one object. A piece is written while the caller makes the next one.
pub(super) struct Writer {
    disk: Arc<Disk>,
    name: ObjectName,
    state: State,
    length: u64,
    place: Arc<Place>,
    /// Whether there may be a file at the place that nobody else removes.
    begun: bool,
}

/// Where an object grows. The writer knows it too, since the thread that writes a piece goes on when the writer is gone, and may be
/// cut off with the process before it removes anything.
struct Place {
    path: PathBuf,
    /// The writer is gone: what is here is in vain.
    abandoned: AtomicBool,
}

enum State {
    /// There is no file yet.
    New,
    /// A piece is being written.
    Writing(JoinHandle<Result<Growing>>),
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

impl Writer {
    pub(super) fn new(disk: Arc<Disk>, name: ObjectName) -> Self {
        let path = Temporary::path_in(disk.directory_of(name.as_str()).as_path());
        let place = Arc::new(Place { path, abandoned: AtomicBool::new(false) });
        Self { disk, name, state: State::New, length: 0, place, begun: false }
    }

    /// What a thread needs that goes on with the file, or begins it.
    fn going_on(&mut self) -> (Arc<Disk>, ObjectName, Arc<Place>) {
        self.begun = true;
        (Arc::clone(&self.disk), self.name.clone(), Arc::clone(&self.place))
    }

    /// Waits for the piece under way. The state is lost until the caller sets it again.
    async fn settled(&mut self) -> Result<Option<Growing>> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::New => Ok(None),
            State::Idle(growing) => Ok(Some(growing)),
            State::Writing(task) => task.await.map_err(|e| self.stopped(e))?.map(Some),
            State::Lost => Err(Error::invalid(format!("{}: nothing can be written after an error", self.name))),
        }
    }

    fn stopped(&self, e: tokio::task::JoinError) -> Error {
        Error::unavailable(format!("{}: the work was stopped before it ended", self.name)).caused_by(e)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        // In this order: a file that is made after this looked for it is removed by the thread that made it.
        self.place.abandoned.store(true, Ordering::SeqCst);
        // What cannot be removed stays as garbage that no listing shows.
        let _ignored = fs::remove_file(&self.place.path);
    }
}

impl Place {
    fn require_wanted(&self, name: &str) -> Result<()> {
        if self.abandoned.load(Ordering::SeqCst) {
            return Err(Error::unavailable(format!("{name}: nobody waits for it any more")));
        }
        Ok(())
    }
}

impl Disk {
    /// The directory that an object lies in.
    fn directory_of(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        path.parent().expect("an object's path is longer than the root's").to_owned()
    }

    /// Makes the file that an object grows in.
    fn begin(&self, name: &str, place: &Place) -> Result<Growing> {
        place.require_wanted(name)?;
        self.relieve()?;
        let failures = lock(&self.unsynced).failures;
        let temporary = self.in_directory(name, &self.directory_of(name), || Temporary::create(place.path.clone()))?;
        place.require_wanted(name)?;
        Ok(Growing { temporary, failures })
    }

    fn append(&self, name: &str, growing: &Growing, offset: u64, piece: &[u8]) -> Result<()> {
        growing.temporary.file().write_all_at(piece, offset).map_err(|e| self.trouble(name, "be written", e))
    }

    /// Gives an object its name; the next barrier makes it durable.
    fn name_it(&self, name: &str, growing: Growing) -> Result<()> {
        let path: PathBuf = self.path(name);
        let failed = |e| self.trouble(name, "be written", e);
        let Growing { temporary, failures } = growing;
        let doubtful = lock(&self.unsynced).doubtful.contains(&path);
        let there = if doubtful { Err(temporary) } else { temporary.rename_to_new(&path).map_err(failed)? };
        let file = match there {
            Ok(file) => file,
            // What lies here may be durable and needed by others, so it is exchanged only for something durable.
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
impl ObjectWriter for Writer {
    async fn write(&mut self, piece: Bytes) -> Result<()> {
        let growing = self.settled().await?;
        let ((disk, name, place), offset) = (self.going_on(), self.length);
        self.length += piece.len() as u64;
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            let growing = match growing {
                Some(growing) => growing,
                None => disk.begin(name.as_str(), &place)?,
            };
            disk.append(name.as_str(), &growing, offset, &piece)?;
            Ok(growing)
        }));
        Ok(())
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes> {
        let range = check_range(self.name.as_str(), self.length, Some(range))?;
        let Some(growing) = self.settled().await? else {
            self.state = State::New;
            return Ok(Bytes::new());
        };
        let (disk, name) = (Arc::clone(&self.disk), self.name.clone());
        let read = tokio::task::spawn_blocking(move || {
            let length = usize::try_from(range.end - range.start)
                .map_err(|e| Error::unsupported(format!("{name}: more is asked for than memory holds")).caused_by(e))?;
            let mut bytes = vec![0; length];
            let found = growing.temporary.file().read_exact_at(&mut bytes, range.start);
            found.map_err(|e| disk.trouble(name.as_str(), "be read", e))?;
            Ok::<_, Error>((Bytes::from(bytes), growing))
        });
        let (bytes, growing) = read.await.map_err(|e| self.stopped(e))??;
        self.state = State::Idle(growing);
        Ok(bytes)
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let growing = self.settled().await?;
        let (disk, name, place) = self.going_on();
        let named = tokio::task::spawn_blocking(move || {
            let growing = match growing {
                Some(growing) => growing,
                None => disk.begin(name.as_str(), &place)?,
            };
            disk.name_it(name.as_str(), growing)
        });
        let named = named.await.map_err(|e| self.stopped(e))?;
        // Under its name now, or removed.
        self.begun = false;
        named
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writer({}, {} bytes)", self.name, self.length)
    }
}
