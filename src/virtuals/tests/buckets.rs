use std::collections::BTreeMap;
use std::time::Duration;

use super::server::{Reply, Request, Server, Shown};
use crate::format::{Container, FileKey, VirtualFile};
use crate::id::HashAlgorithm;
use crate::storage::credentials::ServerSettings;
use crate::storage::outside::{Bucket, Granted};
use crate::virtuals::{Access, Locator, VirtualLookup, Virtuals};
use crate::{Error, ErrorKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_717_286_400_000_000);
const KEY: &str = "air/c/0/0";
const CONTENT: &[u8] = b"0123456789abcdefghij";

type Change = fn(&mut Shown);

/// A reader of one object of a store on this machine that its container names.
struct Reader {
    server: Server,
    virtuals: Virtuals,
    containers: Vec<Container>,
    file: FileKey,
}

impl Reader {
    fn of(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with("s3", "data/a b+c.nc", "=private+at:{}", answer)
    }

    /// `{}` in `words` is the server.
    fn with(scheme: &str, key: &str, words: &str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let server = Server::start(answer);
        let endpoint = server.url(if scheme == "az" { "/nobody" } else { "" });
        let options = [("endpoint", endpoint.as_str()), ("region", "eu-north-1"), ("account", "nobody")];
        let options = options.into_iter().filter(|(name, _)| *name != "account" || scheme == "az");
        let template = format!("{scheme}://bucket/{{}}");
        let options: BTreeMap<_, _> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let containers = vec![Container { name: "store".to_owned(), template, defaults: BTreeMap::new(), options }];
        let file = Locator::new(&containers).unwrap().locate(&format!("{scheme}://bucket/{key}")).unwrap().file;
        let words = words.replace("{}", &endpoint);
        let access = Access::parse([format!("{scheme}://bucket/data/{words}").as_str()]).unwrap();
        Self { server, virtuals: Virtuals::new(access.patience(Duration::from_millis(400))), containers, file }
    }

    async fn look(&self) -> Result<Option<VirtualFile>, Error> {
        let found = self.virtuals.lookup(&self.containers, &self.file, VirtualLookup::at(NOW)).await?;
        Ok(found.told().map(|validator| validator.record(1, 1)))
    }

    async fn read(&self, record: &VirtualFile) -> Result<Vec<u8>, Error> {
        self.virtuals.read(&self.containers, &self.file, record, 4..8, KEY).await.map(|bytes| bytes.to_vec())
    }

    async fn fails(&self, record: &VirtualFile, kind: ErrorKind) -> String {
        let error = self.read(record).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        super::advised(&error)
    }
}

fn honest(shown: Shown) -> Reader {
    Reader::of(move |request| shown.answer(request))
}

async fn recorded() -> VirtualFile {
    honest(Shown::new(CONTENT)).look().await.unwrap().unwrap()
}

#[tokio::test]
async fn an_object_is_read_at_the_server_its_container_names_and_in_nobodys_name() {
    for (scheme, target) in
        [("s3", "/bucket/data/a%20b%2Bc.nc"), ("gs", "/bucket/data%2Fa%20b%2Bc.nc"), ("az", "/nobody/bucket/data/a%20b+c.nc")]
    {
        let is_supported = match scheme {
            "s3" => cfg!(feature = "aws"),
            "gs" => cfg!(feature = "gcp"),
            _ => cfg!(feature = "azure"),
        };
        if !is_supported {
            continue;
        }
        let shown = Shown::new(CONTENT);
        let reader = Reader::with(scheme, "data/a b+c.nc", "=private+at:{}", move |request| shown.answer(request));
        let record = reader.look().await.unwrap().unwrap();
        assert_eq!((record.size, record.etag.as_deref()), (Some(20), Some(&b"one"[..])), "{scheme}");
        reader.server.take();
        assert_eq!(reader.read(&record).await.unwrap(), b"4567", "{scheme}");
        let asked = reader.server.take();
        assert_eq!(asked.len(), 1, "{scheme}: {asked:?}");
        assert_eq!(decoded(&asked[0].target), decoded(target), "{scheme}");
        assert_eq!(
            (asked[0].header("range").or(asked[0].header("x-ms-range")), asked[0].header("if-match")),
            (Some("bytes=4-7"), Some("\"one\""))
        );
        assert_eq!(asked[0].header("authorization"), None, "{scheme}");
    }
}

