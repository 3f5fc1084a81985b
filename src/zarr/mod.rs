//! What the documents of a Zarr hierarchy (v2 and v3) say, as far as two writers can disagree about it. Pure: bytes and
//! values, no I/O.
//!
//! The engine knows keys and values; this module knows which keys are *documents*, which directories they make *nodes*
//! (groups and arrays), and what of a document decides how the chunks of its array are read: its [`Structure`].

mod document;
mod restructured;

pub(crate) use document::ZarrNode;
pub(crate) use restructured::Restructured;

/// The documents that make the directory they lie in a node, sorted as maps sort them.
pub(crate) const NODE_DOCUMENTS: [&str; 3] = [".zarray", ".zgroup", "zarr.json"];

/// The directory above a key, empty or with its final `/`, and the last segment.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.split_at(key.rfind('/').map_or(0, |at| at + 1))
}

/// Whether a key is a document that makes its directory a group or an array.
pub(crate) fn is_node_document(key: &str) -> bool {
    NODE_DOCUMENTS.contains(&split(key).1)
}

/// Whether a key is any document of Zarr, so that it is no chunk: also attributes and consolidated metadata of v2.
pub(crate) fn is_document(key: &str) -> bool {
    is_node_document(key) || matches!(split(key).1, ".zattrs" | ".zmetadata")
}

/// The directories in which a key lies, outermost first: empty (the root), then each with its final `/`.
pub(crate) fn directories(key: &str) -> impl DoubleEndedIterator<Item = &str> {
    let inner = key.match_indices('/').filter_map(move |(at, _)| key.get(..=at));
    std::iter::once("").chain(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_directories_are_told_from_chunks() {
        assert!(is_node_document("zarr.json") && is_node_document("a/.zgroup"));
        assert!(is_document(".zmetadata") && is_document("a/.zattrs") && !is_node_document("a/.zattrs"));
        assert!(!is_document("a/c/0/0") && !is_document("zarr.json/0"));
        assert_eq!(directories("a/c/0").collect::<Vec<_>>(), ["", "a/", "a/c/"]);
        assert_eq!(directories("x").collect::<Vec<_>>(), [""]);
        assert!(NODE_DOCUMENTS.map(crate::key::MapKey::new).is_sorted());
    }
}
