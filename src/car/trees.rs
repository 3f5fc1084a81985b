//! The trees of large chunks, each read once for the plan and the writing of a file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::chunk::{ChunkStore, Sized};
use crate::error::{Error, Result};
use crate::unixfs::Tree;

/// How many leaves the trees that are kept may have together: about 100 bytes each, and 1 MiB of a chunk.
const KEPT_LEAVES: u64 = 640 << 10;

/// Reads trees, and keeps them up to a limit. Trees beyond it are read each time.
#[derive(Debug, Default)]
pub(super) struct ChunkTrees(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    cells: HashMap<Sized, Arc<OnceCell<Arc<Tree>>>>,
    leaves: u64,
}

impl ChunkTrees {
    /// The tree of a chunk of more than one block. Callers that ask for the same tree at the same time share one request.
    pub(super) async fn get(&self, chunks: &ChunkStore, chunk: Sized) -> Result<Arc<Tree>> {
        let cell = self.lock().cells.entry(chunk).or_default().clone();
        let read = || async {
            let tree = chunks.tree(&chunk.0, chunk.1).await?;
            tree.map(Arc::new).ok_or_else(|| Error::internal(format!("chunk {} is one block", chunk.0)))
        };
        if let Some(tree) = cell.get() {
            return Ok(tree.clone());
        }
        let mut is_new = false;
        let counted = || {
            is_new = true;
            read()
        };
        let tree = cell.get_or_try_init(counted).await?.clone();
        // Of the callers that waited, the one that read the tree counts it.
        if !is_new {
            return Ok(tree);
        }
        let mut kept = self.lock();
        let leaves = tree.layout().leaves();
        if kept.leaves + leaves > KEPT_LEAVES {
            kept.cells.remove(&chunk);
        } else {
            kept.leaves += leaves;
        }
        Ok(tree)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
