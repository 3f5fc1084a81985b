//! The moves of a ref: the latest in its register, the earlier ones in a chain of blocks.

use serde::{Deserialize, Serialize};

use super::{Move, RefRecord, Refs};
use crate::dagcbor;
use crate::error::{Error, Result};
use crate::id::{Cid, HashAlgorithm, NodeId};
use crate::storage::{Extent, ObjectName};

/// How many moves a register holds at most.
pub(super) const KEPT: usize = 16;
/// How many moves one block takes from a full register.
const SPILLED: usize = 8;
/// The most bytes that a block has: each of its moves takes a few hundred.
const MOST_BLOCK: u64 = 64 << 10;
/// How many blocks a reader follows before it gives up on a chain.
const MAX_BLOCKS: usize = 1 << 20;

/// Earlier moves of a ref, oldest first, and the block before it. Stored as canonical DAG-CBOR.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MovesBlock {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    older: Option<Cid>,
    moves: Vec<Move>,
}

impl Refs {
    /// Adds a move to `record`; a full register first gives its oldest moves to a block, which is made durable.
    pub(super) async fn record_move(&self, record: &mut RefRecord, new: Move) -> Result<()> {
        if record.moves.len() >= KEPT {
            let spilled = record.moves.drain(..SPILLED).collect();
            let bytes = dagcbor::encode(&MovesBlock { v: 1, older: record.older, moves: spilled });
            let cid = NodeId::of(self.objects.hash(), &bytes).cid();
            self.storage.put(&ObjectName::moves(&cid), &[bytes.into()]).await?;
            self.storage.barrier().await?;
            record.older = Some(cid);
        }
        record.moves.push(new);
        Ok(())
    }

    /// All moves of a ref from the latest back to the first for which `enough` holds, oldest first.
    pub(crate) async fn moves_back_to(&self, record: &RefRecord, enough: impl Fn(&Move) -> bool) -> Result<Vec<Move>> {
        match self.known_moves_back_to(record, enough).await {
            (moves, None) => Ok(moves),
            (_, Some(error)) => Err(error),
        }
    }

    /// The same as far as they can be read, and why no earlier ones can.
    pub(crate) async fn known_moves_back_to(&self, record: &RefRecord, enough: impl Fn(&Move) -> bool) -> (Vec<Move>, Option<Error>) {
        let mut moves = record.moves.clone();
        let mut older = record.older;
        for _ in 0..MAX_BLOCKS {
            let Some(cid) = older.filter(|_| !moves.first().is_some_and(&enough)) else { return (moves, None) };
            match self.load_block(&cid).await {
                Ok(block) => {
                    moves.splice(..0, block.moves);
                    older = block.older;
                }
                Err(error) => return (moves, Some(error)),
            }
        }
        (moves, Some(Error::corrupt("the earlier moves of a ref do not end")))
    }

    async fn load_block(&self, cid: &Cid) -> Result<MovesBlock> {
        let name = ObjectName::moves(cid);
        let bytes = self.storage.get(&name, Extent::Whole { at_most: MOST_BLOCK }).await?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{name}, which a ref names, does not exist")))?;
        let hash: HashAlgorithm = self.objects.hash();
        let found = NodeId::of(hash, &bytes).cid();
        if found != *cid {
            return Err(Error::corrupt(format!("{name} has digest {found}, but {cid} was asked for")));
        }
        dagcbor::decode(&bytes, name.as_str())
    }
}
