//! Reads a CAR file from its beginning to its end, section by section; a section becomes a block by hashing to its CID.

use std::io::Cursor;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader, Chain, Take};

use crate::error::{Error, Result};
use crate::id::{Cid, HashAlgorithm};
use crate::varint;

use super::guard::{Guard, Watch, not_read};
use super::{MAX_BLOCK, MAX_HEADER, header, v2};

/// A block whose bytes hash to its CID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CarBlock {
    /// The CID, as the file has it: version 0 or 1.
    pub cid: Cid,
    /// At most 2 MiB.
    pub data: Bytes,
    /// Where its section begins in the file, in bytes.
    pub offset: u64,
}

/// A block as the file has it, whose bytes have not been compared with its CID.
#[derive(Debug)]
pub(crate) struct Section(CarBlock);

impl Section {
    /// How many bytes it has.
    pub(crate) const fn len(&self) -> usize {
        self.0.data.len()
    }

    /// The block, if its bytes hash to its CID: `Corrupt`, naming the offset, when they do not; `Unsupported` for a hash that is
    /// neither sha2-256 nor blake3 with 32 bytes.
    pub(crate) fn verify(self) -> Result<CarBlock> {
        let Self(block) = self;
        verify(&block.cid, &block.data).map_err(|e| e.context(format!("the CAR section at byte {}", block.offset)))?;
        Ok(block)
    }
}

type CarSource<R> = Chain<Cursor<Vec<u8>>, Take<BufReader<Peeked<R>>>>;
/// The first bytes of a file, which have been looked at, and the rest.
type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// The code of the hash that is no hash: the digest is the data.
const IDENTITY: u64 = 0;
/// The longest digest that `cid::Cid` holds.
const MOST_DIGEST: u64 = 64;

/// How compressed files begin. No CAR file does: its second byte begins a map.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
];

/// Reads sections in order. Holds one section and a buffer of 64 KiB, whatever the file says.
#[derive(Debug)]
pub(crate) struct CarReader<R> {
    sections: iroh_car::CarReader<Guard<CarSource<R>>>,
    watch: Watch,
    roots: Vec<Cid>,
    failed: bool,
}

impl<R: AsyncRead + Unpin> CarReader<R> {
    /// Reads the header, of version 1 or 2.
    ///
    /// `Corrupt` when it is damaged, cut, or longer than 64 KiB; `Unsupported` for another version; `Invalid` for a compressed file.
    pub(crate) async fn open(reader: R) -> Result<Self> {
        let mut reader = BufReader::with_capacity(64 << 10, peek(reader).await?);
        let mut head = read_header(&mut reader, 0).await?;
        let (mut start, mut size) = (0, None);
        if head == v2::PRAGMA {
            start = 1 + v2::PRAGMA.len() as u64;
            let mut fixed = [0; v2::HEADER];
            fill(&mut reader, &mut fixed, start).await?;
            start += v2::HEADER as u64;
            let inner = v2::decode(&fixed)?;
            skip(&mut reader, inner.skip, start).await?;
            start += inner.skip;
            size = Some(inner.size);
            head = read_header(&mut reader, start).await?;
        }
        let roots = header::decode(&head).map_err(|e| e.context(format!("the CAR header at byte {start}")))?;

        // What was read goes through the guard once more, to keep the counting in one place.
        let mut replay = Vec::new();
        varint::put(&mut replay, head.len() as u64);
        replay.extend(head);
        let left = match size {
            None => u64::MAX,
            Some(size) => size
                .checked_sub(replay.len() as u64)
                .ok_or_else(|| Error::corrupt(format!("the CAR data at byte {start} is shorter than its own header")))?,
        };
        let source = Cursor::new(replay).chain(reader.take(left));
        let (guard, watch) = Guard::new(source, start, size.map(|size| start + size));
        let sections = iroh_car::CarReader::new(guard).await.map_err(|e| match watch.lock().failure.take() {
            Some(seen) => seen,
            None => Error::corrupt(format!("the CAR header at byte {start} is not one")).caused_by(e),
        })?;
        Ok(Self { sections, watch, roots, failed: false })
    }

    /// The roots that the header names, at least one.
    pub(crate) fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// How far the file has been read: where the next section begins, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.watch.lock().offset
    }

    /// The next section, of which only the framing has been checked; `None` at the end of the file, which lies between two
    /// sections.
    ///
    /// `Corrupt`, naming the offset, for bytes that are no section. After an error there is nothing more to read: every further call
    /// is `Invalid`.
    pub(crate) async fn next_section(&mut self) -> Result<Option<Section>> {
        if self.failed {
            return Err(Error::invalid("the CAR file cannot be read past its first error"));
        }
        // Set until the section is found good, so that a cancelled call cannot lose its place silently.
        self.failed = true;
        let found = match self.sections.next_block().await {
            Err(e) => Err(failure(&self.watch, e)),
            Ok(None) => Ok(None),
            Ok(Some((cid, data))) => self.section(cid, data).map(Some),
        }?;
        self.failed = false;
        Ok(found)
    }

    fn section(&self, cid: Cid, data: Vec<u8>) -> Result<Section> {
        let (offset, body) = {
            let at = self.watch.lock();
            (at.section, at.body)
        };
        if cid.encoded_len() as u64 + data.len() as u64 != body {
            return Err(Error::corrupt(format!("the CID {cid} in the CAR section at byte {offset} is not in its shortest form")));
        }
        if data.len() > MAX_BLOCK {
            let message = format!("block {cid} at byte {offset} has {} bytes; at most {MAX_BLOCK} are allowed", data.len());
            return Err(Error::corrupt(message));
        }
        Ok(Section(CarBlock { cid, data: data.into(), offset }))
    }
}

