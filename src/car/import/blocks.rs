//! The blocks of a version as they arrive, verified by the reader, each checked against the links to it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Limits;
use super::chunks::OpenTrees;
use super::puts::Puts;
use crate::car::distinct::Name;
use crate::carfile::CarBlock;
use crate::chunk::Hashed;
use crate::error::{Error, Result};
use crate::format::{Commit, Entry, Leaf, Node, VirtualFile};
use crate::handle::Repository;
use crate::id::{ChunkForm, ChunkId, Cid, HashAlgorithm, MapKind, NodeId, SnapshotId, cid_from_bytes};
use crate::map::NodeSink;
use crate::objects::Uploads;

/// What a link demands of the block that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The root.
    Commit,
    /// A node of one of the maps.
    Node(MapKind),
    /// A chunk that is one block, of this many bytes.
    Chunk(u64),
    /// The root of the tree with this number.
    Tree(usize),
}

/// Where the bytes of a block are that has arrived.
#[derive(Debug, Clone, Copy)]
pub(super) enum BlockPlace {
    /// Stored as a snapshot or a node, and never asked for again.
    Object,
    /// Stored as a chunk of this many bytes.
    Chunk(u64),
    /// Leaf of a tree that is stored, or being stored.
    Leaf(usize, u64),
    /// Interior node of such a tree.
    Interior(usize),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) role: Option<Role>,
    pub(super) place: Option<BlockPlace>,
}

impl Known {
    /// Whether the block is where its role wants it.
    const fn is_settled(&self) -> bool {
        match (self.role, self.place) {
            (None, _) | (Some(Role::Chunk(_)), Some(BlockPlace::Chunk(_))) => true,
            (Some(Role::Chunk(_)), _) => false,
            (Some(_), place) => place.is_some(),
        }
    }
}

/// A block that nothing has asked for yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) data: Bytes,
    offset: u64,
}

/// Everything known while a file is read. Memory grows with the number of blocks (about 100 bytes each), not with their bytes.
pub(super) struct Blocks<'r> {
    pub(super) repository: &'r Repository,
    pub(super) limits: Limits,
    /// Nodes on their way.
    uploads: Uploads,
    /// Chunks of one block on their way.
    pub(super) puts: Puts,
    pub(super) known: HashMap<Name, Known>,
    pub(super) held: HashMap<Name, Held>,
    held_bytes: u64,
    /// Where the block begins that is being taken.
    offset: u64,
    /// How far the file has been taken, in bytes.
    taken: u64,
    /// Bytes of the chunks that were linked, each once.
    declared: u64,
    /// Bytes of leaves that went into trees, each as often as it was linked.
    assembled: u64,
    /// Blocks that no version can hold.
    foreign: u64,
    /// Held blocks that something asks for now.
    ready: Vec<Name>,
    pub(super) trees: OpenTrees,
    root: SnapshotId,
    commit: Option<Commit>,
}

/// A version of which every block has arrived.
pub(super) struct CarVersion {
    pub(super) id: SnapshotId,
    pub(super) commit: Commit,
    /// How many other blocks were in the file.
    pub(super) unlinked: u64,
}

impl<'r> Blocks<'r> {
    pub(super) fn new(repository: &'r Repository, root: SnapshotId, limits: Limits) -> Self {
        let known = HashMap::from([(root.to_bytes(), Known { role: Some(Role::Commit), place: None })]);
        Self {
            repository,
            limits,
            uploads: Uploads::new(repository.objects()),
            puts: Puts::new(repository.chunks()),
            known,
            held: HashMap::new(),
            held_bytes: 0,
            offset: 0,
            taken: 0,
            declared: 0,
            assembled: 0,
            foreign: 0,
            ready: Vec::new(),
            trees: OpenTrees::default(),
            root,
            commit: None,
        }
    }

    pub(super) fn hash(&self) -> HashAlgorithm {
        self.repository.hash()
    }

    /// Takes the next block of the file, and everything held that it links.
    pub(super) async fn take(&mut self, block: CarBlock) -> Result<()> {
        let CarBlock { cid, data, offset } = block;
        let Some(name) = name_of(&cid) else {
            self.foreign += 1;
            return Ok(());
        };
        // The format of the file allows a block to be there twice. Both hash to the CID, so both are the same.
        if self.held.contains_key(&name) || self.known.get(&name).is_some_and(|known| known.place.is_some()) {
            self.taken = offset + data.len() as u64;
            return Ok(());
        }
        let len = data.len() as u64;
        (self.offset, self.taken) = (offset, offset + len);
        self.held_bytes += len;
        self.held.insert(name, Held { data, offset });
        self.ready.push(name);
        while let Some(name) = self.ready.pop() {
            if let Some(offset) = self.held.get(&name).map(|held| held.offset) {
                let context = |e: Error| match cid_from_bytes(&name) {
                    Ok(cid) => e.context(format!("block {cid} at byte {offset}")),
                    Err(_) => e,
                };
                self.place(name).await.map_err(context)?;
            }
        }
        self.require_room()
    }