/// Clients escape as they like; what the server reads is what counts.
fn decoded(target: &str) -> String {
    target.split('?').next().unwrap().replace("%20", " ").replace("%2B", "+").replace("%2F", "/").replace("%2E", ".")
}

#[tokio::test]
async fn a_changed_object_is_noticed_and_every_failure_has_its_kind() {
    let record = recorded().await;
    let changes: [(Change, ErrorKind); 4] = [
        (|s| s.etag = "\"two\"".to_owned(), ErrorKind::SourceChanged),
        (|s| s.bytes.push(0), ErrorKind::SourceChanged),
        (|s| s.bytes.truncate(6), ErrorKind::Corrupt),
        (|s| s.bytes.truncate(3), ErrorKind::Corrupt),
    ];
    for (change, kind) in changes {
        let mut shown = Shown::new(CONTENT);
        change(&mut shown);
        honest(shown.clone()).fails(&record, kind).await;
        Reader::of(move |request| shown.unconditionally(request)).fails(&record, kind).await;
    }
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (403, ErrorKind::Denied),
        (401, ErrorKind::Denied),
        (301, ErrorKind::Unsupported),
        (500, ErrorKind::Unavailable),
    ] {
        Reader::of(move |_| Reply::status(status)).fails(&record, kind).await;
    }
    Reader::of(|_| Reply::Silence).fails(&record, ErrorKind::Unavailable).await;
    // Ceph denies every quoted `If-Match`.
    let shown = Shown::new(CONTENT);
    let ceph = Reader::of(move |request| if request.header("if-match").is_some() { Reply::status(412) } else { shown.answer(request) });
    assert_eq!(ceph.read(&record).await.unwrap(), b"4567");
}

#[tokio::test]
async fn the_recorded_version_is_read_for_as_long_as_it_is_there() {
    let versioned = |current: &'static str, kept: &'static [&'static str]| {
        move |request: &Request| {
            let asked = request.target.split_once("versionId=").map_or(current, |(_, version)| version);
            if !kept.contains(&asked) {
                return Reply::status(404);
            }
            let mut shown = Shown::new(CONTENT);
            shown.etag = format!("\"{asked}\"");
            match shown.answer(request) {
                Reply::Answer(status, mut headers, body) => {
                    headers.push(("x-amz-version-id", asked.to_owned()));
                    Reply::Answer(status, headers, body)
                }
                other => other,
            }
        }
    };
    let record = Reader::of(versioned("v1", &["v1"])).look().await.unwrap().unwrap();
    assert_eq!(record.version.as_deref(), Some("v1"));
    let kept = Reader::of(versioned("v2", &["v1", "v2"]));
    assert_eq!(kept.read(&record).await.unwrap(), b"4567", "the version that was pinned");
    Reader::of(versioned("v2", &["v2"])).fails(&record, ErrorKind::SourceChanged).await;
    // So is one whose digest is locked: the current one was looked at, found to be another, and the read given up.
    let locked = VirtualLookup { digest: Some(HashAlgorithm::Sha2_256), ..VirtualLookup::at(NOW) };
    let first = Reader::of(versioned("v1", &["v1"]));
    let locked = first.virtuals.lookup(&first.containers, &first.file, locked).await.unwrap().told().unwrap().record(1, 1);
    let kept = Reader::of(versioned("v2", &["v1", "v2"]));
    assert_eq!(kept.read(&locked).await.unwrap(), b"4567");
    Reader::of(versioned("v2", &["v2"])).fails(&locked, ErrorKind::SourceChanged).await;
}

