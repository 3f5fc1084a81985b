//! How a change of a document affects everything below its directory.

use super::document::{Structure, ZarrNode};

/// A change of a document that conflicts with changes of the same node by another writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restructured {
    /// What was done to the node, as a message says it after its name.
    pub(crate) what: String,
    /// Whether it conflicts with another writer's changes of the node's chunks, because they are read differently now.
    pub(crate) chunks: bool,
    /// Whether it conflicts with every key that another writer sets below, because the node does not exist any more or is of another kind.
    pub(crate) below: bool,
    /// Whether the node was a group before.
    pub(crate) is_group: bool,
}

impl Restructured {
    /// Judges the change from `old` to `new`, two documents under one key; `None` when it leaves the chunks as they are.
    ///
    /// Attributes, names and copies of metadata do; so does a shape in which no dimension shrinks, and making a group.
    pub(crate) fn of(old: Option<&ZarrNode>, new: Option<&ZarrNode>) -> Option<Self> {
        let (what, chunks, below) = match (old, new) {
            (None, None | Some(ZarrNode::Group)) | (Some(ZarrNode::Group), Some(ZarrNode::Group)) => return None,
            (None, Some(_)) => ("created".to_owned(), true, false),
            (Some(old), None) => ("deleted".to_owned(), *old != ZarrNode::Group, true),
            (Some(ZarrNode::Unreadable), Some(_)) => ("given another document in place of one that does not parse".to_owned(), true, false),
            (Some(_), Some(ZarrNode::Unreadable)) => ("given a document that does not parse".to_owned(), true, false),
            (Some(ZarrNode::Group), Some(ZarrNode::Array(_))) => ("made an array in place of a group".to_owned(), true, true),
            (Some(ZarrNode::Array(_)), Some(ZarrNode::Group)) => ("made a group in place of an array".to_owned(), true, true),
            (Some(ZarrNode::Array(old)), Some(ZarrNode::Array(new))) => (fields(old, new)?, true, false),
        };
        Some(Self { what, chunks, below, is_group: old == Some(&ZarrNode::Group) })
    }
}

/// The fields in which two arrays differ so that their chunks are read differently.
fn fields(old: &Structure, new: &Structure) -> Option<String> {
    let shrinks = old.shape.len() != new.shape.len() || old.shape.iter().zip(&new.shape).any(|(old, new)| new < old);
    let mut changed = if shrinks { vec![format!("shape {:?} instead of {:?}", new.shape, old.shape)] } else { Vec::new() };
    let fields = old.fields.iter().zip(&new.fields).filter(|(old, new)| old != new);
    changed.extend(fields.map(|((name, _), _)| format!("another {name}")));
    if changed.is_empty() { None } else { Some(format!("given {}", changed.join(", "))) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::document::tests::{array2, array3};
    use super::*;

    #[test]
    fn every_structural_field_of_v3_counts_and_no_other() {
        let changes: [(&str, Value); 6] = [
            ("data_type", json!("int64")),
            ("chunk_grid", json!({ "name": "regular", "configuration": { "chunk_shape": [5, 10] } })),
            ("chunk_key_encoding", json!({ "name": "v2" })),
            ("fill_value", json!(1)),
            ("codecs", json!(["bytes"])),
            ("storage_transformers", json!([{ "name": "x" }])),
        ];
        for (field, value) in changes {
            let (old, new) = (array3(|_| ()), array3(|d| d[field] = value));
            for (old, new) in [(&old, &new), (&new, &old)] {
                let found = Restructured::of(Some(old), Some(new)).unwrap();
                assert_eq!((found.what, found.chunks, found.below), (format!("given another {field}"), true, false));
            }
        }
        for (field, value) in [("attributes", json!({ "a": 1 })), ("dimension_names", json!(["y", "x"]))] {
            assert_eq!(Restructured::of(Some(&array3(|_| ())), Some(&array3(|d| d[field] = value))), None, "{field}");
        }
    }

    #[test]
    fn every_structural_field_of_v2_counts() {
        let changes: [(&str, Value); 7] = [
            ("chunks", json!([5, 10])),
            ("dtype", json!("<i8")),
            ("compressor", Value::Null),
            ("filters", json!([{ "id": "delta" }])),
            ("order", json!("F")),
            ("fill_value", Value::Null),
            ("dimension_separator", json!("/")),
        ];
        for (field, value) in changes {
            let found = Restructured::of(Some(&array2(|_| ())), Some(&array2(|d| d[field] = value))).unwrap();
            assert_eq!(found.what, format!("given another {field}"));
        }
    }

    #[test]
    fn a_shape_counts_when_a_dimension_shrinks_or_goes() {
        for (shape, counts) in [(json!([10, 20]), false), (json!([11, 20]), false), (json!([11, 19]), true), (json!([10]), true)] {
            for array in [array3, array2] as [fn(Box<dyn FnOnce(&mut Value)>) -> ZarrNode; 2] {
                let new = array(Box::new({
                    let shape = shape.clone();
                    move |d| d["shape"] = shape
                }));
                let found = Restructured::of(Some(&array(Box::new(|_| ()))), Some(&new));
                assert_eq!(found.is_some(), counts, "{shape}: {found:?}");
            }
        }
    }

    #[test]
    fn nodes_that_come_go_or_become_another_kind() {
        let array = array3(|_| ());
        let of = |old: Option<&ZarrNode>, new: Option<&ZarrNode>| Restructured::of(old, new).map(|found| (found.chunks, found.below));
        assert_eq!(of(None, Some(&array)), Some((true, false)));
        assert_eq!(of(Some(&array), None), Some((true, true)));
        assert_eq!(of(None, Some(&ZarrNode::Group)), None);
        assert_eq!(of(Some(&ZarrNode::Group), None), Some((false, true)));
        assert_eq!(of(Some(&ZarrNode::Group), Some(&ZarrNode::Group)), None);
        assert_eq!(of(Some(&ZarrNode::Group), Some(&array)), Some((true, true)));
        assert_eq!(of(Some(&array), Some(&ZarrNode::Group)), Some((true, true)));
        assert_eq!(of(Some(&ZarrNode::Unreadable), Some(&ZarrNode::Unreadable)), Some((true, false)), "it is another one");
        assert_eq!(of(None, Some(&ZarrNode::Unreadable)), Some((true, false)));
    }
}
