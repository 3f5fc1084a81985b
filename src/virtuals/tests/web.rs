use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::container;
use super::server::{Reply, Request, Server, Shown};
use crate::format::{Container, FileKey, VirtualFile};
use crate::id::HashAlgorithm;
use crate::virtuals::{Access, CheckDepth, FileState, Locator, VirtualLookup, Virtuals};
use crate::{Error, ErrorKind, Timestamp};

/// 2024-06-02, a day after everything here was last changed.
const NOW: Timestamp = Timestamp::from_micros(1_717_286_400_000_000);
const KEY: &str = "air/c/0/0";
const CONTENT: &[u8] = b"0123456789abcdefghij";

type Change = fn(&mut Shown);

/// A reader of one file of a server that does as it is told.
struct Reader {
    server: Server,
    virtuals: Virtuals,
    containers: Vec<Container>,
    file: FileKey,
}

impl Reader {
    fn of(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(answer, |server| vec![format!("{}=private", server.url("/data/"))])
    }

    fn with(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static, allowed: impl Fn(&Server) -> Vec<String>) -> Self {
        let server = Server::start(answer);
        let allowed = allowed(&server);
        let access = Access::parse(allowed.iter().map(String::as_str)).unwrap().patience(Duration::from_millis(300));
        let containers = vec![container("web", &server.url("/{}"))];
        let file = Locator::new(&containers).unwrap().locate(&server.url("/data/a.nc")).unwrap().file;
        Self { server, virtuals: Virtuals::new(access), containers, file }
    }

    async fn look(&self, digest: Option<HashAlgorithm>) -> Result<Option<VirtualFile>, Error> {
        let lookup = VirtualLookup { digest, ..VirtualLookup::at(NOW) };
        Ok(self.virtuals.lookup(&self.containers, &self.file, lookup).await?.told().map(|validator| validator.record(1, 1)))
    }

    async fn read(&self, record: &VirtualFile, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
        self.virtuals.read(&self.containers, &self.file, record, range, KEY).await.map(|bytes| bytes.to_vec())
    }

    async fn fails(&self, record: &VirtualFile, kind: ErrorKind) -> String {
        let error = self.read(record, 4..8).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(KEY), "{error}");
        super::advised(&error)
    }

    async fn check(&self, record: &VirtualFile) -> FileState {
        self.virtuals.check(&self.containers, &self.file, record, CheckDepth::Digest).await.unwrap().state()
    }
}

/// What an honest server tells of [`CONTENT`].
async fn recorded() -> VirtualFile {
    honest(Shown::new(CONTENT)).look(None).await.unwrap().unwrap()
}

fn honest(shown: Shown) -> Reader {
    Reader::of(move |request| shown.answer(request))
}

#[tokio::test]
async fn a_part_is_read_under_the_condition_that_the_file_is_the_recorded_one() {
    let reader = honest(Shown::new(CONTENT));
    let record = reader.look(None).await.unwrap().unwrap();
    assert_eq!((record.size, record.etag.as_deref()), (Some(20), Some(&b"one"[..])));
    assert_eq!(record.modified, Some(Timestamp::from_micros(1_717_200_000_000_000)));
    assert_eq!(reader.server.take()[0].method, "HEAD");
    assert_eq!(reader.read(&record, 4..8).await.unwrap(), b"4567");
    let asked = reader.server.take();
    assert_eq!((asked.len(), asked[0].target.as_str()), (1, "/data/a.nc"), "one request a read");
    assert_eq!((asked[0].header("range"), asked[0].header("if-match")), (Some("bytes=4-7"), Some("\"one\"")));
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
    assert_eq!(reader.read(&record, 0..20).await.unwrap(), CONTENT);
    assert_eq!(reader.read(&record, 7..7).await.unwrap(), b"");
    assert_eq!(reader.check(&record).await, FileState::Unchanged);

    let dated = VirtualFile { etag: None, ..record.clone() };
    reader.server.take();
    assert_eq!(reader.read(&dated, 4..8).await.unwrap(), b"4567");
    let asked = reader.server.take();
    assert_eq!(asked[0].header("if-unmodified-since"), Some("Sat, 01 Jun 2024 00:00:00 GMT"));
}