#[tokio::test]
async fn objects_are_read_only_where_and_as_the_reader_allows() {
    let record = recorded().await;
    let closed = Reader::with("s3", "data/a.nc", "", |request| Shown::new(CONTENT).answer(request));
    let message = closed.fails(&record, ErrorKind::Denied).await;
    assert!(
        message.contains("127.0.0.1 is an address of this machine") && message.contains("s3://bucket/data/=private+at:http://127.0.0.1:"),
        "{message}"
    );
    let elsewhere = Reader::with("s3", "other/a.nc", "=private+at:{}", |request| Shown::new(CONTENT).answer(request));
    assert!(elsewhere.fails(&record, ErrorKind::Denied).await.contains("add --allow s3://bucket/"));
    let other_server = Reader::with("s3", "data/a.nc", "=private+at:https://s3.example.org", |request| Shown::new(CONTENT).answer(request));
    // It said that the place was not allowed, and to allow it.
    let message = other_server.fails(&record, ErrorKind::Denied).await;
    let named = format!("names {0}; add --allow s3://bucket/data/=at:{0}", other_server.server.url(""));
    assert!(message.contains("is allowed at https://s3.example.org only, and container") && message.ends_with(&named), "{message}");
    let mut nowhere = Reader::with("s3", "data/a.nc", "=private+at:https://s3.example.org", |request| Shown::new(CONTENT).answer(request));
    nowhere.containers[0].options = BTreeMap::new();
    let message = nowhere.fails(&record, ErrorKind::Denied).await;
    assert!(message.contains("names no server: the option endpoint") && !message.contains("--allow"), "{message}");
    let mut crafted = Reader::with("s3", "data/a.nc", "=env+private", |request| Shown::new(CONTENT).answer(request));
    crafted.containers[0].options = BTreeMap::from([("region".to_owned(), "x.evil.example/".to_owned())]);
    crafted.fails(&record, ErrorKind::Invalid).await;
    // No name of a host, which the client took for one and panicked.
    crafted.containers[0].options = BTreeMap::from([("region".to_owned(), "xn--".to_owned())]);
    crafted.fails(&record, ErrorKind::Invalid).await;
    // What follows would come to stand in a query, or the client took for no URL at all.
    for behind in ["/latest/meta-data?", "/#", "/a b", "/%41", "/x/.."] {
        crafted.containers[0].options = BTreeMap::from([("endpoint".to_owned(), crafted.server.url(behind))]);
        crafted.fails(&record, ErrorKind::Invalid).await;
    }
    assert!(crafted.server.take().is_empty());
    let unspeakable = Reader::with("s3", "data//a.nc", "=private+at:{}", |request| Shown::new(CONTENT).answer(request));
    unspeakable.fails(&record, ErrorKind::Unsupported).await;
    // An address inside the reader's network was meant for the reader's own server, not for any that a snapshot names.
    let stranger = Reader::with("s3", "data/a.nc", "=env+private", |request| Shown::new(CONTENT).answer(request));
    assert!(stranger.fails(&record, ErrorKind::Denied).await.contains("is an address of this machine"));
    for reader in [closed, elsewhere, other_server, unspeakable, stranger] {
        assert!(reader.server.take().is_empty());
    }
}

/// An answer of 200 bytes ended the process: the client set aside as much memory for an error's text as its header announced.
#[tokio::test]
async fn lengths_that_an_answer_announces_are_not_believed() {
    let record = recorded().await;
    for announced in [1u64 << 60, 1 << 63, u64::MAX - 2] {
        for (status, kind) in [(404, ErrorKind::NotFound), (403, ErrorKind::Denied), (500, ErrorKind::Unavailable)] {
            let reply = Reply::Answer(status, vec![("content-length", announced.to_string())], vec![b'x'; 200_000]);
            Reader::of(move |_| reply.clone()).fails(&record, kind).await;
        }
    }
    // An explanation that is no text.
    let reply = Reply::Answer(404, Vec::new(), vec![0xff; 200]);
    Reader::of(move |_| reply.clone()).fails(&record, ErrorKind::NotFound).await;
    let last = u64::MAX;
    let part = vec![("etag", "\"one\"".to_owned()), ("content-range", format!("bytes 0-{last}/{last}"))];
    let reply = Reply::Answer(206, part, CONTENT.to_vec());
    Reader::of(move |_| reply.clone()).fails(&record, ErrorKind::Unavailable).await;
}

