//! Reference sets that are JSON files, of version 0 and 1.
//!
//! The file is opened once and read twice. The first time finds out which version it is, and keeps `templates` and `gen`, wherever they
//! stand; the second
//! time takes the references, one after the other.

use std::fmt;
use std::io::BufRead as _;
use std::path::Path;

use firnline::{Error, Result};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::generated::parse_generators;
use super::metered::{MemberBudget, RepeatedFile};
use super::sink::Sink;
use super::value::ReferenceValue;
use crate::error::{file_error, json_error, shown};
use crate::template::{Scope, Template, Templates, quoted};

/// The longest text of `templates` and of `gen`, in bytes.
const LONGEST_HEADER: usize = 4 << 20;

/// What the first reading finds out.
#[derive(Debug, Default)]
struct SetHeader {
    version: Option<Box<RawValue>>,
    templates: Option<Box<RawValue>>,
    generators: Option<Box<RawValue>>,
    /// Whether there is an object `refs`.
    has_refs: bool,
}

/// Puts everything that a reference set holds into `sink`. `SourceChanged` if the file is changed meanwhile.
pub(super) fn read_json(path: &Path, sink: &mut Sink) -> Result<()> {
    let set = RepeatedFile::open(path)?;
    let header = read_header(&set);
    // What a file says that is being written is not worth telling.
    set.require_unchanged()?;
    let outcome = read_rest(&set, &header?, sink);
    set.require_unchanged()?;
    outcome
}

/// Takes the references, and what `gen` gives.
fn read_rest(set: &RepeatedFile<'_>, header: &SetHeader, sink: &mut Sink) -> Result<()> {
    let path = set.path;
    let named = |e: Error| e.context(shown(path));
    let Some(version) = &header.version else {
        if header.has_refs {
            return Err(named(Error::invalid("has an object `refs`, but no version; add \"version\": 1")));
        }
        return read_references(set, Level::Top, sink, &Templates::default());
    };
    if version.get().parse::<f64>().ok() != Some(1.0) {
        return Err(Error::unsupported(format!("{}: version {} of reference sets is not known; 1 is", shown(path), quoted(version.get()))));
    }
    if !header.has_refs && header.generators.is_none() {
        return Err(named(Error::invalid("has neither `refs` nor `gen`")));
    }
    let templates = header.templates.as_deref().map_or_else(|| Ok(Templates::default()), |raw| parse_templates(raw.get()));
    let templates = templates.map_err(named)?;
    let generators = header.generators.as_deref().map_or_else(|| Ok(Vec::new()), |raw| parse_generators(raw.get(), &templates));
    let generators = generators.map_err(named)?;
    if header.has_refs {
        read_references(set, Level::Refs, sink, &templates)?;
    }
    generators.iter().try_for_each(|generator| generator.generate(&templates, sink).map_err(named))
}

fn parse_templates(text: &str) -> Result<Templates> {
    let pairs: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|e| Error::invalid("templates is no object of texts").caused_by(e))?;
    let mut templates = Templates::default();
    pairs.into_iter().try_for_each(|(name, text)| templates.set(name, text))?;
    Ok(templates)
}

/// What other files begin with than JSON, and what to do about them.
const OTHERS: [(&[u8], &str); 3] = [
    (b"\x1f\x8b", "is compressed by gzip; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; decompress it first"),
    (b"PAR1", "is one file of a directory of references; name the directory that holds .zmetadata"),
];

fn read_header(set: &RepeatedFile<'_>) -> Result<SetHeader> {
    let path = set.path;
    let (mut file, budget) = set.read()?;
    let beginning = file.fill_buf().map_err(|e| file_error("read", path, e))?;
    if let Some((_, why)) = OTHERS.iter().find(|(mark, _)| beginning.starts_with(mark)) {
        return Err(Error::invalid(format!("{} {why}", shown(path))));
    }
    let mut deserializer = serde_json::Deserializer::from_reader(file);
    let header = (&mut deserializer).deserialize_map(HeaderVisitor(&budget)).map_err(|e| json_error(path, e))?;
    deserializer.end().map_err(|e| json_error(path, e))?;
    for (name, raw) in [("version", &header.version), ("templates", &header.templates), ("gen", &header.generators)] {
        if raw.as_ref().is_some_and(|raw| raw.get().len() > LONGEST_HEADER) {
            return Err(Error::invalid(format!("{}: {name} is longer than {LONGEST_HEADER} bytes", shown(path))));
        }
    }
    Ok(header)
}

struct HeaderVisitor<'b>(&'b MemberBudget);

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = SetHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of references")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SetHeader, A::Error> {
        let mut header = SetHeader::default();
        self.0.renew();
        while let Some(name) = map.next_key::<String>()? {
            self.0.renew();
            match name.as_str() {
                "version" => header.version = Some(map.next_value()?),
                "templates" => header.templates = Some(map.next_value()?),
                "gen" => header.generators = Some(map.next_value()?),
                "refs" => header.has_refs |= map.next_value_seed(Skipped(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            self.0.renew();
        }
        Ok(header)
    }
}

/// Passes over a value, and says whether it is an object. An object takes the memory of one member.
struct Skipped<'b>(&'b MemberBudget);

impl<'de> DeserializeSeed<'de> for Skipped<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skipped<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("references, or the value of a key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        self.0.renew();
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            self.0.renew();
        }
        Ok(true)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }
}

