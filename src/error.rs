//! The one public error: a kind that says what to do, a message that names the object, and a source.

use std::error::Error as StdError;
use std::fmt;

use crate::id::SnapshotId;
use crate::time::Timestamp;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, in terms of what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another writer changed what this one wanted to change. Look at both and commit again.
    Conflict,
    /// The named repository, branch, tag, snapshot, key, source file or block does not exist.
    NotFound,
    /// The request is wrong and will stay wrong. Fix the call.
    Invalid,
    /// The reader has not allowed the place of the bytes. Allow it by name, or do not read it.
    Denied,
    /// A source file is not the one that was committed. Pin it anew, or restore it.
    SourceChanged,
    /// The data of an old version was given up on purpose. Its id, its date and the log remain; read a version that is kept.
    Expired,
    /// Stored bytes do not decode, are cut short, or do not match their digest. Run `verify`.
    Corrupt,
    /// Written by a newer version, or needs a feature that this build lacks. Upgrade or rebuild.
    Unsupported,
    /// The store or the source could not be reached, did not answer, or asked us to wait. The same call may succeed later.
    Unavailable,
    /// The operating system does not let this process read or write there: it lacks the permission, or the file system is
    /// mounted read-only. Nothing changes until that does.
    NoPermission,
    /// There is no space left: the disk is full, or a quota is used up. Make room, then try again.
    StorageFull,
    /// Another process holds a lock for longer than this one waits. The same call may succeed later.
    Locked,
    /// A conditional write was sent, and the store could not be asked whether it happened. Settle it later.
    OutcomeUnknown,
    /// A bug in this crate.
    Internal,
}

impl ErrorKind {
    /// The kind of an error of the operating system: a missing permission, a full disk, a name that cannot be used; otherwise
    /// [`Unavailable`](Self::Unavailable). The caller handles "not found" before, because its meaning depends on what was asked for.
    pub fn of_system(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => Self::StorageFull,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Self::NoPermission,
            Io::NotADirectory | Io::IsADirectory | Io::InvalidFilename => Self::Invalid,
            _ => Self::Unavailable,
        }
    }

    /// The word in which messages and JSON name this kind.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "not found",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::SourceChanged => "source changed",
            Self::Expired => "expired",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::NoPermission => "no permission",
            Self::StorageFull => "storage full",
            Self::Locked => "locked",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Internal => "internal",
        }
    }
}

/// What an error is about, more precisely than its [`ErrorKind`], for callers that offer a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorDetail {
    /// The place holds no repository.
    NoRepository,
    /// The place holds refs or snapshots, but no `repo.json`.
    LostConfig {
        /// The hash of the snapshots, such as `sha2-256`; `None` when there is no snapshot.
        hash: Option<&'static str>,
    },
    /// There is no such branch or tag.
    NoRef {
        /// The ref as it is printed: `branch main`, `tag v1`.
        reference: String,
        /// Whether it existed and was deleted, so that its moves are known.
        existed: bool,
    },
    /// The branch `main`, which every repository has, has no record: it was lost, or the creation of the repository was interrupted.
    LostMain,
    /// The file or object of a ref is there, but its bytes cannot be read, so it can be neither read nor replaced.
    BlockedRef {
        /// The ref as it is printed: `branch main`, `tag v1`.
        reference: String,
    },
    /// The record of a ref, or the snapshot that it points at, cannot be read. The ref can be pointed elsewhere or deleted.
    UnreadableRef {
        /// The ref as it is printed: `branch main`, `tag v1`.
        reference: String,
    },
    /// The last event of a branch is stamped more than 10 minutes after this machine's clock.
    FutureBranch {
        /// The name of the branch.
        branch: String,
    },
    /// A snapshot is stamped more than 10 minutes after this machine's clock.
    FutureSnapshot {
        /// The snapshot's id.
        id: String,
    },
    /// The changes of a fork and those of the session that it was taken from are in conflict.
    ForkConflicts {
        /// What both changed, as a [`Conflict`](crate::Conflict) is printed, sorted: at most the first 10,000.
        named: Vec<String>,
        /// How many there are besides.
        more: usize,
    },
    /// The changes of other versions, which were to be applied to a branch, and those of the branch are in conflict.
    MergeConflicts {
        /// What both changed, as a [`Conflict`](crate::Conflict) is printed, by kind and then sorted: at most the first 10,000.
        named: Vec<String>,
        /// How many there are besides.
        more: usize,
    },
    /// The data of a version has expired.
    ExpiredVersion(Box<ExpiredVersion>),
    /// External files that cannot be taken as they are in the place that was asked about.
    FilesRefused {
        /// What is wrong with each, in one line that names it.
        files: Vec<String>,
    },
    /// A garbage collection has begun and could not be ended. Nothing that is needed was removed, and the next collection ends it; until then
    /// writers wait that need what it condemns.
    UnfinishedCollection,
}