/// Checks that `data` hashes to `cid`: `Corrupt` with both digests, or `Unsupported` for other hashes than sha2-256 and
/// blake3 with 32 bytes (an identity CID carries its data itself and needs no block).
pub(crate) fn verify(cid: &Cid, data: &[u8]) -> Result<()> {
    let multihash = cid.hash();
    let known = [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3].into_iter().find(|hash| hash.code() == multihash.code());
    let Some(hash) = known.filter(|_| multihash.digest().len() == 32) else {
        let (code, len) = (multihash.code(), multihash.digest().len());
        return Err(Error::unsupported(format!("block {cid} has {}", other_digest(code, len as u64))));
    };
    let digest = hash.digest(data);
    if digest.as_bytes() == multihash.digest() {
        return Ok(());
    }
    let found = cid::multihash::Multihash::wrap(hash.code(), digest.as_bytes()).ok();
    let found = found.map_or_else(String::new, |hash| match cid.version() {
        cid::Version::V0 => Cid::new_v0(hash).map_or_else(|e| e.to_string(), |cid| cid.to_string()),
        cid::Version::V1 => Cid::new_v1(cid.codec(), hash).to_string(),
    });
    Err(Error::corrupt(format!("block {cid} has {} bytes that hash to {found}", data.len())))
}

/// What a digest is that nothing here can check.
fn other_digest(code: u64, len: u64) -> String {
    if code == IDENTITY {
        return format!("an identity CID of {len} bytes, which holds its data itself; only sha2-256 and blake3 are supported");
    }
    format!("a digest of hash 0x{code:x} with {len} bytes, not sha2-256 or blake3")
}

/// Why reading stopped: what the guard saw, else what `iroh-car` did not understand. It knows digests of at most 64 bytes.
fn failure(watch: &Watch, e: iroh_car::Error) -> Error {
    let mut at = watch.lock();
    let section = at.section;
    if let Some(seen) = at.failure.take() {
        return seen;
    }
    match long_digest(&at.head, at.body) {
        Some((code, len)) => Error::unsupported(format!("the CAR section at byte {section} has {}", other_digest(code, len))),
        None => Error::corrupt(format!("the CAR section at byte {section} does not begin with a CID")),
    }
    .caused_by(e)
}

/// The code and the length of a digest of more than 64 bytes, if a section of `body` bytes that begins with `head` has a CID with one.
fn long_digest(head: &[u8], body: u64) -> Option<(u64, u64)> {
    let mut rest = head;
    let version = varint::take(&mut rest)?;
    let _codec = varint::take(&mut rest)?;
    let (code, len) = (varint::take(&mut rest)?, varint::take(&mut rest)?);
    let left = body.checked_sub((head.len() - rest.len()) as u64)?;
    (version == 1 && (MOST_DIGEST + 1..=left).contains(&len)).then_some((code, len))
}

/// Looks at the first bytes: `Invalid` when they are those of a compressed file.
async fn peek<R: AsyncRead + Unpin>(mut reader: R) -> Result<Peeked<R>> {
    let mut begin = Vec::new();
    let longest = COMPRESSED.iter().map(|(magic, _)| magic.len()).max().unwrap_or_default();
    let read = (&mut reader).take(longest as u64).read_to_end(&mut begin).await;
    read.map_err(|e| not_read(begin.len() as u64, e))?;
    match COMPRESSED.iter().find(|(magic, _)| begin.starts_with(magic)) {
        Some((_, name)) => Err(Error::invalid(format!("not a CAR file: it is compressed with {name}; decompress it first"))),
        None => Ok(Cursor::new(begin).chain(reader)),
    }
}

/// The bytes of a header at `start`, without their length.
async fn read_header<R: AsyncRead + Unpin>(reader: &mut R, start: u64) -> Result<Vec<u8>> {
    let mut decoder = varint::Decoder::default();
    let mut offset = start;
    let len = loop {
        let mut byte = [0];
        fill(reader, &mut byte, offset).await?;
        offset += 1;
        let [byte] = byte;
        match decoder.push(byte) {
            Ok(None) => {}
            Ok(Some(len)) => break len,
            Err(_) => {
                return Err(Error::corrupt(format!("the length of the CAR header at byte {start} is not a number in its shortest form")));
            }
        }
    };
    let in_bounds = usize::try_from(len).ok().filter(|len| (1..=MAX_HEADER).contains(len));
    let len = in_bounds
        .ok_or_else(|| Error::corrupt(format!("the CAR header at byte {start} says it has {len} bytes; 1 to {MAX_HEADER} are allowed")))?;
    let mut bytes = vec![0; len];
    fill(reader, &mut bytes, offset).await?;
    Ok(bytes)
}

/// Fills `out` from byte `offset` of the file.
async fn fill<R: AsyncRead + Unpin>(reader: &mut R, out: &mut [u8], offset: u64) -> Result<()> {
    reader.read_exact(out).await.map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::corrupt(format!("the CAR file is truncated: it ends within the {} bytes of header at byte {offset}", out.len()))
        }
        _ => not_read(offset, e),
    })
}

/// Reads over `count` bytes from byte `offset` of the file.
async fn skip<R: AsyncRead + Unpin>(reader: &mut R, count: u64, offset: u64) -> Result<()> {
    let skipped = tokio::io::copy(&mut reader.take(count), &mut tokio::io::sink()).await;
    let skipped = skipped.map_err(|e| not_read(offset, e))?;
    if skipped == count {
        return Ok(());
    }
    let end = offset + skipped;
    Err(Error::corrupt(format!("the CAR file is truncated: it ends at byte {end}, before its data at byte {}", offset + count)))
}