/// Naming an account is naming the server that its key would be sent to.
#[test]
fn an_account_that_a_snapshot_names_is_a_server_that_it_names() {
    let bucket = |endpoint: Option<&str>| Bucket {
        scheme: "az".to_owned(),
        name: "c".to_owned(),
        settings: ServerSettings { endpoint: endpoint.map(str::to_owned), region: None, account: Some("stranger".to_owned()) },
    };
    assert_eq!(bucket(None).server().unwrap(), "https://stranger.blob.core.windows.net");
    assert_eq!(bucket(Some("https://h")).server().unwrap(), "https://h");
    let access = Access::parse(["az://c/=env", "az://c/mine/=env+at:https://mine.blob.core.windows.net"]).unwrap();
    let sent =
        |url: &str, server: Option<String>| access.granted(url, server.as_deref()).unwrap().unwrap().credentials == Granted::Environment;
    assert!(!sent("az://c/x", bucket(None).server()));
    assert!(sent("az://c/x", None));
    assert!(sent("az://c/mine/x", Some("https://mine.blob.core.windows.net".to_owned())));
    assert!(!sent("az://c/mine/x", bucket(None).server()));
}

#[test]
fn credentials_go_only_to_servers_that_the_reader_named() {
    let access = Access::parse(["s3://b/=env", "s3://b/open/", "s3://b/c/=env+at:https://S3.example.org/", "https://h/=env"]).unwrap();
    let credentials =
        |url: &str, endpoint: Option<&str>| access.granted(url, endpoint).unwrap().map(|grant| grant.credentials == Granted::Environment);
    assert_eq!(credentials("s3://b/x", None), Some(true));
    assert_eq!(credentials("s3://b/x", Some("https://evil.example")), Some(false));
    assert_eq!(credentials("s3://b/open/x", None), Some(false), "the longest entry decides");
    assert_eq!(credentials("s3://b/c/x", Some("https://s3.example.org")), Some(true));
    assert_eq!(credentials("s3://b/c/x", Some("https://evil.example")), Some(false), "falls back to the entry that names no server");
    assert_eq!(credentials("s3://bb/x", None), None);
    assert_eq!(credentials("https://h/x?y=1", None), Some(true));
    assert_eq!(credentials("https://h.evil/x", None), None);
    assert_eq!(credentials("http://h/x", None), None);
}

/// `private` went to every server: a snapshot that named the address at which a machine's credentials are handed out was
/// asked there, because the reader had allowed a private address for the bucket.
#[test]
fn private_addresses_are_allowed_only_of_servers_that_the_reader_named() {
    let access = Access::parse(["s3://b/=private", "s3://b/c/=private+at:HTTP://Minio:9000/Path/"]).unwrap();
    let private = |url: &str, endpoint: Option<&str>| access.granted(url, endpoint).unwrap().map(|grant| grant.private);
    assert_eq!(private("s3://b/x", None), Some(true));
    assert_eq!(private("s3://b/x", Some("http://169.254.169.254/latest")), Some(false));
    assert_eq!(private("s3://b/c/x", Some("http://minio:9000/Path")), Some(true));
    assert_eq!(private("s3://b/c/x", Some("http://minio:9000/path")), Some(false), "paths are told apart by case");
    assert_eq!(private("s3://b/c/x", Some("http://169.254.169.254")), Some(false));
}
