//! Lists of checksums, as publishers of data and `sha256sum` write them: read, and written.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::error::{Error, Result};
use crate::id::{Digest, HashAlgorithm};
use crate::percent;
use crate::snapshot::Dependency;
use crate::text::{hex, shown};
use crate::virtuals::{is_at_or_below, multihash, url_paths};

/// What stands at both ends of the list of files in a script of ESGF.
const ESGF_MARK: &str = "EOF--dataset.file.url.chksum_type.chksum";

/// The checksums of files, by names whose meaning the list does not tell: relative paths, paths, URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChecksumList {
    /// The files with a digest that can be locked.
    pub entries: Vec<ChecksumEntry>,
    /// The names of files whose digest is of another hash than sha2-256 and blake3.
    pub unusable: Vec<String>,
}

/// The checksum of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChecksumEntry {
    /// The line of the list, counted from 1.
    pub line: u64,
    /// What the list calls the file.
    pub name: String,
    /// Its URL, where the list gives it apart from the name.
    pub url: Option<String>,
    /// Its length in bytes, where the list gives it.
    pub size: Option<u64>,
    /// A multihash of the whole file.
    pub digest: Vec<u8>,
}

/// A line of a list before its hash is judged.
struct ListedFile {
    name: String,
    url: Option<String>,
    size: Option<u64>,
    /// `None` when the hash is one that cannot be locked.
    hash: Option<HashAlgorithm>,
    digest: String,
}

impl ChecksumList {
    /// Reads a list in one of these forms, which may be mixed; empty lines and lines that begin with `#` are left out:
    ///
    /// - `sha256sum` and its like: `HEX  NAME`, `HEX *NAME`, and with `--tag` `SHA256 (NAME) = HEX`; a line that begins with `\` has
    ///   escaped names. Without `--tag`, 64 digits are taken for a digest of `hash`.
    /// - a script for wget from ESGF, or its lines: `'NAME' 'URL' 'SHA256' 'HEX'`.
    /// - a map file of ESGF: `DATASET | PATH | SIZE | … | checksum=HEX | checksum_type=SHA256`.
    ///
    /// `Invalid`, naming the line, when a line is of no such form.
    pub fn parse(text: &str, hash: HashAlgorithm) -> Result<Self> {
        let is_script = text.lines().any(|line| line.contains(ESGF_MARK));
        let (mut list, mut is_inside) = (Self::default(), !is_script);
        for (line, number) in text.lines().zip(1..) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.contains(ESGF_MARK) {
                is_inside = !is_inside;
                continue;
            }
            if !is_inside || line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| Error::invalid(format!("line {number} of the list of checksums {why}: {:?}", shown(line)));
            let Some(file) = listed(line, hash) else {
                return Err(wrong("is neither \"HEX  NAME\", nor \"SHA256 (NAME) = HEX\", nor a line of ESGF"));
            };
            let ListedFile { name, url, size, hash, digest } = file;
            let Some(hash) = hash else {
                list.unusable.push(name);
                continue;
            };
            let bytes = HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let digest = bytes.ok_or_else(|| wrong("has a digest that is not 64 hexadecimal digits"))?;
            list.entries.push(ChecksumEntry { line: number, name, url, size, digest: multihash(&Digest::new(hash, digest)) });
        }
        Ok(list)
    }
}

fn listed(line: &str, hash: HashAlgorithm) -> Option<ListedFile> {
    quoted(line).or_else(|| mapped(line)).or_else(|| summed(line, hash))
}

/// `'NAME' 'URL' 'SHA256' 'HEX'`.
fn quoted(line: &str) -> Option<ListedFile> {
    let line = line.trim();
    let quote = line.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = line.strip_prefix(quote)?.strip_suffix(quote)?;
    let parted = inner.split(&format!("{quote} {quote}")[..]).collect::<Vec<_>>();
    let [name, url, hash, digest] = parted.as_slice() else { return None };
    Some(ListedFile {
        name: (*name).to_owned(),
        url: Some((*url).to_owned()),
        size: None,
        hash: hash_named(hash),
        digest: (*digest).to_owned(),
    })
}

/// `DATASET | PATH | SIZE | mod_time=… | checksum=HEX | checksum_type=SHA256`.
fn mapped(line: &str) -> Option<ListedFile> {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let named = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (digest, hash) = (named("checksum")?, named("checksum_type")?);
    let [_, path, size, ..] = fields.as_slice() else { return None };
    let (name, digest) = ((*path).to_owned(), digest.to_owned());
    Some(ListedFile { name, url: None, size: size.parse().ok(), hash: hash_named(hash), digest })
}