/// Where the references lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// In the object that the file holds: version 0.
    Top,
    /// In its member `refs`: version 1.
    Refs,
}

/// The second reading.
struct Reading<'r> {
    level: Level,
    sink: &'r mut Sink,
    templates: &'r Templates,
    budget: &'r MemberBudget,
    /// What went wrong with a reference; the parser carries only text.
    failure: Option<Error>,
}

fn read_references(set: &RepeatedFile<'_>, level: Level, sink: &mut Sink, templates: &Templates) -> Result<()> {
    let (path, (file, budget)) = (set.path, set.read()?);
    let mut deserializer = serde_json::Deserializer::from_reader(file);
    let mut reading = Reading { level, sink, templates, budget: &budget, failure: None };
    let outcome = match level {
        Level::Top => (&mut deserializer).deserialize_map(ReferencesVisitor(&mut reading)),
        Level::Refs => (&mut deserializer).deserialize_map(TopVisitor(&mut reading)),
    };
    match (reading.failure, outcome) {
        (Some(failure), _) => Err(failure.context(shown(path))),
        (None, outcome) => outcome.map_err(|e| json_error(path, e)),
    }
}

impl Reading<'_> {
    fn take(&mut self, key: &str, text: &str) -> Result<()> {
        match ReferenceValue::parse(text).map_err(|e| e.context(self.sink.shown_key(key)))? {
            ReferenceValue::Inline(bytes) => self.sink.value(key, bytes),
            ReferenceValue::Reference(place, range) => {
                let scope = Scope { names: &[], templates: Some(self.templates) };
                // As for fsspec, `{{` has a meaning only where there are templates.
                let is_template = self.level == Level::Refs && !self.templates.is_empty() && Template::is_in(&place);
                let rendered = || is_template.then(|| Template::parse(&place)?.render(scope)).transpose();
                self.sink.reference(key, &place, range, rendered)
            }
        }
    }
}

/// Finds `refs`.
struct TopVisitor<'v, 'r>(&'v mut Reading<'r>);

impl<'de> Visitor<'de> for TopVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the references below refs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.0.budget.renew();
            if name == "refs" {
                map.next_value_seed(ReferencesVisitor(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.0.budget.renew();
        }
        Ok(())
    }
}

/// Takes every member as a reference.
struct ReferencesVisitor<'v, 'r>(&'v mut Reading<'r>);

impl<'de> DeserializeSeed<'de> for ReferencesVisitor<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReferencesVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of references")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut key = String::new();
        self.0.budget.renew();
        while map.next_key_seed(KeyInto(&mut key))?.is_some() {
            let value: Box<RawValue> = map.next_value()?;
            if let Err(e) = self.0.take(&key, value.get()) {
                self.0.failure = Some(e);
                return Err(de::Error::custom("a reference cannot be taken"));
            }
            self.0.budget.renew();
        }
        Ok(())
    }
}

/// Writes a key into a text that is used again.
struct KeyInto<'k>(&'k mut String);

impl<'de> DeserializeSeed<'de> for KeyInto<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyInto<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        self.0.clear();
        self.0.push_str(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use firnline::ErrorKind;

    use super::*;
    use crate::KerchunkImport;
    use crate::location::ReferenceBase;

    const SET: &str = r#"{"version": 1, "templates": {"u": "s3://bucket/one"}, "refs": {"a/0": ["{{u}}.nc", 0, 4]}}"#;
    const OTHER: &str = r#"{"version": 1, "templates": {"u": "s3://bucket/two"}, "refs": {"a/0": ["{{u}}.nc", 4, 8]}, "more": 1}"#;

    /// Reads the references of a set after `meanwhile` happened to its file; gives the URLs that were found.
    fn read_after(meanwhile: impl FnOnce(&Path)) -> (Vec<String>, Result<()>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("set.json");
        fs::write(&path, SET).unwrap();
        let (sender, mut batches) = tokio::sync::mpsc::channel(1);
        let mut sink = Sink::new(ReferenceBase::of(&path).unwrap(), &KerchunkImport::default(), sender);
        let set = RepeatedFile::open(&path).unwrap();
        let header = read_header(&set).unwrap();
        meanwhile(&path);
        let outcome = read_rest(&set, &header, &mut sink);
        sink.flush().unwrap();
        let urls = batches.try_recv().map(|batch| batch.urls).unwrap_or_default();
        (urls, outcome.and_then(|()| set.require_unchanged()))
    }

    #[test]
    fn a_set_that_is_replaced_while_it_is_read_is_not_mixed() {
        let (urls, outcome) = read_after(|path| {
            fs::write(path.with_extension("new"), OTHER).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        });
        outcome.unwrap();
        assert_eq!(urls, ["s3://bucket/one.nc"]);
        let (urls, outcome) = read_after(|path| fs::remove_file(path).unwrap());
        outcome.unwrap();
        assert_eq!(urls, ["s3://bucket/one.nc"]);
    }

    #[test]
    fn a_set_that_is_written_to_while_it_is_read_is_an_error_that_names_it() {
        let (_, outcome) = read_after(|path| fs::write(path, OTHER).unwrap());
        let error = outcome.unwrap_err();
        assert!(error.kind() == ErrorKind::SourceChanged && error.to_string().contains("set.json was changed"), "{error}");
    }
}
