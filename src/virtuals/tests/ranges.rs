use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::container;
use super::server::{Reply, Request, Server, Shown};
use crate::format::{Container, FileKey, VirtualFile};
use crate::virtuals::{Access, Locator, VirtualLookup, Virtuals};
use crate::{Clock as _, ErrorKind, Result, SystemClock};

const KEY: &str = "air/c/0/0";

fn content() -> Vec<u8> {
    (0..1000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

struct Reader {
    server: Server,
    virtuals: Virtuals,
    containers: Vec<Container>,
    file: FileKey,
}

impl Reader {
    fn of(options: impl Fn(Access) -> Access, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let server = Server::start(answer);
        let access = Access::parse([format!("{}=private+unpinned", server.url("/data/")).as_str()]).unwrap();
        let containers = vec![container("web", &server.url("/{}"))];
        let file = Locator::new(&containers).unwrap().locate(&server.url("/data/a.nc")).unwrap().file;
        Self { server, virtuals: Virtuals::new(options(access.patience(Duration::from_secs(2)))), containers, file }
    }

    async fn look(&self) -> VirtualFile {
        let looked = self.virtuals.lookup(&self.containers, &self.file, VirtualLookup::at(SystemClock.now())).await.unwrap();
        looked.told().unwrap().record(1, 1)
    }

    async fn read(&self, record: &VirtualFile, range: Range<u64>) -> Result<Vec<u8>> {
        self.virtuals.read(&self.containers, &self.file, record, range, KEY).await.map(|bytes| bytes.to_vec())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::testing::property_cases(200)))]

    #[test]
    fn parts_give_the_bytes_that_one_request_gives(ranges in prop::collection::vec((0u64..1000, 1u64..400), 1..4), longest in 1u64..500) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let reader = Reader::of(|access| access.longest(longest.max(20)), |request| Shown::new(content()).answer(request));
            let record = reader.look().await;
            for (start, length) in ranges {
                let range = start..(start + length).min(1000);
                let found = reader.read(&record, range.clone()).await.unwrap();
                assert_eq!(found, content()[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
            }
            let asked = reader.server.take();
            let lengths = asked.iter().filter_map(Request::range).map(|range| range.len() as u64);
            assert!(lengths.max().unwrap_or(0) <= longest.max(20));
            let gets = asked.iter().filter(|asked| asked.method == "GET");
            assert!(gets.into_iter().all(|asked| asked.header("if-match") == Some("\"one\"")), "one condition for all parts");
        });
    }
}

/// A file that is replaced while its parts are read must not be put together from two states.
#[tokio::test]
async fn parts_of_two_states_are_not_put_together() {
    let reader = Reader::of(
        |access| access.longest(100),
        |request| {
            let state = if request.range().is_some_and(|range| range.start >= 500) { "two" } else { "one" };
            let shown = Shown { etag: format!("\"{state}\""), ..Shown::new(content()) };
            // One that knows no conditions, and a record that holds none.
            shown.unconditionally(request)
        },
    );
    let mut record = reader.look().await;
    assert_eq!(reader.read(&record, 0..400).await.unwrap(), content()[..400]);
    assert_eq!(reader.read(&record, 0..1000).await.unwrap_err().kind(), ErrorKind::SourceChanged);
    (record.etag, record.modified) = (None, None);
    assert_eq!(reader.read(&record, 0..1000).await.unwrap_err().kind(), ErrorKind::SourceChanged);
}

#[tokio::test]
async fn a_server_that_cannot_give_parts_is_asked_for_the_whole_range() {
    let whole = Reader::of(|access| access.longest(100), |_| Reply::Answer(200, vec![("etag", "\"one\"".to_owned())], content()));
    let record = whole.look().await;
    assert_eq!(whole.read(&record, 0..1000).await.unwrap(), content());
    assert_eq!(whole.read(&record, 300..700).await.unwrap(), content()[300..700], "out of the whole file");
    // Nothing would show that two answers are of one state, so there is one.
    let nameless = Reader::of(
        |access| access.longest(100),
        |request| Shown { etag: String::new(), modified: String::new(), ..Shown::new(content()) }.unconditionally(request),
    );
    let record = nameless.look().await;
    nameless.server.take();
    assert_eq!(nameless.read(&record, 0..1000).await.unwrap(), content());
    assert_eq!(nameless.server.take().last().unwrap().range(), Some(0..1000));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_until_the_deadline() {
    let failing = |times: usize, status: u16, again: &'static str| {
        let failures = AtomicUsize::new(0);
        move |request: &Request| {
            if request.method == "HEAD" || failures.fetch_add(1, Ordering::Relaxed) >= times {
                return Shown::new(content()).answer(request);
            }
            Reply::Answer(status, vec![("retry-after", again.to_owned())], Vec::new())
        }
    };
    for status in [429, 503] {
        let reader = Reader::of(|access| access, failing(4, status, "0"));
        let record = reader.look().await;
        reader.server.take();
        assert_eq!(reader.read(&record, 4..8).await.unwrap(), content()[4..8]);
        assert_eq!(reader.server.take().len(), 5, "{status}");
        // A wait that is longer than the reader's patience is not begun.
        let reader = Reader::of(|access| access, failing(1, status, "3600"));
        let record = reader.look().await;
        reader.server.take();
        let error = reader.read(&record, 4..8).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("3600s"), "{error:?}");
        assert_eq!(reader.server.take().len(), 1, "{status}");
    }
    // Another failure is tried three times.
    let reader = Reader::of(|access| access, failing(9, 500, "0"));
    let record = reader.look().await;
    reader.server.take();
    assert_eq!(reader.read(&record, 4..8).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(reader.server.take().len(), 3);
    // What is said of the file is final.
    for (status, kind) in [(404, ErrorKind::NotFound), (416, ErrorKind::Corrupt)] {
        let reader = Reader::of(|access| access, failing(9, status, "0"));
        let record = reader.look().await;
        reader.server.take();
        assert_eq!(reader.read(&record, 4..8).await.unwrap_err().kind(), kind);
        assert_eq!(reader.server.take().len(), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_is_sent_no_more_requests_at_once_than_the_reader_says() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, seen) = (Arc::clone(&now), Arc::clone(&most));
    let reader = Reader::of(
        |access| access.per_host(3).longest(50),
        move |request| {
            seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(3));
            inside.fetch_sub(1, Ordering::SeqCst);
            Shown::new(content()).answer(request)
        },
    );
    let record = reader.look().await;
    let reads = (0..6).map(|n| reader.read(&record, n..n + 400));
    for (n, read) in futures::future::join_all(reads).await.into_iter().enumerate() {
        assert_eq!(read.unwrap(), content()[n..n + 400]);
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
}