    /// Refuses to go on when more is under way than the limits allow. One block can link many thousand trees, so this is asked
    /// whenever a tree has grown, not only between blocks.
    pub(super) fn require_room(&self) -> Result<()> {
        let offset = self.offset;
        // One chunk may be as large as it is; what comes out of order may not.
        let loose = self.held_bytes + self.trees.loose();
        if loose > self.limits.held {
            return Err(Error::unsupported(format!(
                "up to byte {offset} the CAR file has {loose} bytes of blocks that nothing before them needs; \
                 at most {} are held: write it depth first",
                self.limits.held
            )));
        }
        if self.trees.open() > self.limits.open {
            return Err(Error::unsupported(format!(
                "up to byte {offset} the CAR file has begun more than {} chunks and ended none of them: write it depth first",
                self.limits.open
            )));
        }
        if self.known.len() + self.held.len() > self.limits.blocks {
            return Err(Error::unsupported(format!(
                "up to byte {offset} the CAR file has or links more than {} blocks",
                self.limits.blocks
            )));
        }
        Ok(())
    }

    /// Counts a leaf that is about to be written, before it is.
    pub(super) fn count_leaf(&mut self, len: u64) -> Result<()> {
        self.assembled += len;
        self.require_total(self.assembled)
    }

    /// Counts the chunks that a node links, before any of them is written.
    fn declare(&mut self, leaf: &Leaf<Entry>) -> Result<()> {
        let mut new = HashMap::new();
        for (_, entry) in &leaf.entries {
            if let Entry::Chunk { id, size } = entry
                && self.known.get(&id.to_bytes()).is_none_or(|known| known.role.is_none())
            {
                new.insert(*id, *size);
            }
        }
        self.declared = new.values().fold(self.declared, |sum, size| sum.saturating_add(*size));
        // While the limit grows with the file, chunks may be announced long before their blocks come.
        if self.limits.bytes(self.taken).1 { self.require_total(self.declared) } else { Ok(()) }
    }

    /// Refuses chunks of `total` bytes if that is more than the limit.
    fn require_total(&self, total: u64) -> Result<()> {
        let (most, is_final) = self.limits.bytes(self.taken);
        if total <= most {
            return Ok(());
        }
        let file = match self.limits.file_len {
            Some(len) => format!("a file of {len} bytes"),
            None if is_final => "this import".to_owned(),
            None => format!("the first {} bytes of a file", self.taken),
        };
        Err(Error::invalid(format!(
            "up to byte {} the CAR file describes chunks of {} bytes; at most {most} are allowed for {file} (option max_bytes)",
            self.offset,
            total.max(self.declared)
        )))
    }

    /// Puts a held block where it belongs, if that is known.
    async fn place(&mut self, name: Name) -> Result<()> {
        let Some(data) = self.held.get(&name).map(|held| held.data.clone()) else { return Ok(()) };
        let role = self.known.get(&name).and_then(|known| known.role);
        let waiting = self.trees.take_waiting(&name);
        if role.is_none() && waiting.is_empty() {
            return Ok(());
        }
        self.held.remove(&name);
        self.held_bytes -= data.len() as u64;
        match role {
            Some(Role::Commit) => self.take_commit(name, &data)?,
            Some(Role::Node(MapKind::Files)) => self.take_files(name, &data).await?,
            Some(Role::Node(_)) => self.take_manifest(name, &data).await?,
            Some(Role::Chunk(size)) => self.take_chunk(name, size, data.clone()).await?,
            Some(Role::Tree(_)) | None => {}
        }
        if !waiting.is_empty() {
            self.trees.keep_at_hand(name, data);
            for tree in waiting {
                self.pump(tree).await?;
            }
        }
        Ok(())
    }

    fn take_commit(&mut self, name: Name, data: &Bytes) -> Result<()> {
        let commit = Commit::decode_canonical(data, self.hash())?;
        self.arrived(name, BlockPlace::Object);
        self.link(commit.files.to_bytes(), Role::Node(MapKind::Files))?;
        self.link(commit.manifest.to_bytes(), Role::Node(MapKind::Manifest))?;
        self.commit = Some(commit);
        Ok(())
    }

    async fn take_files(&mut self, name: Name, data: &Bytes) -> Result<()> {
        let node = Arc::new(Node::<VirtualFile>::decode_canonical(data, self.hash())?);
        let id = NodeId::from_cid(&cid_from_bytes(&name)?)?;
        self.uploads.store(id, node.clone()).await?;
        self.arrived(name, BlockPlace::Object);
        self.link_children(&node)
    }

