//! Parts of files: read by one request, or by several at once where they are long.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::super::source::ExternalPlace;
use super::super::validator::ExpectedFile;
use super::ask::AskDeadline;
use super::{RemoteSource, same};
use crate::error::Error;
use crate::storage::outside::{Answer, Condition, FileFacts, Unanswered, What, time_for};

/// A part that ends at or before this offset is cut out of the whole file if the server does not support ranges.
const CUT_FROM_WHOLE: u64 = 16 << 20;
/// How many parts of one range are read at once.
const AT_ONCE: usize = 16;

/// A part of a file, and what the file must be.
#[derive(Clone, Copy)]
pub(super) struct RemotePart<'a> {
    pub(super) place: &'a ExternalPlace,
    pub(super) range: &'a Range<u64>,
    pub(super) expected: &'a ExpectedFile,
    /// What the server told when the digest was verified.
    pub(super) verified: Option<&'a FileFacts>,
}

/// Cuts a range into the fewest parts of at most `longest` bytes, of nearly equal length.
fn cut_into(range: &Range<u64>, longest: u64) -> Vec<Range<u64>> {
    let length = range.end - range.start;
    let each = length.div_ceil(length.div_ceil(longest.max(1)).max(1)).max(1);
    let steps = 0..length.div_ceil(each);
    steps.map(|n| range.start + n * each..range.end.min((range.start + n * each).saturating_add(each))).collect()
}

impl RemoteSource {
    /// Reads the range, in parts at once if it is longer than one request may be. All parts carry the same condition, and are of one
    /// state of the file as far as its server tells.
    pub(super) async fn range(&self, asked: RemotePart<'_>, condition: &Condition) -> Result<Bytes, Unanswered> {
        if asked.range.end - asked.range.start > self.longest {
            match self.in_parts(asked, condition).await {
                // A server that gives whole files only, or tells nothing by which two answers could be told to be of one state.
                Err(Unanswered::Unable(_)) => {}
                other => return other,
            }
        }
        self.patiently(|deadline| self.part(asked, condition, deadline)).await.map(|(_, bytes)| bytes)
    }

    async fn in_parts(&self, asked: RemotePart<'_>, condition: &Condition) -> Result<Bytes, Unanswered> {
        let length = asked.range.end - asked.range.start;
        let mut found = room_for(length)?;
        let read = |range: Range<u64>| async move {
            let part = RemotePart { range: &range, ..asked };
            self.patiently(|deadline| self.part(part, condition, deadline)).await
        };
        let reads: Vec<_> = cut_into(asked.range, self.longest).into_iter().map(read).collect();
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(AT_ONCE));
        let mut first: Option<FileFacts> = None;
        while let Some((facts, bytes)) = reads.try_next().await? {
            if facts.etag.is_none() && facts.modified.is_none() && facts.version.is_none() {
                return Err(Unanswered::Unable("its server tells neither a strong etag nor a date".to_owned()));
            }
            if !same(first.get_or_insert_with(|| facts.clone()), &facts) {
                return Err(Unanswered::Changed);
            }
            found.extend_from_slice(&bytes);
        }
        Ok(found.into())
    }

    /// Reads one range from an answer that is about the recorded file, with what that answer told of the file.
    async fn part(&self, asked: RemotePart<'_>, condition: &Condition, deadline: AskDeadline) -> Result<(FileFacts, Bytes), Unanswered> {
        let RemotePart { place, range, expected, verified } = asked;
        let mut answer = self.ask(place, What::Part(range), condition, &deadline).await?;
        let unasked = |error| Unanswered::Unasked(error);
        expected.compare(&answer.facts.clone().into()).map_err(|difference| unasked(place.differs(&difference)))?;
        if verified.is_some_and(|verified| !same(verified, &answer.facts)) {
            return Err(Unanswered::Changed);
        }
        if let Some(size) = answer.facts.size.filter(|size| *size < range.end) {
            return Err(Unanswered::Short(Some(size)));
        }
        let skipped = range.start.saturating_sub(answer.start);
        if skipped > 0 && range.end > CUT_FROM_WHOLE {
            return Err(Unanswered::Unable("its server answers without the range that was asked for".to_owned()));
        }
        let length = range.end - range.start;
        let bytes = self.in_time(&deadline, skipped + length, collect(&mut answer, skipped, length)).await?;
        Ok((answer.facts, bytes))
    }

    /// Waits for `length` bytes to be read, as long as a slow line needs for them: a server that sends a few bytes now and then could
    /// go on for ever. The deadline of the request is put off by what the reading takes, so that half an answer is asked for again.
    pub(super) async fn in_time<T>(
        &self,
        deadline: &AskDeadline,
        length: u64,
        reading: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        let limit = time_for(length, self.patience);
        let late = |_| Err(Unanswered::Lost(Error::unavailable(format!("does not give {length} bytes within {limit:?}"))));
        deadline.without(tokio::time::timeout(limit, reading)).await.unwrap_or_else(late)
    }
}

pub(super) fn cut() -> Unanswered {
    Unanswered::Lost(Error::unavailable("was cut off before its end"))
}

/// The next `length` bytes of an answer after the first `skipped`.
async fn collect(answer: &mut Answer, mut skipped: u64, length: u64) -> Result<Bytes, Unanswered> {
    let mut found = room_for(length)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    while found.len() < length {
        let Some(piece) = answer.body.try_next().await? else { return Err(cut()) };
        let from = usize::try_from(skipped).unwrap_or(usize::MAX).min(piece.len());
        skipped -= from as u64;
        let wanted = piece.get(from..).unwrap_or_default();
        found.extend_from_slice(wanted.get(..length - found.len()).unwrap_or(wanted));
    }
    Ok(found.into())
}

/// Memory for so many bytes.
fn room_for(length: u64) -> Result<Vec<u8>, Unanswered> {
    let too_long = || Unanswered::Unasked(Error::unavailable(format!("has a range of {length} bytes, too long for memory")));
    let mut room = Vec::new();
    room.try_reserve_exact(usize::try_from(length).map_err(|_| too_long())?).map_err(|_| too_long())?;
    Ok(room)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_the_range_again(start in 0u64..1 << 40, length in 1u64..5000, longest in 1u64..700) {
            let parts = cut_into(&(start..start + length), longest);
            prop_assert!(parts.iter().all(|part| part.start < part.end && part.end - part.start <= longest));
            prop_assert_eq!(parts.len() as u64, length.div_ceil(length.div_ceil(length.div_ceil(longest))));
            prop_assert_eq!((parts[0].start, parts[parts.len() - 1].end), (start, start + length));
            prop_assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
