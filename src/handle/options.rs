//! How a repository is made and opened.

use std::path::PathBuf;
use std::sync::Arc;

use crate::id::HashAlgorithm;
use crate::objects::UPLOAD_BYTES;
use crate::progress::Progress;
use crate::refs::Patience;
use crate::storage::{CloudOptions, LocalOptions};
use crate::time::{Clock, SystemClock};
use crate::virtuals::Access;

/// How a repository is opened. The default: for reading and writing, with no external place allowed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The places from which virtual data may be read. Default: none, every such read is `Denied`.
    pub access: Access,
    /// How many bytes of decoded nodes are kept in memory, roughly. Default: 64 MiB; 0 reads every node anew.
    pub cache_bytes: u64,
    /// How many bytes of staged changes a session keeps in memory, roughly. Default: 64 MiB; what is more goes to a scratch
    /// file and is merged by the commit. Fewer make more and smaller runs, of which many cost time to merge.
    /// A copy or a move of a prefix needs memory for all its keys besides, until it is staged.
    pub staged_bytes: usize,
    /// How many bytes of values and metadata a session holds for uploads at once: those being read and hashed by an import,
    /// those under way, and those that failed and will be sent again. Default: 256 MiB; rounded to whole KiB, at least 1.
    ///
    /// `set`, the calls for many values, imports and the commit wait for room, so fewer bytes bound memory and slow uploads down. A
    /// value larger than the budget is uploaded alone. At most 64 objects are uploaded at once, whatever their size.
    pub upload_bytes: u64,
    /// The directory of scratch files, of sessions and of CAR exports. They have no names, and their space is freed with the session or
    /// the export. Default: `TMPDIR`, else `/tmp`. If that file system is in memory (tmpfs), scratch files save no memory.
    pub scratch: Option<PathBuf>,
    /// The clock that stamps commits and moves. Default: the operating system's.
    pub clock: Arc<dyn Clock>,
    /// How a directory on local disk is used. Default: network and FUSE file systems are refused for writing.
    pub local: LocalOptions,
    /// Receives reports of how far long operations have come. Default: no reports.
    pub progress: Option<Arc<dyn Progress>>,
    /// How an object store is reached. Default: without settings or credentials. See [`from_environment`](Self::from_environment).
    pub cloud: CloudOptions,
    pub(crate) patience: Patience,
    read_only: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            access: Access::default(),
            cache_bytes: 64 << 20,
            staged_bytes: 64 << 20,
            upload_bytes: UPLOAD_BYTES,
            scratch: None,
            clock: Arc::new(SystemClock),
            local: LocalOptions::default(),
            progress: None,
            cloud: CloudOptions::default(),
            patience: Patience::default(),
            read_only: false,
        }
    }
}

impl OpenOptions {
    /// Reaches object stores as `cloud` says.
    #[must_use]
    pub fn cloud(mut self, cloud: CloudOptions) -> Self {
        self.cloud = cloud;
        self
    }

    /// Keeps at most about `bytes` of decoded nodes in memory.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Keeps at most about `bytes` of staged changes in memory for each session.
    #[must_use]
    pub fn staged_bytes(mut self, bytes: usize) -> Self {
        self.staged_bytes = bytes;
        self
    }

    /// Puts scratch files into `directory`.
    #[must_use]
    pub fn scratch(mut self, directory: impl Into<PathBuf>) -> Self {
        self.scratch = Some(directory.into());
        self
    }

    /// The default with the settings and credentials of object stores that the environment variables of this process name, as
    /// [`CloudOptions`] lists them.
    pub fn from_environment() -> Self {
        Self { cloud: CloudOptions::from_environment(), ..Self::default() }
    }

    /// Allows virtual data to be read from the places of `access`.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Holds at most `bytes` for uploads at once.
    #[must_use]
    pub fn upload_bytes(mut self, bytes: u64) -> Self {
        self.upload_bytes = bytes;
        self
    }

    /// Stamps commits by another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `progress` how far long operations have come.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Refuses every call that would change the repository.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Retries without pausing: for tests that replay many races, never for a shared store.
    #[must_use]
    pub fn without_pauses(mut self) -> Self {
        self.patience.backoff = crate::backoff::Backoff::NONE;
        self
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }
}

/// How a repository is made. The default: sha2-256, opened as by default.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    /// The hash of every id, for ever. Default: sha2-256, which every IPLD tool knows.
    pub hash: HashAlgorithm,
    /// How it is opened afterwards.
    pub open: OpenOptions,
}

impl From<OpenOptions> for CreateOptions {
    fn from(open: OpenOptions) -> Self {
        Self { open, ..Self::default() }
    }
}

impl CreateOptions {
    /// Chooses the hash.
    #[must_use]
    pub fn hash(mut self, hash: HashAlgorithm) -> Self {
        self.hash = hash;
        self
    }
}
