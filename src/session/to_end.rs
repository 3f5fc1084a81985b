//! References that go to the end of their files: their lengths follow from what is known of the files.

use super::bulk::{Target, key_at};
use super::{StagedFile, VirtualRefs, WhyUnpinned};
use crate::error::{Error, ErrorKind, Result};
use crate::format::FileKey;

/// The column of lengths with numbers in the place of [`VirtualRefs::TO_END`], given what is `known` of each file; `None` if it has
/// none. What each target reaches is brought up to date.
pub(super) fn to_ends(
    refs: &VirtualRefs<'_>,
    targets: &mut [Option<Target>],
    known: impl Fn(&FileKey) -> Option<StagedFile>,
) -> Result<Option<Vec<u64>>> {
    if !targets.iter().flatten().any(|target| target.is_to_end) {
        return Ok(None);
    }
    let known = targets.iter().map(|target| target.as_ref().filter(|target| target.is_to_end)?.file.as_ref().map(&known));
    let known: Vec<Option<Option<StagedFile>>> = known.collect();
    let mut lengths = refs.length.to_vec();
    let places = refs.url.iter().zip(refs.offset).zip(&mut lengths).enumerate();
    for (n, ((url, offset), length)) in places.filter(|(_, (_, length))| **length == VirtualRefs::TO_END) {
        let Some(at) = usize::try_from(*url).ok().filter(|_| *url != VirtualRefs::ABSENT) else { continue };
        let state = known.get(at).and_then(|state| state.as_ref()?.as_ref());
        let Some(size) = state.and_then(|state| state.size) else {
            let url = refs.urls.get(at).copied().unwrap_or_default();
            return Err(unknown_size(url, state).context(key_at(refs, n)));
        };
        // One that begins past the end is refused with the other ranges.
        *length = size.saturating_sub(*offset);
        if let Some(target) = targets.get_mut(at).and_then(Option::as_mut).filter(|target| size > target.end) {
            (target.furthest, target.end) = (n, size);
        }
    }
    Ok(Some(lengths))
}

/// Why the length of a reference to the end of a file is not known.
fn unknown_size(url: &str, state: Option<&StagedFile>) -> Error {
    let unpinned = state.and_then(|state| state.unpinned.as_ref());
    let kind = match unpinned.map(|unpinned| unpinned.why) {
        Some(WhyUnpinned::NotAllowed | WhyUnpinned::Refused) => ErrorKind::Denied,
        Some(WhyUnpinned::Missing) => ErrorKind::NotFound,
        Some(WhyUnpinned::NotReadable | WhyUnpinned::NothingTold) | None => ErrorKind::Unsupported,
    };
    let failure = unpinned.and_then(|unpinned| unpinned.failure.as_ref());
    let why = failure.map_or_else(|| format!("{url} is in use, and nothing tells its size"), |failure| failure.problem.clone());
    let message = format!("the reference goes to the end of its file, whose size is not known: {why}");
    Error::new(kind, message).remedied_by(failure.and_then(|failure| failure.remedy.clone()))
}
