//! Messages of HTTP/1.1 with a known length, as far as tests need them.

use std::fmt::Write as _;
use std::io;

use chrono::DateTime;
use firnline::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Decoded, without the query.
    pub(crate) path: String,
    /// Decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) head: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// All of it as it came.
    pub(crate) raw: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.head, name)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[derive(Debug)]
pub(crate) struct Response {
    status: u16,
    head: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, head: Vec::new(), body: body.into() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn encode(self, without_body: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.head {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !without_body {
            bytes.extend(self.body);
        }
        bytes
    }
}

/// Reads a request; `None` when the connection ends before one.
pub(crate) async fn read_request(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Request>> {
    let Some((first, head, body, raw)) = read_message(from, false).await? else { return Ok(None) };
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    let query = query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
    Ok(Some(Request { method, path: decode(path), query, head, body, raw }))
}

/// Reads a response, all of it as it came; `None` when the connection ends before it.
pub(crate) async fn read_response(from: &mut (impl AsyncBufReadExt + Unpin), without_body: bool) -> io::Result<Option<Vec<u8>>> {
    Ok(read_message(from, without_body).await?.map(|(.., raw)| raw))
}

type Message = (String, Vec<(String, String)>, Vec<u8>, Vec<u8>);

async fn read_message(from: &mut (impl AsyncBufReadExt + Unpin), without_body: bool) -> io::Result<Option<Message>> {
    let mut raw = Vec::new();
    let mut lines = Vec::new();
    loop {
        let start = raw.len();
        if from.read_until(b'\n', &mut raw).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&raw[start..]).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let first = lines.remove(0);
    let head: Vec<_> =
        lines.iter().filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    if find(&head, "transfer-encoding") == Some("chunked") {
        // Only passed on, never looked into.
        while read_chunk(from, &mut raw).await? {}
        return Ok(Some((first, head, Vec::new(), raw)));
    }
    let length = if without_body { 0 } else { find(&head, "content-length").map_or(0, |n| n.parse().expect("a length")) };
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    raw.extend_from_slice(&body);
    Ok(Some((first, head, body, raw)))
}

/// Reads one chunk; whether another one follows.
async fn read_chunk(from: &mut (impl AsyncBufReadExt + Unpin), raw: &mut Vec<u8>) -> io::Result<bool> {
    let start = raw.len();
    from.read_until(b'\n', raw).await?;
    let size = String::from_utf8_lossy(&raw[start..]).trim().to_owned();
    let size = usize::from_str_radix(&size, 16).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let mut chunk = vec![0; size + 2];
    from.read_exact(&mut chunk).await?;
    raw.extend(chunk);
    Ok(size > 0)
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digit = || u8::try_from(char::from(bytes.next().unwrap_or(b'0')).to_digit(16).unwrap_or(0)).unwrap();
        out.push(if byte == b'%' { digit() << 4 | digit() } else { byte });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A moment as headers say it.
pub(crate) fn date(time: Timestamp) -> String {
    DateTime::from_timestamp_micros(time.micros()).unwrap().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