#[tokio::test]
async fn a_changed_file_is_noticed_whether_or_not_the_server_knows_conditions() {
    let record = recorded().await;
    let changed = |change: Change| {
        let mut shown = Shown::new(CONTENT);
        change(&mut shown);
        shown
    };
    let rows: [(Change, ErrorKind, &str); 4] = [
        (|s| s.etag = "\"two\"".to_owned(), ErrorKind::SourceChanged, "etag one → two"),
        (|s| s.modified = "Sat, 01 Jun 2024 00:00:01 GMT".to_owned(), ErrorKind::SourceChanged, "modified 2024"),
        (|s| s.bytes.push(0), ErrorKind::SourceChanged, "size 20 → 21"),
        (|s| s.bytes.truncate(19), ErrorKind::Corrupt, "was 20 bytes when pinned, is 19"),
    ];
    for (change, kind, saying) in rows {
        let shown = changed(change);
        let message = honest(shown.clone()).fails(&record, kind).await;
        assert!(message.contains(saying), "{message}");
        let message = Reader::of(move |request| shown.unconditionally(request)).fails(&record, kind).await;
        assert!(message.contains(saying), "{message}");
    }
    assert_eq!(honest(changed(|s| s.etag = "\"two\"".to_owned())).check(&record).await.word(), "changed");
}

/// Ceph answers a quoted `If-Match` with 412 whatever the file.
#[tokio::test]
async fn a_server_that_denies_what_holds_is_read_all_the_same() {
    let record = recorded().await;
    let shown = Shown::new(CONTENT);
    let reader = Reader::of(move |request| if request.header("if-match").is_some() { Reply::status(412) } else { shown.answer(request) });
    assert_eq!(reader.read(&record, 4..8).await.unwrap(), b"4567");
}

#[tokio::test]
async fn every_status_is_the_error_that_says_what_to_do() {
    let record = recorded().await;
    for (status, kind, word) in [
        (404, ErrorKind::NotFound, "missing"),
        (410, ErrorKind::NotFound, "missing"),
        (401, ErrorKind::Denied, "forbidden"),
        (403, ErrorKind::Denied, "forbidden"),
        (304, ErrorKind::Unavailable, "unreachable"),
        (500, ErrorKind::Unavailable, "unreachable"),
        (503, ErrorKind::Unavailable, "unreachable"),
        (501, ErrorKind::Unsupported, "unverifiable"),
    ] {
        let reader = Reader::of(move |_| Reply::status(status));
        reader.fails(&record, kind).await;
        assert_eq!(reader.check(&record).await.word(), word, "{status}");
    }
    let absent = Reader::of(|_| Reply::status(404));
    assert_eq!(absent.look(None).await.unwrap_err().kind(), ErrorKind::NotFound);
    let past_end = Reader::of(|_| Reply::Answer(416, vec![("content-range", "bytes */6".to_owned())], Vec::new()));
    assert!(past_end.fails(&record, ErrorKind::Corrupt).await.contains("was 20 bytes when pinned, is 6"));
    let nobody = honest(Shown::new(CONTENT));
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let containers = vec![container("web", &format!("http://127.0.0.1:{gone}/{{}}"))];
    let access = Access::parse([format!("http://127.0.0.1:{gone}/=private").as_str()]).unwrap();
    let state = Virtuals::new(access).check(&containers, &nobody.file, &record, CheckDepth::Digest).await.unwrap();
    assert_eq!(state.state().word(), "unreachable");
}

/// Nothing was pinned, and the lookup said that the file had changed since it was, or was cut short.
#[tokio::test]
async fn a_first_lookup_says_nothing_of_a_pin() {
    let says = async |reader: Reader, kind: ErrorKind, saying: &str| {
        let error = reader.look(None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(saying) && error.remedy().is_none(), "{error:?}");
    };
    says(Reader::of(|_| Reply::status(412)), ErrorKind::Unsupported, "answers 412").await;
    says(Reader::of(|_| Reply::status(416)), ErrorKind::Invalid, "answers 416").await;
    // A server that knows no HEAD request tells what is asked for as a part.
    for status in [412, 416] {
        let shown = Shown::new(CONTENT);
        let reader = Reader::of(move |asked| if asked.method == "HEAD" { Reply::status(status) } else { shown.answer(asked) });
        assert_eq!(reader.look(None).await.unwrap().unwrap().size, Some(20), "{status}");
        let shown = Shown::new(Vec::new());
        let reader = Reader::of(move |asked| if asked.method == "HEAD" { Reply::status(status) } else { shown.answer(asked) });
        assert_eq!(reader.look(None).await.unwrap().unwrap().size, Some(0), "{status}");
    }
}

