//! What the server keeps, and what it answers.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Mutex;

use firnline::Timestamp;

use super::http::{Request, Response, date};

/// The only bucket there is.
const BUCKET: &str = "firn";
/// Names on a page of a listing: few, so that listings have pages.
const PAGE: usize = 50;

/// Whose language a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    S3,
    Gcs,
}

/// Which promises a server keeps.
#[expect(clippy::struct_excessive_bools, reason = "each is kept or not, whatever becomes of the others")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) if_none_match: bool,
    pub(crate) if_match: bool,
    /// `If-Match` is compared with the quotes it came in.
    pub(crate) quotes: bool,
    /// Answers are as long as they say.
    pub(crate) whole: bool,
    pub(crate) allowed: Allowed,
}

/// What anybody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    Everything,
    Reading,
    Nothing,
}

impl Promise {
    pub(crate) fn all() -> Self {
        Self { if_none_match: true, if_match: true, quotes: true, whole: true, allowed: Allowed::Everything }
    }
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Vec<u8>,
    tag: String,
    generation: u64,
    modified: Timestamp,
}

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    count: u64,
}

#[derive(Debug)]
pub(crate) struct Objects {
    dialect: Dialect,
    kept: Mutex<Promise>,
    state: Mutex<Kept>,
}

fn tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn error(status: u16, code: &str) -> Response {
    Response::new(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>"))
}

impl Objects {
    pub(crate) fn new(dialect: Dialect, kept: Promise) -> Self {
        Self { dialect, kept: Mutex::new(kept), state: Mutex::default() }
    }

    /// From now on keeps other promises.
    pub(crate) fn keep(&self, kept: Promise) {
        *self.kept.lock().unwrap() = kept;
    }

    /// The names of all objects.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Gives an object other bytes, or removes it.
    pub(crate) fn replace(&self, name: &str, bytes: Option<&[u8]>, now: Timestamp) {
        let mut state = self.state.lock().unwrap();
        match bytes {
            Some(bytes) => drop(store(&mut state, name, bytes.to_vec(), now)),
            None => drop(state.objects.remove(name)),
        }
    }

    pub(crate) fn answer(&self, request: &Request, now: Timestamp) -> Response {
        let kept = *self.kept.lock().unwrap();
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        if kept.allowed == Allowed::Nothing || (kept.allowed == Allowed::Reading && !reads) {
            return error(403, "AccessDenied");
        }
        let path = request.path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket != BUCKET {
            return error(404, "NoSuchBucket");
        }
        let mut state = self.state.lock().unwrap();
        let upload = request.parameter("uploadId");
        match (request.method.as_str(), upload) {
            ("GET", _) if key.is_empty() => list(&state, request),
            ("GET" | "HEAD", _) => get(&state, request, key, kept),
            ("PUT", Some(id)) => put_part(&mut state, request, id),
            ("PUT", None) => self.put(&mut state, request, key, now, kept),
            ("POST", Some(id)) => Self::complete(&mut state, id, key, now),
            ("POST", None) if self.dialect == Dialect::S3 && key.is_empty() && request.parameter("delete").is_some() => {
                remove(&mut state, request)
            }
            ("POST", None) if request.parameter("uploads").is_some() => {
                state.count += 1;
                let id = state.count.to_string();
                state.uploads.insert(id.clone(), BTreeMap::new());
                Response::new(200, format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
            }
            ("DELETE", Some(id)) => {
                state.uploads.remove(id);
                Response::new(204, "")
            }
            ("DELETE", None) => {
                state.objects.remove(key);
                Response::new(204, "")
            }
            _ => error(501, "NotImplemented"),
        }
    }

    fn put(&self, state: &mut Kept, request: &Request, key: &str, now: Timestamp, kept: Promise) -> Response {
        let there = state.objects.get(key);
        let refused = match self.dialect {
            Dialect::S3 => {
                let create = kept.if_none_match && request.header("if-none-match").is_some() && there.is_some();
                let update = request
                    .header("if-match")
                    .filter(|_| kept.if_match)
                    .is_some_and(|want| there.is_none_or(|o| if kept.quotes { o.tag != want } else { o.tag.trim_matches('"') != want }));
                create || update
            }
            Dialect::Gcs => {
                let want = request.header("x-goog-if-generation-match").map(|n| n.parse::<u64>().unwrap());
                want.is_some_and(|want| there.map_or(0, |o| o.generation) != want)
            }
        };
        if refused { error(412, "PreconditionFailed") } else { store(state, key, request.body.clone(), now) }
    }

    fn complete(state: &mut Kept, id: &str, key: &str, now: Timestamp) -> Response {
        let Some(parts) = state.uploads.remove(id) else { return error(404, "NoSuchUpload") };
        let _stored = store(state, key, parts.into_values().flatten().collect(), now);
        Response::new(200, "<CompleteMultipartUploadResult><ETag>\"\"</ETag></CompleteMultipartUploadResult>")
    }
}

fn store(state: &mut Kept, key: &str, bytes: Vec<u8>, now: Timestamp) -> Response {
    state.count += 1;
    let object = Object { tag: tag(&bytes), generation: state.count, modified: now, bytes };
    let answer = Response::new(200, "").with("etag", &object.tag).with("x-goog-generation", &object.generation.to_string());
    state.objects.insert(key.to_owned(), object);
    answer
}

/// Removes many objects by one request.
fn remove(state: &mut Kept, request: &Request) -> Response {
    let body = String::from_utf8(request.body.clone()).unwrap();
    let mut text = "<?xml version=\"1.0\"?><DeleteResult>".to_owned();
    for key in body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
        state.objects.remove(key);
        write!(text, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
    }
    Response::new(200, text + "</DeleteResult>")
}

fn put_part(state: &mut Kept, request: &Request, id: &str) -> Response {
    let number = request.parameter("partNumber").unwrap().parse().unwrap();
    let Some(upload) = state.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
    upload.insert(number, request.body.clone());
    Response::new(200, "").with("etag", &tag(&request.body))
}

fn get(state: &Kept, request: &Request, key: &str, kept: Promise) -> Response {
    let Some(object) = state.objects.get(key) else { return error(404, "NoSuchKey") };
    let size = object.bytes.len() as u64;
    let range = request.header("range").map(|text| {
        let (first, last) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')).expect("a range with both ends");
        (first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap().min(size.saturating_sub(1)))
    });
    let answer = match range {
        Some((first, _)) if first >= size => return error(416, "InvalidRange"),
        Some((first, last)) => {
            let part = &object.bytes[usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()];
            let part = if kept.whole { part } else { &part[..part.len() / 2] };
            Response::new(206, part).with("content-range", &format!("bytes {first}-{last}/{size}"))
        }
        None => Response::new(200, object.bytes.clone()),
    };
    let answer = answer.with("etag", &object.tag).with("last-modified", &date(object.modified));
    answer.with("x-goog-generation", &object.generation.to_string())
}

fn list(state: &Kept, request: &Request) -> Response {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let after = request.parameter("continuation-token").unwrap_or_default();
    let found: Vec<_> = state.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after).collect();
    let mut text = "<?xml version=\"1.0\"?><ListBucketResult>".to_owned();
    for (key, object) in found.iter().take(PAGE) {
        let Object { bytes, tag, modified, .. } = object;
        let tag = tag.replace('"', "&quot;");
        let size = bytes.len();
        write!(text, "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{modified}</LastModified><ETag>{tag}</ETag></Contents>")
            .unwrap();
    }
    if let Some((last, _)) = found.get(PAGE - 1).filter(|_| found.len() > PAGE) {
        write!(text, "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>").unwrap();
    }
    Response::new(200, text + "</ListBucketResult>")
}
