//! A small web server in this process, which does what a test tells it to; included with `#[path]`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The range that was asked for; a suffix range fails the test.
    pub(crate) fn range(&self) -> Option<std::ops::Range<usize>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        Some(first.parse().unwrap()..last.parse::<usize>().unwrap() + 1)
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status, headers, and a body, whose length is said unless a header says another.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The same, with a pause before each byte of the body.
    Trickle(Duration, u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Nothing, and the connection stays open until the test is over.
    Silence,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }
}

/// A file as an honest server shows it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) bytes: Vec<u8>,
    /// With its quotes; empty for none.
    pub(crate) etag: String,
    /// `Sat, 01 Jun 2024 00:00:00 GMT`; empty for none.
    pub(crate) modified: String,
}

impl Shown {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), etag: "\"one\"".to_owned(), modified: "Sat, 01 Jun 2024 00:00:00 GMT".to_owned() }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let all = [("etag", &self.etag), ("last-modified", &self.modified)];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect()
    }

    /// Answers by the rules.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let is_other = request.header("if-match").is_some_and(|etag| etag != self.etag)
            || request.header("if-unmodified-since").is_some_and(|date| !self.modified.is_empty() && order(&self.modified) > order(date));
        if is_other {
            return Reply::status(412);
        }
        self.unconditionally(request)
    }

    /// Answers as one that knows no conditions.
    pub(crate) fn unconditionally(&self, request: &Request) -> Reply {
        let (mut headers, length) = (self.headers(), self.bytes.len());
        match request.range() {
            None => Reply::Answer(200, headers, self.bytes.clone()),
            Some(range) if range.start >= length => Reply::Answer(416, vec![("content-range", format!("bytes */{length}"))], Vec::new()),
            Some(range) => {
                let end = range.end.min(length);
                headers.push(("content-range", format!("bytes {}-{}/{length}", range.start, end - 1)));
                Reply::Answer(206, headers, self.bytes[range.start..end].to_vec())
            }
        }
    }
}

/// `Sat, 01 Jun 2024 00:00:00 GMT` as something that sorts.
fn order(date: &str) -> (u32, usize, u32, String) {
    let words: Vec<&str> = date.split(' ').collect();
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(words[2]).unwrap();
    (words[3].parse().unwrap(), month, words[1].parse().unwrap(), words[4].to_owned())
}

/// Listens until the process ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || serve(&stream, &*answer, &log));
            }
        });
        Self { port, seen }
    }

    /// The URL of a path on it, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What was asked since this was called last.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(mut stream: &TcpStream, answer: &(impl Fn(&Request) -> Reply + ?Sized), log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        log.lock().unwrap().push(request.clone());
        let (pause, status, headers, body) = match answer(&request) {
            Reply::Answer(status, headers, body) => (None, status, headers, body),
            Reply::Trickle(pause, status, headers, body) => (Some(pause), status, headers, body),
            Reply::Silence => {
                std::thread::park();
                return;
            }
        };
        let mut head = format!("HTTP/1.1 {status} Said\r\n");
        for (name, value) in &headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        // A server that says another length has nothing more to say.
        let is_cut = headers.iter().any(|(name, _)| *name == "content-length");
        if !is_cut {
            write!(head, "content-length: {}\r\n", body.len()).unwrap();
        }
        let (head, body) = ((head + "\r\n").into_bytes(), if request.method == "HEAD" { Vec::new() } else { body });
        let is_sent = match pause {
            None => stream.write_all(&[head, body].concat()).is_ok(),
            Some(pause) => {
                stream.write_all(&head).is_ok()
                    && body.iter().all(|byte| {
                        std::thread::sleep(pause);
                        stream.write_all(&[*byte]).is_ok()
                    })
            }
        };
        if !is_sent || (is_cut && request.method != "HEAD") {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut next = || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    let first = next()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        if line.is_empty() {
            return Some(Request { method, target, headers });
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}