    async fn take_manifest(&mut self, name: Name, data: &Bytes) -> Result<()> {
        let node = Arc::new(Node::<Entry>::decode_canonical(data, self.hash())?);
        let id = NodeId::from_cid(&cid_from_bytes(&name)?)?;
        self.uploads.store(id, node.clone()).await?;
        self.arrived(name, BlockPlace::Object);
        self.link_children(&node)?;
        if let Node::Leaf(leaf) = &*node {
            self.declare(leaf)?;
            for (key, entry) in &leaf.entries {
                if let Entry::Chunk { id, size } = entry {
                    self.link_chunk(*id, *size).await.map_err(|e| e.context(key))?;
                }
            }
        }
        Ok(())
    }

    fn link_children<V: crate::format::Value>(&mut self, node: &Node<V>) -> Result<()> {
        let Node::Branch(branch) = node else { return Ok(()) };
        branch.children.iter().try_for_each(|child| self.link(child.id.to_bytes(), Role::Node(V::KIND)))
    }

    /// Asks for a block that only one place can link: no two nodes of a version are equal.
    fn link(&mut self, name: Name, role: Role) -> Result<()> {
        let known = self.known.entry(name).or_default();
        if known.role.is_some() {
            return Err(Error::corrupt(format!("node {} is linked twice", cid_from_bytes(&name)?)));
        }
        known.role = Some(role);
        if self.held.contains_key(&name) {
            self.ready.push(name);
        }
        Ok(())
    }

    async fn link_chunk(&mut self, id: ChunkId, size: u64) -> Result<()> {
        let name = id.to_bytes();
        let known = self.known.get(&name).copied().unwrap_or_default();
        match known.role {
            Some(Role::Chunk(other)) if other == size => return Ok(()),
            Some(Role::Tree(tree)) if self.trees.size(tree) == Some(size) => return Ok(()),
            Some(_) => return Err(Error::corrupt(format!("chunk {id} has {size} bytes here and another size elsewhere"))),
            None => {}
        }
        if size > self.limits.chunk {
            return Err(Error::unsupported(format!("chunk {id} has {size} bytes; chunks of at most {} are imported", self.limits.chunk)));
        }
        match id.form() {
            ChunkForm::Raw => {
                self.known.entry(name).or_default().role = Some(Role::Chunk(size));
                if known.place.is_some() {
                    // It came as a leaf of a larger chunk; now it is asked for as a chunk of its own.
                    let data = self.fetch(name).await?;
                    self.take_chunk(name, size, data).await?;
                } else if self.held.contains_key(&name) {
                    self.ready.push(name);
                }
            }
            ChunkForm::UnixFs => {
                let assembler = self.repository.chunks().assemble(id, size)?;
                let tree = self.trees.add(id, size, assembler);
                self.known.entry(name).or_default().role = Some(Role::Tree(tree));
                self.pump(tree).await?;
            }
        }
        Ok(())
    }

    /// Stores a chunk that is one block.
    pub(super) async fn take_chunk(&mut self, name: Name, size: u64, data: Bytes) -> Result<()> {
        let id = ChunkId::from_cid(&cid_from_bytes(&name)?)?;
        self.puts.push(Hashed::from_block(id, size, data)?).await?;
        self.arrived(name, BlockPlace::Chunk(size));
        Ok(())
    }

    pub(super) fn arrived(&mut self, name: Name, place: BlockPlace) {
        self.known.entry(name).or_default().place = Some(place);
    }

    /// Takes a held block away for a tree; `None` when it is not held.
    pub(super) fn release(&mut self, name: &Name) -> Option<Bytes> {
        let held = self.held.remove(name)?;
        self.held_bytes -= held.data.len() as u64;
        Some(held.data)
    }

    /// Ends the file, `end` bytes long: no linked block may be missing.
    pub(super) async fn finish(mut self, end: u64) -> Result<CarVersion> {
        let linked = self.known.iter().filter(|(_, known)| !known.is_settled()).map(|(name, _)| *name);
        let missing: Vec<Name> = linked.chain(self.trees.waiting()).collect();
        if let Some(first) = missing.iter().min() {
            let cid = cid_from_bytes(first)?;
            return Err(Error::corrupt(format!(
                "the CAR file ends at byte {end} and lacks blocks that are linked in it, among them {cid}: it is truncated, or not whole"
            )));
        }
        let commit = self.commit.take().ok_or_else(|| Error::corrupt(format!("the CAR file lacks its root {}", self.root)))?;
        // Other maps have the same empty root, and that one alone.
        if !commit.parents.is_empty() && self.known.contains_key(&commit.history.to_bytes()) {
            return Err(Error::corrupt(format!(
                "the history of version {} is node {}, a part of another of its maps",
                self.root, commit.history
            )));
        }
        self.uploads.finish().await?;
        self.puts.finish().await?;
        Ok(CarVersion { id: self.root, commit, unlinked: self.foreign + self.held.len() as u64 })
    }
}

/// The binary CID; `None` for a CID that has another length than those that a version links.
fn name_of(cid: &Cid) -> Option<Name> {
    cid.to_bytes().try_into().ok()
}
