//! The moves of a ref: the latest in its register, the earlier ones in a chain of blocks.

use serde::{Deserialize, Serialize};

use super::collection::rules::{GcRule, holds};
use super::collection::{GcState, ObjectSet, row_of};
use super::record::LATER_VERSION;
use super::{Move, RefRecord, Refs};
use crate::dagcbor;
use crate::error::{Error, Result};
use crate::id::{Cid, HashAlgorithm, NodeId};
use crate::storage::layout::ObjectKind;
use crate::storage::{Extent, ObjectName};

/// How many moves a register holds at most.
pub(super) const KEPT: usize = 16;
/// How many moves one block takes from a full register.
const SPILLED: usize = 8;
/// The most bytes that a block has: each of its moves takes a few hundred.
const MOST_BLOCK: u64 = 64 << 10;
/// Room for the one object that is looked for in a list, in bytes: it never leaves memory.
const BLOCK_SET: usize = 1 << 10;
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

/// Whether these bytes are a block, which then has one form only: for fuzzing.
#[cfg(feature = "testing")]
pub(super) fn is_block(bytes: &[u8]) -> bool {
    dagcbor::decode::<MovesBlock>(bytes, "a block of moves").is_ok_and(|block| {
        assert_eq!(dagcbor::encode(&block), bytes);
        true
    })
}

impl Refs {
    /// Adds a move to `record`; a full register first gives its oldest moves to a block, which is made durable.
    ///
    /// `false`, and nothing is written, when the collection under way, which `state` tells of, condemns a block with that content: an
    /// earlier attempt may have left it behind, and it can be written again when the collection has ended. Earlier collections remove
    /// nothing any more, and a later one finds the block behind the ref or makes the replace fail.
    pub(super) async fn record_move(&self, record: &mut RefRecord, new: Move, state: &GcState) -> Result<bool> {
        if record.moves.len() >= KEPT {
            let spilled: Vec<Move> = record.moves.drain(..SPILLED).collect();
            let v = spilled.iter().map(|one| one.op.version()).max().unwrap_or(1);
            let bytes = dagcbor::encode(&MovesBlock { v, older: record.older, moves: spilled });
            let id = NodeId::of(self.objects.hash(), &bytes);
            if state.is_running() && holds(GcRule::Blocks) {
                let mut touched = ObjectSet::new(BLOCK_SET, &std::env::temp_dir());
                touched.add(row_of(ObjectKind::Moves, id.digest()))?;
                if !self.condemned(state, state.finished(), &touched).await?.is_none() {
                    return Ok(false);
                }
            }
            let cid = id.cid();
            self.storage.put(&ObjectName::moves(&cid), &[bytes.into()]).await?;
            self.storage.barrier().await?;
            record.older = Some(cid);
        }
        record.add_move(new);
        Ok(true)
    }

    /// The blocks of the earlier moves of a ref, the latest first, and their moves.
    pub(crate) async fn blocks_of_moves(&self, record: &RefRecord) -> Result<(Vec<NodeId>, Vec<Move>)> {
        let (mut ids, mut moves, mut older) = (Vec::new(), Vec::new(), record.older);
        while let Some(cid) = older {
            if ids.len() >= MAX_BLOCKS {
                return Err(Error::corrupt("the earlier moves of a ref do not end"));
            }
            let block = self.load_block(&cid).await?;
            ids.push(NodeId::from_cid(&cid)?);
            moves.extend(block.moves);
            older = block.older;
        }
        Ok((ids, moves))
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
        let block: MovesBlock = dagcbor::decode(&bytes, name.as_str())?;
        if block.v > LATER_VERSION {
            return Err(Error::unsupported(format!("{name} has version {}; this build knows {LATER_VERSION}", block.v)));
        }
        Ok(block)
    }
}
