//! The member `gen` of a reference set: references that are computed from templates.

use std::fmt;

use firnline::{Error, Result};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::sink::Sink;
use crate::template::{Scope, Template, TemplateValue, Templates, quoted};

/// How many references the generators of one set give at most.
pub(super) const MOST_GENERATED: u64 = 100_000_000;

/// One generator, as it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneratorDocument {
    key: String,
    url: String,
    offset: Option<TextOrInt>,
    length: Option<TextOrInt>,
    dimensions: Dimensions,
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "text or an integer")]
enum TextOrInt {
    Text(String),
    Int(i64),
}

impl From<TextOrInt> for TemplateValue {
    fn from(value: TextOrInt) -> Self {
        match value {
            TextOrInt::Text(text) => Self::Text(text),
            TextOrInt::Int(n) => Self::Int(n),
        }
    }
}

/// In the order in which they are written: the last runs fastest.
struct Dimensions(Vec<(String, DimensionDocument)>);

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "a list, or an object with stop and perhaps start and step")]
enum DimensionDocument {
    List(Vec<TextOrInt>),
    Span(SpanDocument),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanDocument {
    #[serde(default)]
    start: i64,
    stop: i64,
    #[serde(default = "one")]
    step: i64,
}

const fn one() -> i64 {
    1
}

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DimensionsVisitor;
        impl<'de> Visitor<'de> for DimensionsVisitor {
            type Value = Dimensions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of dimensions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dimensions, A::Error> {
                let mut all: Vec<(String, DimensionDocument)> = Vec::new();
                while let Some((name, dimension)) = map.next_entry()? {
                    if all.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom(format!("the dimension {name:?} is given twice")));
                    }
                    all.push((name, dimension));
                }
                Ok(Dimensions(all))
            }
        }
        deserializer.deserialize_map(DimensionsVisitor)
    }
}

/// The values of one dimension, counted and not written out.
#[derive(Debug)]
enum DimensionValues {
    List(Vec<TemplateValue>),
    Span { start: i64, step: i64, count: u64 },
}

impl DimensionValues {
    fn of(document: DimensionDocument) -> Result<Self> {
        match document {
            DimensionDocument::List(all) => Ok(Self::List(all.into_iter().map(TemplateValue::from).collect())),
            DimensionDocument::Span(SpanDocument { step: 0, .. }) => Err(Error::invalid("a step of 0 leads nowhere")),
            DimensionDocument::Span(SpanDocument { start, stop, step }) => {
                let (low, high) = if step > 0 { (start, stop) } else { (stop, start) };
                let length = if low < high { high.abs_diff(low) } else { 0 };
                Ok(Self::Span { start, step, count: length.div_ceil(step.unsigned_abs()) })
            }
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::List(all) => all.len() as u64,
            Self::Span { count, .. } => *count,
        }
    }

    /// The value in a place before [`count`](Self::count).
    fn value(&self, at: u64) -> TemplateValue {
        match self {
            Self::List(all) => usize::try_from(at).ok().and_then(|at| all.get(at).cloned()).unwrap_or(TemplateValue::Int(0)),
            // Before `stop`, so there is no overflow.
            Self::Span { start, step, .. } => TemplateValue::Int(start.wrapping_add(step.wrapping_mul(at.cast_signed()))),
        }
    }
}

/// A generator that was understood.
#[derive(Debug)]
pub(super) struct Generator {
    key: Template,
    url: Template,
    /// Offset and length.
    part: Option<(Template, Template)>,
    dimensions: Vec<(String, DimensionValues)>,
    count: u64,
}

/// Reads the member `gen`; `Invalid` for what is not understood, and for more references than [`MOST_GENERATED`].
pub(super) fn parse_generators(text: &str, templates: &Templates) -> Result<Vec<Generator>> {
    let documents: Vec<GeneratorDocument> =
        serde_json::from_str(text).map_err(|e| Error::invalid("gen is no list of generators").caused_by(e))?;
    let mut total = 0_u64;
    let all = documents.into_iter().enumerate().map(|(n, document)| {
        let generator = Generator::of(document, templates).map_err(|e| e.context(format!("gen {n}")))?;
        total = total.saturating_add(generator.count);
        if total > MOST_GENERATED {
            return Err(Error::invalid(format!("gen {n}: the set generates more than {MOST_GENERATED} references; write them out")));
        }
        Ok(generator)
    });
    all.collect()
}

