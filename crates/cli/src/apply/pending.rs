//! References that come one after the other, collected in columns and staged by one call.

use indexmap::IndexSet;

use super::operation::Reference;
use firnline::{Error, Key, KeyColumn, Result, VirtualOptions, VirtualRefs, WriteSession};

/// How many references are collected, and how much text.
const MOST_REFS: usize = 1 << 15;
const MOST_TEXT: usize = 4 << 20;

/// References that were read and are not staged yet, in their order.
#[derive(Debug, Default)]
pub(super) struct PendingRefs {
    /// The keys end to end, and where each ends.
    keys: String,
    ends: Vec<usize>,
    urls: IndexSet<String>,
    /// The bytes of all URLs.
    url_bytes: usize,
    /// Which of the URLs each points into.
    url: Vec<u32>,
    offset: Vec<u64>,
    length: Vec<u64>,
    /// The line that each came from.
    lines: Vec<u64>,
}

impl PendingRefs {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether it is time to stage them.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= MOST_REFS || self.keys.len() + self.url_bytes >= MOST_TEXT
    }

    /// Takes the reference of a line.
    pub(super) fn push(&mut self, line: u64, reference: &Reference<'_>) {
        let url = reference.url.as_ref();
        // The next reference mostly points into the same file.
        let last = self.url.last().filter(|last| self.url_at(**last) == Some(url)).copied();
        let number = last.unwrap_or_else(|| self.number(url));
        self.keys.push_str(&reference.key);
        self.ends.push(self.keys.len());
        self.url.push(number);
        self.offset.push(reference.offset);
        self.length.push(reference.length);
        self.lines.push(line);
    }

    fn url_at(&self, number: u32) -> Option<&str> {
        self.urls.get_index(usize::try_from(number).ok()?).map(String::as_str)
    }

    fn number(&mut self, url: &str) -> u32 {
        let at = self.urls.get_index_of(url).unwrap_or_else(|| {
            self.url_bytes += url.len();
            self.urls.insert_full(url.to_owned()).0
        });
        u32::try_from(at).expect("there are fewer URLs than MOST_REFS")
    }

    /// Stages them all, in their order, and forgets them. An error names the line that it is about; then those before it are
    /// staged.
    pub(super) async fn stage(&mut self, session: &WriteSession) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let Self { keys, ends, urls, url, offset, length, .. } = &*self;
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let starts = std::iter::once(&0).chain(ends);
        let keys: Vec<&str> = starts.zip(ends).map(|(start, end)| keys.get(*start..*end).unwrap_or_default()).collect();
        let refs = VirtualRefs { keys: KeyColumn::Keys(&keys), urls: &urls, url, offset, length, validators: &[] };
        if session.set_virtual_many(&refs, &VirtualOptions::default()).await.is_err() {
            // It has staged nothing, and names a key, which several lines may have: one after the other, the line shows.
            self.stage_each(session, &refs, &keys).await?;
        }
        self.clear();
        Ok(())
    }

    async fn stage_each(&self, session: &WriteSession, refs: &VirtualRefs<'_>, keys: &[&str]) -> Result<()> {
        let columns = keys.iter().zip(refs.url).zip(refs.offset.iter().zip(refs.length)).zip(&self.lines);
        for (((key, url), (offset, length)), line) in columns {
            let url = self.url_at(*url).unwrap_or_default();
            stage_one(session, key, url, *offset, *length).await.map_err(|e| e.context(format!("line {line}")))?;
        }
        Ok(())
    }

    /// Forgets all, and keeps the room.
    fn clear(&mut self) {
        self.keys.clear();
        self.ends.clear();
        self.urls.clear();
        self.url_bytes = 0;
        self.url.clear();
        self.offset.clear();
        self.length.clear();
        self.lines.clear();
    }
}

async fn stage_one(session: &WriteSession, key: &str, url: &str, offset: u64, length: u64) -> Result<()> {
    let key = Key::new(key)?;
    let end = offset.checked_add(length).ok_or_else(|| Error::invalid(format!("{key}: offset and length are too large")))?;
    session.set_virtual(&key, url, offset..end).await
}
