//! Reading standard input in blocks of whole lines, on a thread of its own.

use std::io::{ErrorKind, Read};

use memchr::memrchr;
use tokio::sync::mpsc;

use firnline::Amount;

/// How many bytes are asked for at a time.
const PIECE: usize = 256 << 10;

/// A piece of the input: whole lines, of which only the very last may lack its line break.
#[derive(Debug)]
pub(super) struct InputBlock(Vec<u8>);

impl InputBlock {
    /// How many lines it has, and how many bytes.
    pub(super) fn amount(&self) -> Amount {
        Amount { items: memchr::memchr_iter(b'\n', &self.0).count() as u64, bytes: self.0.len() as u64 }
    }

    /// The lines with their line breaks.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, tail) = rest.split_at(end);
            rest = tail;
            (!line.is_empty()).then_some(line)
        })
    }
}

/// The blocks of an input. A thread reads ahead by one block. It ends with the input, after an error, or when this is dropped and it
/// has read once more.
#[derive(Debug)]
pub(super) struct Blocks(mpsc::Receiver<std::io::Result<InputBlock>>);

impl Blocks {
    /// Reads `input`. Of a line much longer than `most` bytes, only a beginning of more than `most` bytes is given.
    pub(super) fn of(input: impl Read + Send + 'static, most: usize) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // Not a thread of the runtime: that would wait for a read of a pipe that never ends.
        std::thread::spawn(move || {
            let mut reader = BlockReader { input, most, piece: vec![0; PIECE], rest: Vec::new() };
            while let Some(block) = reader.next().transpose() {
                let is_last = block.is_err();
                if sender.blocking_send(block).is_err() || is_last {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next block; `None` at the end of the input. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<InputBlock>> {
        self.0.recv().await.transpose()
    }
}

struct BlockReader<R> {
    input: R,
    most: usize,
    /// Where the input is read to.
    piece: Vec<u8>,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
}

impl<R: Read> BlockReader<R> {
    fn next(&mut self) -> std::io::Result<Option<InputBlock>> {
        let mut block = std::mem::take(&mut self.rest);
        loop {
            let count = match self.input.read(&mut self.piece) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                count => count?,
            };
            let new = self.piece.get(..count).unwrap_or_default();
            let end = memrchr(b'\n', new).map_or(0, |at| at + 1);
            let (whole, rest) = new.split_at(end);
            block.extend_from_slice(whole);
            if end > 0 {
                self.rest = rest.to_vec();
                return Ok(Some(InputBlock(block)));
            }
            block.extend_from_slice(rest);
            if count == 0 || block.len() > self.most {
                return Ok((!block.is_empty()).then_some(InputBlock(block)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives as many bytes at a time as it is told, again and again.
    struct Dripping(Vec<u8>, Vec<usize>, usize);

    impl Read for Dripping {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.2 += 1;
            let count = self.1[self.2 % self.1.len()].min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }

    fn lines_of(input: impl Read + Send + 'static, most: usize) -> std::io::Result<Vec<Vec<u8>>> {
        let mut blocks = Blocks::of(input, most);
        futures::executor::block_on(async {
            let mut lines = Vec::new();
            while let Some(block) = blocks.next().await? {
                lines.extend(block.lines().map(<[u8]>::to_vec));
            }
            Ok(lines)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lines_are_those_of_the_input_however_it_comes(
            lines in prop::collection::vec("[a-c]{0,6}", 0..40),
            is_ended in any::<bool>(),
            drips in prop::collection::vec(1_usize..9, 1..5),
        ) {
            let text = lines.join("\n") + if is_ended { "\n" } else { "" };
            let want: Vec<Vec<u8>> = text.as_bytes().split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            prop_assert_eq!(lines_of(Dripping(text.clone().into_bytes(), drips, 0), 1 << 20).unwrap(), want.clone());
            prop_assert_eq!(lines_of(std::io::Cursor::new(text.into_bytes()), 1 << 20).unwrap(), want);
        }
    }

    #[test]
    fn a_line_without_end_is_cut_off_and_an_error_follows_what_came_before() {
        let lines = lines_of(std::io::Cursor::new(b"a\n".to_vec()).chain(std::io::repeat(b'x')).take(1 << 22), 1000).unwrap();
        assert_eq!(lines[0], b"a\n");
        assert!(lines[1].len() > 1000, "{}", lines[1].len());

        let mut blocks = Blocks::of(std::io::Cursor::new(b"a\nb".to_vec()).chain(Failing), 1000);
        futures::executor::block_on(async {
            assert_eq!(blocks.next().await.unwrap().unwrap().lines().collect::<Vec<_>>(), [b"a\n"]);
            assert_eq!(blocks.next().await.unwrap_err().to_string(), "the disk is gone");
            assert!(blocks.next().await.unwrap().is_none());
        });
    }
}
