//! Checks the bytes of a version 1 file before `iroh-car` reads them, and refuses invalid framing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::error::{Error, ErrorKind};
use crate::varint::{self, MalformedVarint};

use super::{MAX_BLOCK, MAX_CID};

/// The longest section, without its length prefix.
const MAX_SECTION: u64 = (MAX_BLOCK + MAX_CID) as u64;

/// How many bytes the four numbers of a CID before its digest have at most.
const HEAD: usize = 4 * 9;

/// The position of the reader. Shared, because `iroh-car` owns the guard.
#[derive(Debug)]
pub(super) struct Position {
    /// The offset of the next byte in the file.
    pub offset: u64,
    /// The offset of the section that is being read, or that was read last.
    pub section: u64,
    /// The length of that section without its prefix.
    pub body: u64,
    /// The first bytes of that section, at most 36: the numbers before the digest of its CID.
    pub head: Vec<u8>,
    /// Why reading stopped.
    pub failure: Option<Error>,
}

/// A reader that lets whole sections through: minimal lengths of 1 to 2 MiB + CID, and an end only between two of them.
#[derive(Debug)]
pub(super) struct Guard<R> {
    inner: R,
    /// Where the data must end, if the file says it.
    end: Option<u64>,
    state: GuardState,
    position: Arc<Mutex<Position>>,
}

#[derive(Debug)]
enum GuardState {
    Length(varint::Decoder),
    Body { left: u64 },
}

/// A handle on the position of a guard that `iroh-car` owns.
#[derive(Debug)]
pub(super) struct Watch(Arc<Mutex<Position>>);

impl Watch {
    pub(super) fn lock(&self) -> MutexGuard<'_, Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: AsyncRead + Unpin> Guard<R> {
    /// Watches `inner`, whose first byte is at `offset` of the file, and which must end at `end` where that is known.
    pub(super) fn new(inner: R, offset: u64, end: Option<u64>) -> (Self, Watch) {
        let position = Arc::new(Mutex::new(Position { offset, section: offset, body: 0, head: Vec::with_capacity(HEAD), failure: None }));
        let guard = Self { inner, end, state: GuardState::Length(varint::Decoder::default()), position: position.clone() };
        (guard, Watch(position))
    }

    fn ended(&self, at: &Position) -> Result<(), Error> {
        let Position { offset, section, .. } = at;
        match &self.state {
            GuardState::Length(decoder) if decoder.is_empty() => match self.end {
                Some(end) if *offset != end => Err(Error::corrupt(format!(
                    "the CAR file is truncated: it ends at byte {offset}, though its header says that data goes to byte {end}"
                ))),
                _ => Ok(()),
            },
            _ => Err(Error::corrupt(format!("the CAR file is truncated: it ends at byte {offset}, within the section at byte {section}"))),
        }
    }

    /// Judges bytes that have just been read: one byte of a length, or a part of a section.
    fn took(&mut self, bytes: &[u8], at: &mut Position) -> Result<(), Error> {
        match &mut self.state {
            GuardState::Body { left } => {
                let missing = HEAD - at.head.len();
                at.head.extend(bytes.iter().take(missing));
                *left -= bytes.len() as u64;
                if *left == 0 {
                    self.state = GuardState::Length(varint::Decoder::default());
                }
            }
            GuardState::Length(decoder) => {
                if decoder.is_empty() {
                    at.section = at.offset;
                    at.head.clear();
                }
                for &byte in bytes {
                    if let Some(left) = length(decoder, byte, at.section)? {
                        at.body = left;
                        self.state = GuardState::Body { left };
                        break;
                    }
                }
            }
        }
        at.offset += bytes.len() as u64;
        Ok(())
    }
}

/// Takes one byte of the length of the section at byte `section`; `Some` when it was the last.
fn length(decoder: &mut varint::Decoder, byte: u8, section: u64) -> Result<Option<u64>, Error> {
    match decoder.push(byte) {
        Ok(None) => Ok(None),
        Ok(Some(len @ 1..=MAX_SECTION)) => Ok(Some(len)),
        Ok(Some(len)) => {
            Err(Error::corrupt(format!("the CAR section at byte {section} says it has {len} bytes; 1 to {MAX_SECTION} are allowed")))
        }
        Err(MalformedVarint::TooLong) => Err(Error::corrupt(format!("the length of the CAR section at byte {section} is too long"))),
        Err(MalformedVarint::NotMinimal) => {
            Err(Error::corrupt(format!("the length of the CAR section at byte {section} is not in its shortest form")))
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Guard<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Never past the end of what is being read, so that every byte is judged before the next is asked for.
        let most = match this.state {
            GuardState::Length(_) => 1,
            GuardState::Body { left } => usize::try_from(left).unwrap_or(usize::MAX),
        };
        let most = most.min(out.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(out.initialize_unfilled_to(most));
        let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part));
        let bytes = part.filled();
        let position = this.position.clone();
        let mut at = position.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = match read {
            Err(e) => Err(not_read(at.offset, e)),
            Ok(()) if bytes.is_empty() => this.ended(&at),
            Ok(()) => this.took(bytes, &mut at),
        };
        if let Err(e) = judged {
            let stop = io::Error::new(io::ErrorKind::InvalidData, e.to_string());
            at.failure.get_or_insert(e);
            return Poll::Ready(Err(stop));
        }
        let count = bytes.len();
        out.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// The error of a read that failed at byte `offset` of the file.
pub(super) fn not_read(offset: u64, e: io::Error) -> Error {
    Error::new(ErrorKind::of_system(&e), format!("reading the CAR file failed at byte {offset}")).caused_by(e)
}