impl Generator {
    fn of(document: GeneratorDocument, templates: &Templates) -> Result<Self> {
        let GeneratorDocument { key, url, offset, length, dimensions: Dimensions(dimensions) } = document;
        let parse = |name: &str, text: &str| Template::parse(text).map_err(|e| e.context(name));
        let number = |name: &str, value: TextOrInt| match value {
            TextOrInt::Text(text) => parse(name, &text),
            TextOrInt::Int(n) => parse(name, &n.to_string()),
        };
        let part = match (offset, length) {
            (Some(offset), Some(length)) => Some((number("offset", offset)?, number("length", length)?)),
            (None, None) => None,
            _ => return Err(Error::invalid("has one of offset and length; it must have both or neither")),
        };
        if dimensions.is_empty() {
            return Err(Error::invalid("has no dimensions"));
        }
        if let Some((name, _)) = dimensions.iter().find(|(name, _)| templates.has(name)) {
            return Err(Error::invalid(format!("{} is a dimension and a template", quoted(name))));
        }
        let dimensions = dimensions.into_iter().map(|(name, document)| {
            let values = DimensionValues::of(document).map_err(|e| e.context(format!("dimension {}", quoted(&name))))?;
            Ok((name, values))
        });
        let dimensions: Vec<(String, DimensionValues)> = dimensions.collect::<Result<_>>()?;
        // A dimension without values gives nothing, however large the others are.
        let counts = || dimensions.iter().map(|(_, values)| values.count());
        let count = if counts().any(|count| count == 0) { 0 } else { counts().fold(1, u64::saturating_mul) };
        Ok(Self { key: parse("key", &key)?, url: parse("url", &url)?, part, dimensions, count })
    }

    /// Puts every reference into the sink.
    pub(super) fn generate(&self, templates: &Templates, sink: &mut Sink) -> Result<()> {
        let mut places = vec![0_u64; self.dimensions.len()];
        let first = |(name, values): &(String, DimensionValues)| (name.clone(), values.value(0));
        let mut names: Vec<(String, TemplateValue)> = self.dimensions.iter().map(first).collect();
        for _ in 0..self.count {
            self.generate_one(Scope { names: &names, templates: Some(templates) }, sink).map_err(|e| {
                let at: Vec<String> = names.iter().map(|(name, value)| format!("{name} = {}", shown_value(value))).collect();
                e.context(format!("gen, where {}", at.join(", ")))
            })?;
            // The next of the product: the last dimension that has one more takes a step, and all behind it begin anew.
            for ((place, (_, values)), (_, value)) in places.iter_mut().zip(&self.dimensions).zip(&mut names).rev() {
                *place += 1;
                let is_last = *place < values.count();
                *place = if is_last { *place } else { 0 };
                *value = values.value(*place);
                if is_last {
                    break;
                }
            }
        }
        Ok(())
    }

    fn generate_one(&self, scope: Scope<'_>, sink: &mut Sink) -> Result<()> {
        let (key, url) = (self.key.render(scope)?, self.url.render(scope)?);
        let number = |name: &str, template: &Template| {
            let text = template.render(scope)?;
            text.trim().parse::<u64>().map_err(|e| Error::invalid(format!("{name} {} is no number of bytes", quoted(&text))).caused_by(e))
        };
        let range = match &self.part {
            Some((offset, length)) => Some((number("offset", offset)?, number("length", length)?)),
            None => None,
        };
        sink.reference(&key, &url, range, || Ok(None))
    }
}

fn shown_value(value: &TemplateValue) -> String {
    match value {
        TemplateValue::Int(n) => n.to_string(),
        TemplateValue::Text(text) => quoted(text),
        TemplateValue::Tuple(_) => String::new(),
    }
}
