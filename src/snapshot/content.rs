//! Content ids: they depend on what is stored below a name, and not on the name.

use futures::TryStreamExt;

use super::Snapshot;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::id::{ChunkId, NodeId};
use crate::key::{Key, MapKey, Prefix};
use crate::map::{Nowhere, build};

impl Snapshot {
    /// The content id of `prefix`: the root of the canonical map of what lies below it, the prefix removed.
    ///
    /// The same variable has the same id under any name, in any branch, and in any repository of the same hash. References are equal if
    /// container, arguments, offset and length are equal; the state of their files is not compared. For [`Prefix::all`] the id is the
    /// root of the manifest and costs nothing; for other prefixes everything below is read once, with a few nodes in memory. `NotFound`
    /// when there is nothing below `prefix`.
    pub async fn content_id(&self, prefix: &Prefix) -> Result<NodeId> {
        if *prefix == Prefix::all() {
            return Ok(self.record().manifest);
        }
        let inside = prefix.as_str().len();
        let entries = self.list(prefix).map_ok(|(key, entry)| (MapKey::new(key.as_str().get(inside..).unwrap_or_default()), entry));
        let built = build(entries, self.repository().objects().shape(), &mut Nowhere).await?;
        if built.totals.entries == 0 {
            return Err(Error::not_found(format!("nothing lies below {} in snapshot {}", prefix.as_str(), self.id())));
        }
        Ok(built.root)
    }

    /// The content id of the value of `key`: the one that any IPFS node gives these bytes. `None` when there is no such key.
    ///
    /// Returns `Unsupported` for virtual values, whose bytes have never been hashed.
    pub async fn value_id(&self, key: &Key) -> Result<Option<ChunkId>> {
        match self.entry(key).await? {
            None => Ok(None),
            Some(Entry::Chunk { id, .. }) => Ok(Some(id)),
            Some(Entry::Inline(bytes)) => Ok(Some(self.repository().chunks().hash(bytes).await?.id())),
            Some(Entry::Virtual { .. }) => Err(Error::unsupported(format!(
                "{key} is a virtual value, whose bytes have never been hashed; the content id of a prefix tells references apart"
            ))),
        }
    }
}