/// A version whose data has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredVersion {
    /// Its id.
    pub id: SnapshotId,
    /// When it was committed.
    pub committed: Timestamp,
    /// When its data was given up.
    pub expired: Timestamp,
    /// Who did that, if that was said.
    pub author: Option<String>,
    /// Why.
    pub reason: String,
    /// The first later version of a branch or tag, on the first-parent line, whose data is kept, and when it was committed. `None` when it
    /// is on the line of no branch and no tag.
    pub nearest: Option<(SnapshotId, Timestamp)>,
}

/// An error with its [`ErrorKind`], a message of one line that names the object, and the error that caused it.
pub struct Error {
    kind: ErrorKind,
    detail: Option<Box<ErrorDetail>>,
    message: String,
    remedy: Option<Box<Remedy>>,
    is_of_one_object: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// One step by which a caller can let the same call succeed, where the library knows it.
///
/// Messages do not repeat it, so that each face can name it in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Give the reader this entry, as [`Allow`](crate::Allow) reads it.
    Allow(String),
    /// Pin the external file at this URL anew, if its present content is the intended one.
    Repin(String),
    /// Give the reader this rebinding, as [`Rebind`](crate::Rebind) reads it, in place of the one for the same container.
    Rebind(String),
}

impl Remedy {
    /// The entry, the URL or the rebinding.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Allow(text) | Self::Repin(text) | Self::Rebind(text) => text,
        }
    }
}

impl Error {
    /// Makes an error; `message` is one line in lower case that names the object.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, detail: None, message: message.into(), remedy: None, is_of_one_object: false, source: None }
    }

    /// Attaches the error that led to this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Attaches the step that would help.
    #[must_use]
    pub(crate) fn remedied_by(mut self, remedy: impl Into<Option<Remedy>>) -> Self {
        self.remedy = remedy.into().map(Box::new);
        self
    }

    /// The step that would let the same call succeed, if the library knows one.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.remedy.as_deref()
    }

    /// Says that the error is a condition of the one object that it names: the store was reached, and its other objects can be read.
    ///
    /// A store says so where a file cannot be opened for lack of permission, where the disk cannot read it, and where something else than
    /// a file has its name. Such an object is listed as unreadable and stops nothing else. Without it, an error of a kind other than
    /// `Corrupt`, `NotFound` and `Unsupported` is taken to be about the store as a whole.
    #[must_use]
    pub const fn of_one_object(mut self) -> Self {
        self.is_of_one_object = true;
        self
    }

    /// Whether the store said that the error is a condition of one object, whose bytes cannot be read ([`of_one_object`](Self::of_one_object)).
    pub const fn is_of_one_object(&self) -> bool {
        self.is_of_one_object
    }

    /// A copy for another reader, with the kind, the detail and the message, and without the cause.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self { is_of_one_object: self.is_of_one_object, ..Self::new(self.kind, self.message.clone()) };
        Self { detail: self.detail.clone(), ..copy }
    }

    /// Attaches what the error is about.
    #[must_use]
    pub fn about(mut self, detail: ErrorDetail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// What the error is about, where that is known more precisely than its kind.
    pub fn detail(&self) -> Option<&ErrorDetail> {
        self.detail.as_deref()
    }

    /// Puts the name of the object, or what was being done, before the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Puts a hint behind the message.
    #[must_use]
    pub(crate) fn followed_by(mut self, hint: &str) -> Self {
        self.message.push_str(hint);
        self
    }

    /// What a caller can do about it.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether it says that a stored object is lost or damaged, and not that the store could not be asked.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self.kind, ErrorKind::Corrupt | ErrorKind::NotFound)
    }

    /// Whether the same call may succeed later, without a repair or another change by the user before.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Locked)
    }
}

/// One constructor for each kind, so that a call site reads as the sentence it prints.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $($(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}
constructors! {
    /// An [`ErrorKind::Conflict`].
    conflict => Conflict,
    /// An [`ErrorKind::NotFound`].
    not_found => NotFound,
    /// An [`ErrorKind::Invalid`].
    invalid => Invalid,
    /// An [`ErrorKind::Denied`].
    denied => Denied,
    /// An [`ErrorKind::SourceChanged`].
    source_changed => SourceChanged,
    /// An [`ErrorKind::Expired`].
    expired => Expired,
    /// An [`ErrorKind::Corrupt`].
    corrupt => Corrupt,
    /// An [`ErrorKind::Unsupported`].
    unsupported => Unsupported,
    /// An [`ErrorKind::Unavailable`].
    unavailable => Unavailable,
    /// An [`ErrorKind::NoPermission`].
    no_permission => NoPermission,
    /// An [`ErrorKind::StorageFull`].
    storage_full => StorageFull,
    /// An [`ErrorKind::Locked`].
    locked => Locked,
    /// An [`ErrorKind::OutcomeUnknown`].
    outcome_unknown => OutcomeUnknown,
    /// An [`ErrorKind::Internal`].
    internal => Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        let mut cause = self.source();
        while let Some(c) = cause {
            write!(f, "\n  because {c}")?;
            cause = c.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}