/// A line of `sha256sum` or of a program like it.
fn summed(line: &str, hash: HashAlgorithm) -> Option<ListedFile> {
    let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
    let named = |name: &str| if is_escaped { unescaped(name) } else { Some(name.to_owned()) };
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some((before, digest)) = line.rsplit_once(") = ")
        && let Some((algorithm, name)) = before.split_once(" (")
        && !algorithm.contains(' ')
        && is_hex(digest)
    {
        return Some(ListedFile { name: named(name)?, url: None, size: None, hash: hash_named(algorithm), digest: digest.to_owned() });
    }
    let (digest, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    if !is_hex(digest) || name.is_empty() {
        return None;
    }
    let known = (digest.len() == 64).then_some(hash);
    // Of the other lengths, those of common hashes are recognised, so that a misspelt digest is not passed over.
    if known.is_none() && !matches!(digest.len(), 32 | 40 | 56 | 96 | 128) {
        return None;
    }
    Some(ListedFile { name: named(name)?, url: None, size: None, hash: known, digest: digest.to_owned() })
}

/// The hash of a name such as `SHA256`, `sha-256` or `sha2-256`.
fn hash_named(name: &str) -> Option<HashAlgorithm> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match plain.as_str() {
        "sha256" | "sha2256" => Some(HashAlgorithm::Sha2_256),
        "blake3" => Some(HashAlgorithm::Blake3),
        _ => None,
    }
}

/// A name as it was before `sha256sum` escaped it.
fn unescaped(name: &str) -> Option<String> {
    let (mut out, mut chars) = (String::new(), name.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

/// Why a file has no line in a list for `sha256sum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoChecksum {
    /// No digest of it is locked.
    NotLocked,
    /// Its digest is of another hash than sha2-256.
    OtherHash,
    /// It does not lie where the list's names begin.
    Elsewhere,
}

impl NoChecksum {
    /// The reason in words, as the end of a sentence about the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotLocked => "no digest of it is locked",
            Self::OtherHash => "its digest is not sha2-256",
            Self::Elsewhere => "it lies elsewhere",
        }
    }
}

impl Dependency {
    /// The line of this file in a list that `sha256sum -c` takes, with its line break: bytes, because paths need not be UTF-8.
    ///
    /// The name is the path below `relative_to`, a URL; without one, the absolute path of a local file. Names with a line break or a
    /// backslash are escaped, as `sha256sum` does.
    pub fn checksum_line(&self, relative_to: Option<&str>) -> Result<Vec<u8>, NoChecksum> {
        let digest = self.record.digest.as_deref().ok_or(NoChecksum::NotLocked)?;
        // The code of the hash and the length, each in one byte.
        let digest = digest.strip_prefix(&[0x12, 32]).filter(|digest| digest.len() == 32).ok_or(NoChecksum::OtherHash)?;
        let mut name = name_of(&self.url, relative_to).ok_or(NoChecksum::Elsewhere)?;
        if name == b"-" {
            name = b"./-".to_vec();
        }
        let is_escaped = name.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r'));
        let mut line = if is_escaped { b"\\".to_vec() } else { Vec::new() };
        line.extend_from_slice(format!("{}  ", hex(digest)).as_bytes());
        for byte in name {
            match byte {
                b'\\' => line.extend_from_slice(b"\\\\"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                byte => line.push(byte),
            }
        }
        line.push(b'\n');
        Ok(line)
    }
}

/// The name of a file, seen from a place; `None` when it does not lie there.
fn name_of(url: &str, from: Option<&str>) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let path_of = |url: &str| url_paths(url.strip_prefix("file://")?).next();
    let Some(from) = from else { return path_of(url).map(|path| path.as_os_str().as_bytes().to_vec()) };
    if !is_at_or_below(url, from) {
        return None;
    }
    if let (Some(path), Some(directory)) = (path_of(url), path_of(from)) {
        let rest: PathBuf = path.strip_prefix(&directory).map(Path::to_path_buf).ok()?;
        return Some(rest.as_os_str().as_bytes().to_vec()).filter(|rest| !rest.is_empty());
    }
    let rest = url.strip_prefix(from.trim_end_matches('/'))?.trim_start_matches('/');
    let name = if url.starts_with("http") { percent::decoded(rest).into_owned() } else { rest.as_bytes().to_vec() };
    Some(name).filter(|name| !name.is_empty())
}
