//! External files: how they are named inside a repository, and what is known of each.

use std::fmt;

use crate::error::{Error, Result};
use crate::key::MapKey;
use crate::text::shown;
use crate::time::Timestamp;

/// The longest file key, in bytes.
pub(crate) const MAX_FILE_KEY: usize = 4096;

/// The most arguments in a file key. Without this a key of empty arguments would be longer in a node than the cut rule counts.
pub(crate) const MAX_FILE_ARGS: usize = 32;

/// Stands before each argument in a file key.
const SEPARATOR: char = '\u{1f}';

/// Names an external file: a container and the arguments for its template.
///
/// As text the container's name and then, for each argument, U+001F and the argument: the key of the virtual-file
/// manifest. Cheap to clone, since thousands of entries share one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey(MapKey);

impl FileKey {
    /// Puts a file key together; refuses control characters, more than 4,096 bytes and more than 32 arguments as `Invalid`.
    pub fn new<'a>(container: &str, args: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut text = container.to_owned();
        let mut control = container.contains(char::is_control);
        let mut count = 0;
        for arg in args {
            count += 1;
            control |= arg.contains(char::is_control);
            text.push(SEPARATOR);
            text.push_str(arg);
        }
        if container.is_empty() {
            return Err(Error::invalid(format!("file {:?} has no container", shown(&text))));
        }
        if control {
            return Err(Error::invalid(format!("file {:?} has a control character", shown(&text))));
        }
        if count > MAX_FILE_ARGS {
            return Err(Error::invalid(format!("file {:?}… has {count} arguments; at most {MAX_FILE_ARGS} are allowed", shown(&text))));
        }
        if text.len() > MAX_FILE_KEY {
            return Err(Error::invalid(format!(
                "file {:?}… has a name of {} bytes; at most {MAX_FILE_KEY} are allowed",
                shown(&text),
                text.len()
            )));
        }
        Ok(Self(MapKey::new(text)))
    }

    /// How the text of every key begins in `container` whose arguments begin with `args`: all but the last are whole.
    pub(crate) fn beginning(container: &str, has_args: bool, args: &[&str]) -> String {
        let mut text = container.to_owned();
        if has_args && args.is_empty() {
            text.push(SEPARATOR);
        }
        for arg in args {
            text.push(SEPARATOR);
            text.push_str(arg);
        }
        text
    }

    /// Reads the key of an entry of the virtual-file manifest.
    pub fn from_map_key(key: &MapKey) -> Result<Self> {
        let mut parts = key.as_str().split(SEPARATOR);
        Self::new(parts.next().unwrap_or_default(), parts)
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    /// The arguments for the container's template.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.parts().skip(1)
    }

    /// The same string as the maps hold it.
    pub fn as_map_key(&self) -> &MapKey {
        &self.0
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.as_str().split(SEPARATOR)
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.container(), self.args().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a snapshot knows of one external file: how to notice that it changed, and how much depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualFile {
    /// Length of the whole file in bytes, where the source told it.
    pub size: Option<u64>,
    /// When the source last changed the file, where it told; `None` means "not after [`pinned_at`](Self::pinned_at)".
    pub modified: Option<Timestamp>,
    /// A strong `ETag`, without its quotes.
    pub etag: Option<Vec<u8>>,
    /// The version that the source names, where objects have versions.
    pub version: Option<String>,
    /// A multihash of the whole file: the only one of these that notices a change under the same size and date.
    pub digest: Option<Vec<u8>>,
    /// When this was looked up, or when the first reference was staged if the source could not be asked.
    pub pinned_at: Timestamp,
    /// How many keys point into the file.
    pub refs: u64,
    /// The sum of the lengths they point at, in bytes.
    pub bytes: u64,
}