#[tokio::test]
async fn a_server_that_fails_once_is_asked_again() {
    let (record, shown, asked) = (recorded().await, Shown::new(CONTENT), AtomicU32::new(0));
    let reader =
        Reader::of(move |request| if asked.fetch_add(1, Ordering::Relaxed) == 0 { Reply::status(503) } else { shown.answer(request) });
    assert_eq!(reader.read(&record, 4..8).await.unwrap(), b"4567");
    assert_eq!(reader.server.take().len(), 2);
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for_are_refused() {
    let record = recorded().await;
    let part = |range: &str, body: &str| {
        let shown = Shown::new(CONTENT);
        let headers = vec![("etag", shown.etag), ("last-modified", shown.modified), ("content-range", range.to_owned())];
        Reply::Answer(206, headers.into_iter().filter(|(_, value)| !value.is_empty()).collect(), body.into())
    };
    let answering = |reply: Reply| Reader::of(move |_| reply.clone());
    for (reply, kind) in [
        (part("", "4567"), ErrorKind::Unsupported),
        (part("bytes 5-8/20", "5678"), ErrorKind::Unsupported),
        (part("bytes 4-9/20", "456789"), ErrorKind::Unsupported),
        (part("bytes 4-6/20", "456"), ErrorKind::Unsupported),
        (part("bytes 4-7/20", "456"), ErrorKind::Unavailable),
        (part("bytes 4-7/21", "4567"), ErrorKind::SourceChanged),
        (part("bytes 4-5/6", "45"), ErrorKind::Corrupt),
    ] {
        answering(reply).fails(&record, kind).await;
    }
    let Reply::Answer(status, mut headers, body) = part("bytes 4-7/20", "4567") else { unreachable!() };
    headers.push(("content-encoding", "gzip".to_owned()));
    answering(Reply::Answer(status, headers.clone(), body.clone())).fails(&record, ErrorKind::Unsupported).await;
    // Cut off: less comes than was announced.
    headers.retain(|(name, _)| *name != "content-encoding");
    headers.push(("content-length", "4".to_owned()));
    answering(Reply::Answer(status, headers, body[..2].to_vec())).fails(&record, ErrorKind::Unavailable).await;
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_beginning_as_far_as_that_is_bearable() {
    let whole = |shown: Shown| Reader::of(move |_| Reply::Answer(200, vec![("etag", shown.etag.clone())], shown.bytes.clone()));
    let small = whole(Shown::new(CONTENT));
    let record = small.look(None).await.unwrap().unwrap();
    assert_eq!(small.read(&record, 4..8).await.unwrap(), b"4567");
    let large = whole(Shown::new(vec![7; 17 << 20]));
    let record = large.look(None).await.unwrap().unwrap();
    assert_eq!(large.read(&record, 0..17 << 20).await.unwrap().len(), 17 << 20, "all of it is what was asked for");
    let end = (16 << 20) + 8;
    let error = large.read(&record, end - 4..end).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn a_server_that_answers_no_head_is_asked_for_a_byte() {
    let shown = Shown::new(CONTENT);
    let reader = Reader::of(move |request| if request.method == "HEAD" { Reply::status(405) } else { shown.answer(request) });
    let record = reader.look(None).await.unwrap().unwrap();
    assert_eq!((record.size, record.etag.as_deref()), (Some(20), Some(&b"one"[..])));
    assert_eq!(reader.server.take().last().unwrap().header("range"), Some("bytes=0-0"));
    let empty = Reader::of(|request| if request.method == "HEAD" { Reply::status(405) } else { Shown::new("").unconditionally(request) });
    assert_eq!(empty.look(None).await.unwrap().unwrap().size, Some(0));
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_given_up() {
    let record = recorded().await;
    let message = Reader::of(|_| Reply::Silence).fails(&record, ErrorKind::Unavailable).await;
    assert!(message.contains("does not answer"), "{message}");
}

#[tokio::test]
async fn a_locked_digest_is_verified_by_one_read_of_the_whole() {
    for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
        let reader = honest(Shown::new(CONTENT));
        let record = reader.look(Some(hash)).await.unwrap().unwrap();
        assert_eq!(record.digest.as_deref(), Some(crate::virtuals::validator::multihash(&hash.digest(CONTENT)).as_slice()));
        let fresh = honest(Shown::new(CONTENT));
        assert_eq!(fresh.read(&record, 4..8).await.unwrap(), b"4567");
        assert_eq!(fresh.read(&record, 8..9).await.unwrap(), b"8");
        let whole = fresh.server.take().iter().filter(|asked| asked.method == "GET" && asked.header("range").is_none()).count();
        assert_eq!(whole, 1, "the verdict is kept");
        let mut other = Shown::new(CONTENT);
        other.bytes[0] = b'!';
        let message = honest(other).fails(&record, ErrorKind::Corrupt).await;
        assert!(message.contains("is locked"), "{message}");
        let nameless = Shown { etag: String::new(), modified: String::new(), ..Shown::new(CONTENT) };
        honest(nameless).fails(&VirtualFile { etag: None, modified: None, ..record }, ErrorKind::Unsupported).await;
    }
}

/// A body without an announced length is read no further than the file is long, and a file of unknown length not at all.
#[tokio::test]
async fn a_whole_file_is_read_no_further_than_it_is_long() {
    let record = honest(Shown::new(CONTENT)).look(Some(HashAlgorithm::Sha2_256)).await.unwrap().unwrap();
    let longer = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1 << 20, "x".repeat(1 << 20));
    let (shown, chunked) = (Shown::new(CONTENT), ("transfer-encoding", "chunked".to_owned()));
    let endless = Reader::of(move |request| match (shown.answer(request), request.method.as_str()) {
        (Reply::Answer(status, mut headers, _), "GET") if request.header("range").is_none() => {
            headers.push(chunked.clone());
            Reply::Answer(status, headers, longer.clone().into())
        }
        (reply, _) => reply,
    });
    endless.fails(&record, ErrorKind::SourceChanged).await;
    let reader = Reader::of(|request| match request.range() {
        Some(_) => Reply::Answer(206, vec![("etag", "\"one\"".to_owned()), ("content-range", "bytes 0-0/*".to_owned())], vec![b'0']),
        None => Reply::status(405),
    });
    let record = VirtualFile { modified: None, ..record };
    let message = reader.fails(&record, ErrorKind::Unsupported).await;
    assert!(message.contains("does not tell its size"), "{message}");
}

#[tokio::test]
async fn answers_that_send_elsewhere_are_followed_only_where_the_reader_allows_it() {
    let record = recorded().await;
    let sending = |to: String| move |_: &Request| Reply::Answer(302, vec![("location", to.clone())], Vec::new());
    // Within what is allowed.
    let shown = Shown::new(CONTENT);
    let reader = Reader::of(move |request| match request.target.as_str() {
        "/data/a.nc" => Reply::Answer(307, vec![("location", "moved/a.nc?x=1".to_owned())], Vec::new()),
        _ => shown.answer(request),
    });
    assert_eq!(reader.read(&record, 4..8).await.unwrap(), b"4567");
    assert_eq!(reader.server.take().last().unwrap().target, "/data/moved/a.nc?x=1");
    // To another path or host that nobody allowed.
    for (to, shown) in [("/private/a.nc", "/private/"), ("http://203.0.113.7/data/a.nc?sig=secret", "http://203.0.113.7/data/")] {
        let message = Reader::of(sending(to.to_owned())).fails(&record, ErrorKind::Denied).await;
        assert!(message.contains("is sent on to") && message.contains(shown) && message.contains("add --allow"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    // By a spelling of the path that another server may read as a way out.
    let message = Reader::of(sending("/data/x%2f..%2F../private/a.nc".to_owned())).fails(&record, ErrorKind::Denied).await;
    assert!(message.contains(". or .. segment"), "{message}");
    // To a place that is allowed, at an address that is not.
    let inner = Server::start(|request| Shown::new(CONTENT).answer(request));
    let (to, port) = (inner.url("/data/a.nc"), inner.port);
    let reader = Reader::with(sending(to), move |server| {
        vec![format!("{}=private", server.url("/data/")), format!("http://127.0.0.1:{port}/data/")]
    });
    let message = reader.fails(&record, ErrorKind::Denied).await;
    assert!(message.contains("127.0.0.1 is an address of this machine") && message.contains("/data/=private"), "{message}");
    assert!(inner.take().is_empty(), "nothing was sent there");
    // For ever.
    let message = Reader::of(sending("/data/a.nc".to_owned())).fails(&record, ErrorKind::Unavailable).await;
    assert!(message.contains("more than 5 times"), "{message}");
}

#[tokio::test]
async fn addresses_that_are_not_public_must_be_meant() {
    let record = recorded().await;
    let closed = Reader::with(|request| Shown::new(CONTENT).answer(request), |server| vec![server.url("/data/")]);
    let message = closed.fails(&record, ErrorKind::Denied).await;
    assert!(message.contains("127.0.0.1 is an address of this machine") && message.contains("/data/=private"), "{message}");
    assert!(closed.server.take().is_empty());
    assert_eq!(closed.look(None).await.unwrap(), None, "and so it is pinned without being asked");
    // A name is judged by where it leads, at the moment of connecting.
    let port = closed.server.port;
    let containers = vec![container("web", &format!("http://localhost:{port}/{{}}"))];
    let access = Access::parse([format!("http://localhost:{port}/").as_str()]).unwrap();
    let state = Virtuals::new(access).check(&containers, &closed.file, &record, CheckDepth::Digest).await.unwrap();
    assert!(state.state() == FileState::Denied && state.problem().unwrap().to_string().contains("localhost leads to"), "{state:?}");
    assert!(closed.server.take().is_empty());
    let nothing = Reader::with(|_| Reply::status(200), |_| Vec::new());
    assert!(nothing.fails(&record, ErrorKind::Denied).await.contains("which is not allowed; add --allow http://127.0.0.1"));
}

#[tokio::test]
async fn a_url_is_sent_as_it_is_written_or_not_at_all() {
    let record = recorded().await;
    let shown = Shown::new(CONTENT);
    let server = Server::start(move |request| shown.answer(request));
    let access = || Access::parse([format!("http://127.0.0.1:{}/=private", server.port).as_str()]).unwrap();
    for (path, is_sent) in [("a%20b/c+d;e=f,g?x=%2F&y=/../z", true), ("a%2Fb//c", true), ("a\"b", false), ("ä", false)] {
        let containers = vec![container("web", &server.url("/{}"))];
        let file = Locator::new(&containers).unwrap().locate(&server.url(&format!("/{path}"))).unwrap().file;
        let read = Virtuals::new(access()).read(&containers, &file, &record, 4..8, KEY).await;
        let sent = server.take();
        match read {
            Ok(_) => assert!(is_sent && sent[0].target == format!("/{path}"), "{path}: {sent:?}"),
            Err(e) => assert!(!is_sent && sent.is_empty() && e.kind() == ErrorKind::Unsupported, "{path}: {e}"),
        }
    }
}

/// Every header as a hostile or broken server may send it. What cannot be recorded is left out, and the file is read as far as
/// the rest identifies it.
#[tokio::test]
async fn headers_that_cannot_be_recorded_are_left_out() {
    let long = format!("\"{}\"", "x".repeat(257));
    for etag in [long.as_str(), "\"\"", "\"a b\"", "\"a\tb\"", "W/\"weak\""] {
        let reader = honest(Shown { etag: etag.to_owned(), ..Shown::new(CONTENT) });
        let record = reader.look(None).await.unwrap().unwrap();
        assert_eq!((record.etag.as_ref(), record.size), (None, Some(20)), "{etag}");
        assert!(record.check().is_ok() && record.is_pinned(), "{record:?}");
        assert_eq!(reader.read(&record, 4..8).await.unwrap(), b"4567");
    }
    for modified in ["", "0", "Thu, 01 Jan 1920 00:00:00 GMT", "Fri, 31 Dec 99999 23:59:59 GMT", "yesterday"] {
        let reader = Reader::of({
            let shown = Shown { etag: String::new(), modified: modified.to_owned(), ..Shown::new(CONTENT) };
            move |request| shown.unconditionally(request)
        });
        let record = reader.look(None).await.unwrap().unwrap();
        assert_eq!((record.modified, record.is_pinned()), (None, false), "{modified}");
        reader.fails(&record, ErrorKind::Unsupported).await;
    }
    for length in ["-1", "18446744073709551615", "99999999999999999999999", "ten"] {
        let reader = Reader::of(move |request| match Shown::new(CONTENT).answer(request) {
            Reply::Answer(status, mut headers, body) if request.method == "HEAD" => {
                headers.push(("content-length", length.to_owned()));
                Reply::Answer(status, headers, body)
            }
            other => other,
        });
        // A client may refuse such an answer as a whole; nothing is recorded then.
        if let Ok(Some(record)) = reader.look(None).await {
            assert!(record.check().is_ok() && record.size.is_none_or(|size| size < 1 << 63), "{length}: {record:?}");
        }
    }
}

/// Readers of one file that needed its digest at the same time each read all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_locked_digest_is_computed_once_for_readers_at_the_same_time() {
    let reader = Reader::of(|request| {
        // Long enough for all readers to be there.
        if request.method == "GET" && request.range().is_none() {
            std::thread::sleep(Duration::from_millis(100));
        }
        Shown::new(CONTENT).answer(request)
    });
    let record = reader.look(Some(HashAlgorithm::Sha2_256)).await.unwrap().unwrap();
    assert!(record.digest.is_some());
    // Another reader, who knows no digest yet.
    let access = Access::parse([format!("{}=private", reader.server.url("/data/")).as_str()]).unwrap();
    let fresh = Reader { virtuals: Virtuals::new(access), ..reader };
    fresh.server.take();
    let reads = (0..8).map(|n| fresh.read(&record, n..n + 4));
    for (n, read) in futures::future::join_all(reads).await.into_iter().enumerate() {
        assert_eq!(read.unwrap(), &CONTENT[n..n + 4]);
    }
    let whole = fresh.server.take().into_iter().filter(|request| request.method == "GET" && request.range().is_none()).count();
    assert_eq!(whole, 1, "the whole file was read once");
}

/// Each attempt and each redirect had the whole of the patience for itself.
#[tokio::test]
async fn a_chain_of_slow_servers_ends_with_the_patience_of_the_reader() {
    let mut reader = Reader::of(|request| {
        // A single one would be given up after half of the patience, 1 s.
        std::thread::sleep(Duration::from_millis(700));
        Reply::Answer(302, vec![("location", format!("{}x", request.target))], Vec::new())
    });
    let allowed = format!("{}=private", reader.server.url("/data/"));
    reader.virtuals = Virtuals::new(Access::parse([allowed.as_str()]).unwrap().patience(Duration::from_secs(2)));
    let message = reader.fails(&recorded().await, ErrorKind::Unavailable).await;
    assert!(message.contains("does not answer within 2s"), "{message}");
    assert!(reader.server.take().len() <= 3, "the fourth hop is not asked");
}

/// What the reading of an answer took counted against the patience, so that half an answer of a slow line was the last.
#[tokio::test]
async fn half_an_answer_is_asked_for_again_however_long_it_took() {
    let record = recorded().await;
    for hash in [None, Some(HashAlgorithm::Sha2_256)] {
        let asked = AtomicU32::new(0);
        let reader = Reader::of(move |request| match Shown::new(CONTENT).answer(request) {
            Reply::Answer(status, mut headers, body) if request.method == "GET" && asked.fetch_add(1, Ordering::Relaxed) == 0 => {
                headers.push(("content-length", body.len().to_string()));
                // Longer than the patience of 300 ms, and shorter than a reader may need for a body.
                let half = body[..body.len() / 2].to_vec();
                let pause = Duration::from_millis(400) / u32::try_from(half.len()).unwrap();
                Reply::Trickle(pause.min(Duration::from_millis(90)), status, headers, half)
            }
            whole => whole,
        });
        match hash {
            None => assert_eq!(reader.read(&record, 0..10).await.unwrap(), &CONTENT[..10]),
            Some(_) => assert!(reader.look(hash).await.unwrap().unwrap().digest.is_some()),
        }
        assert_eq!(reader.server.take().iter().filter(|request| request.method == "GET").count(), 2);
    }
}

/// A request that had waited behind others was not sent again when its answer was lost.
#[tokio::test]
async fn waiting_to_be_sent_takes_nothing_of_the_patience() {
    let asked = AtomicU32::new(0);
    let mut reader = Reader::of(move |request| match asked.fetch_add(1, Ordering::Relaxed) {
        0..3 => {
            std::thread::sleep(Duration::from_millis(800));
            Shown::new(CONTENT).answer(request)
        }
        3 => Reply::status(500),
        _ => Shown::new(CONTENT).answer(request),
    });
    let allowed = format!("{}=private", reader.server.url("/data/"));
    let access = Access::parse([allowed.as_str()]).unwrap().patience(Duration::from_secs(2)).per_host(1);
    reader.virtuals = Virtuals::new(access);
    let record = recorded().await;
    let reads = futures::future::join_all((0..4).map(|_| reader.read(&record, 4..8))).await;
    assert!(reads.iter().all(|read| read.as_ref().is_ok_and(|bytes| bytes == b"4567")), "{reads:?}");
    assert_eq!(reader.server.take().len(), 5);
}
