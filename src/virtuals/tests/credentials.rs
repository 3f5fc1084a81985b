use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::container;
use super::server::{Reply, Request, Server, Shown};
use crate::format::{Container, FileKey, VirtualFile};
use crate::storage::credentials::ServerSettings;
use crate::storage::{CloudOptions, Credential, CredentialCommand, CredentialSet, CredentialSource, IssuedCredentials, Secret};
use crate::virtuals::{Access, CheckDepth, FileState, Locator, Validator, Virtuals};
use crate::{Clock as _, Error, ErrorKind, Remedy, Result, SystemClock, Timestamp};

const KEY: &str = "air/c/0/0";
const CONTENT: &[u8] = b"0123456789abcdefghij";

/// What every server here shows.
fn record() -> VirtualFile {
    let modified = Some(Timestamp::from_micros(1_717_200_000_000_000));
    let known = Validator { size: Some(20), modified, etag: Some(b"one".to_vec()), ..Validator::staged_at(SystemClock.now()) };
    known.record(1, 1)
}

/// A server that shows a file to requests whose `Authorization` is accepted.
fn guarded(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |request| match request.header("authorization") {
        Some(given) if accepts(given) => Shown::new(CONTENT).answer(request),
        // Some servers say what they were given.
        Some(given) => Reply::Answer(401, Vec::new(), format!("not let in with {given}").into()),
        None => Reply::status(401),
    })
}

/// Reads one part of a file of `containers`.
async fn read(virtuals: &Virtuals, containers: &[Container], url: &str) -> Result<Vec<u8>> {
    let file: FileKey = Locator::new(containers).unwrap().locate(url).unwrap().file;
    virtuals.read(containers, &file, &record(), 4..8, KEY).await.map(|bytes| bytes.to_vec())
}

fn web(server: &Server) -> Vec<Container> {
    vec![container("web", &server.url("/{}"))]
}

fn bucket(endpoint: Option<&str>) -> Vec<Container> {
    let options = endpoint.map(|endpoint| ("endpoint".to_owned(), endpoint.to_owned())).into_iter().collect();
    vec![Container { name: "store".to_owned(), template: "s3://bucket/{}".to_owned(), defaults: BTreeMap::new(), options }]
}

fn access(entries: &[String], sets: &[(&str, CredentialSet)]) -> Access {
    let mut access = Access::parse(entries.iter().map(String::as_str)).unwrap().patience(Duration::from_millis(800));
    for (name, set) in sets {
        access.credentials(*name, set.clone()).unwrap();
    }
    access
}

fn bearer(token: &str) -> CredentialSet {
    CredentialSet::fixed(Credential::bearer(token.to_owned()))
}

fn keys(id: &str) -> CredentialSet {
    CredentialSet::fixed(Credential::aws(id, "hush-key".to_owned(), Some(Secret::new("hush-token"))))
}

#[tokio::test]
async fn requests_carry_the_credentials_that_their_entry_names() {
    let server = guarded(|given| given == "Bearer hush" || given == "Basic bWU6aHVzaA==");
    let basic = CredentialSet::fixed(Credential::basic("me", "hush".to_owned()));
    let sets = [("a", bearer("hush")), ("b", basic), ("wrong", bearer("other-hush"))];
    let url = server.url("/data/a.nc");
    let of = |words: &str| Virtuals::new(access(&[format!("{}{words}", server.url("/data/"))], &sets));
    for name in ["a", "b"] {
        assert_eq!(read(&of(&format!("=as:{name}+private")), &web(&server), &url).await.unwrap(), b"4567");
    }
    let error = read(&of("=as:wrong+private"), &web(&server), &url).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("was given the credentials wrong"), "{error:?}");
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    // No entry names credentials, so there are none, and the error says which option would send some.
    server.take();
    let error = read(&of("=private"), &web(&server), &url).await.unwrap_err();
    assert_eq!(error.remedy(), Some(&Remedy::Allow(format!("{}=as:NAME+private", server.url("/data/")))), "{error:?}");
    assert!(server.take().iter().all(|asked| asked.header("authorization").is_none()));
    // A set is named if it names the server. One without a server is for the reader to choose, and one of another kind is not meant.
    let command = || CredentialSet::fetched(Arc::new(CredentialCommand::new("s3", "none", [])));
    let here = ("here", bearer("hush").endpoint(server.url("/data/")));
    for (sets, word) in [(vec![], "env"), (vec![("a", command())], "env"), (vec![("a", bearer("hush")), here], "as:here")] {
        let virtuals = Virtuals::new(access(&[format!("{}=private", server.url("/data/"))], &sets));
        let error = read(&virtuals, &web(&server), &url).await.unwrap_err();
        assert_eq!(error.remedy(), Some(&Remedy::Allow(format!("{}={word}+private", server.url("/data/")))), "{error:?}");
    }
    let other_kind = Virtuals::new(access(&[format!("{}=as:a+private", server.url("/data/"))], &[("a", command())]));
    let error = read(&other_kind, &web(&server), &url).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("are of kind s3; it takes http"), "{error:?}");
}

#[tokio::test]
async fn credentials_that_are_not_meant_for_a_place_are_not_sent() {
    let server = guarded(|_| true);
    let url = server.url("/data/a.nc");
    let elsewhere = bearer("hush").endpoint("https://data.example.org/sets/");
    let here = bearer("hush").endpoint(server.url("/data/"));
    let sets = [("elsewhere", elsewhere), ("here", here), ("keys", keys("AKIA")), ("broken", bearer("hu\nsh"))];
    let of = |words: &str| Virtuals::new(access(&[format!("{}{words}", server.url("/data/"))], &sets));
    for (name, kind, saying) in [
        ("elsewhere", ErrorKind::Denied, "credentials elsewhere, which are for https://data.example.org/sets/ only"),
        ("keys", ErrorKind::Invalid, "are of kind s3; it takes http"),
        ("nobody", ErrorKind::Invalid, "credentials nobody, which are not defined; defined are broken, elsewhere, here, keys"),
        ("repository", ErrorKind::Invalid, "credentials of the repository are for object stores"),
        ("broken", ErrorKind::Invalid, "credentials broken cannot be sent"),
    ] {
        let error = read(&of(&format!("=as:{name}+private")), &web(&server), &url).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(saying), "{error:?}");
        assert!(error.to_string().starts_with(KEY), "{error}");
    }
    assert!(server.take().is_empty());
    assert_eq!(read(&of("=as:here+private"), &web(&server), &url).await.unwrap(), b"4567");
    // Nothing secret goes to another machine without encryption.
    let plain = Virtuals::new(access(&["http://203.0.113.7/=as:a+private".to_owned()], &[("a", bearer("hush"))]));
    let error = read(&plain, &[container("web", "http://203.0.113.7/{}")], "http://203.0.113.7/a.nc").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("write https"), "{error:?}");
    let endpoint = keys("AKIA").endpoint("http://203.0.113.7");
    let plain = Virtuals::new(access(&["s3://bucket/=as:a+private".to_owned()], &[("a", endpoint)]));
    let error = read(&plain, &bucket(None), "s3://bucket/a.nc").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("write https"), "{error:?}");
}

#[tokio::test]
async fn a_redirect_carries_no_credentials_to_another_server() {
    let other = Server::start(|request| Shown::new(CONTENT).answer(request));
    let to = other.url("/open/a.nc");
    let first = Server::start(move |_| Reply::Answer(302, vec![("location", to.clone())], Vec::new()));
    let entry = |server: &Server, path: &str, words: &str| format!("{}{words}", server.url(path));
    let entries = [entry(&first, "/data/", "=as:a+private"), entry(&other, "/open/", "=private")];
    let virtuals = Virtuals::new(access(&entries, &[("a", bearer("hush"))]));
    assert_eq!(read(&virtuals, &web(&first), &first.url("/data/a.nc")).await.unwrap(), b"4567");
    assert!(first.take().iter().all(|asked| asked.header("authorization") == Some("Bearer hush")));
    let asked = other.take();
    assert!(!asked.is_empty() && !format!("{asked:?}").contains("hush"), "{asked:?}");
    // A set that is for the first server cannot be granted to the other one by mistake.
    let sets = [("a", bearer("hush").endpoint(first.url("")))];
    let entries = [entry(&first, "/data/", "=as:a+private"), entry(&other, "/open/", "=as:a+private")];
    let error = read(&Virtuals::new(access(&entries, &sets)), &web(&first), &first.url("/data/a.nc")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(other.take().is_empty());
}

#[tokio::test]
async fn buckets_take_the_keys_and_the_server_of_their_set() {
    let server = guarded(|given| given.contains("Credential=AKIAONE/"));
    let (one, two) = (keys("AKIAONE").endpoint(server.url("")), keys("AKIATWO").endpoint(server.url("")));
    let sets = [("one", one), ("two", two)];
    let of = |words: &str| Virtuals::new(access(&[format!("s3://bucket/{words}")], &sets));
    let url = "s3://bucket/data/a.nc";
    // Whether the snapshot names the server or the set does.
    let named = server.url("");
    for containers in [bucket(None), bucket(Some(&named))] {
        assert_eq!(read(&of("=as:one+private"), &containers, url).await.unwrap(), b"4567");
        let asked = format!("{:?}", server.take());
        assert!(asked.contains("hush-token") && !asked.contains("hush-key"), "{asked}");
        let error = read(&of("=as:two+private"), &containers, url).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("given the credentials two"), "{error:?}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    // Another server that the snapshot names gets nothing.
    let stranger = Server::start(|request| Shown::new(CONTENT).answer(request));
    let private = format!("=private+at:{}", stranger.url(""));
    let entries = [format!("s3://bucket/{}", "=as:one+private"), format!("s3://bucket/data/{private}")];
    let virtuals = Virtuals::new(access(&entries, &sets));
    assert_eq!(read(&virtuals, &bucket(Some(&stranger.url(""))), url).await.unwrap(), b"4567");
    assert!(stranger.take().iter().all(|asked| asked.header("authorization").is_none()));
    let error = read(&Virtuals::new(access(&entries[..1], &sets)), &bucket(Some(&stranger.url(""))), url).await.unwrap_err();
    assert!(error.to_string().contains("is an address of this machine"), "{error}");
    assert!(stranger.take().is_empty());
}

#[tokio::test]
async fn the_credentials_of_the_repository_are_used_only_where_an_entry_says_so() {
    let server = guarded(|given| given.contains("Credential=AKIAREPO/"));
    let variables = [("AWS_ACCESS_KEY_ID", "AKIAREPO"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_ENDPOINT_URL_S3", &server.url(""))];
    let cloud = CloudOptions::default().variables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let of = |words: &str| Virtuals::beside(access(&[format!("s3://bucket/{words}")], &[]), cloud.clone());
    let containers = bucket(None);
    assert_eq!(read(&of("=as:repository+private"), &containers, "s3://bucket/a.nc").await.unwrap(), b"4567");
    server.take();
    let named = bucket(Some(&server.url("")));
    let error = read(&of(&format!("=private+at:{}", server.url(""))), &named, "s3://bucket/a.nc").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(server.take().iter().all(|asked| asked.header("authorization").is_none()));
}

/// The server was taken from a set of keys or tokens only: sets of the other kinds were sent wherever their entry was.
#[tokio::test]
async fn a_set_of_any_kind_is_for_the_server_that_it_names() {
    let server = guarded(|given| given.contains("Credential=AKIAREPO/"));
    let open = Server::start(|request| Shown::new(CONTENT).answer(request));
    let other = Server::start(|request| Shown::new(CONTENT).answer(request));
    let variables = [("AWS_ACCESS_KEY_ID", "AKIAREPO"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_ENDPOINT_URL_S3", &other.url(""))];
    let cloud = CloudOptions::default().variables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let sets =
        [("repo", CredentialSet::repository().endpoint(server.url(""))), ("open", CredentialSet::anonymous().endpoint(open.url("")))];
    let url = "s3://bucket/data/a.nc";
    for (name, asked) in [("repo", &server), ("open", &open)] {
        let of = |words: &str| Virtuals::beside(access(&[format!("s3://bucket/=as:{name}+private{words}")], &sets), cloud.clone());
        assert_eq!(read(&of(""), &bucket(None), url).await.unwrap(), b"4567", "{name}");
        assert_eq!(asked.take().len(), 1, "{name}");
        let named = other.url("");
        let error = read(&of(&format!("+at:{named}")), &bucket(Some(&named)), url).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && error.to_string().contains(" only"), "{error:?}");
        assert!(other.take().is_empty(), "{name}");
    }
    // An account is no server of other schemes.
    let virtuals =
        access(&["s3://bucket/=as:a+at:https://minio.example".to_owned()], &[("a", CredentialSet::environment().account("corp"))]);
    assert!(virtuals.granted("s3://bucket/x", Some("https://minio.example")).is_ok());
    // On the web, and with the settings of the environment.
    let of = |set: CredentialSet| access(&["https://h/=as:a".to_owned(), "s3://bucket/=as:a".to_owned()], &[("a", set)]);
    for set in [CredentialSet::environment(), CredentialSet::anonymous(), CredentialSet::repository()] {
        let error = of(set.clone().endpoint("https://data.example.org/")).granted("https://h/x", None).unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("https://data.example.org/ only"), "{error:?}");
        let grant = of(set.endpoint("https://minio.example").region("north")).granted("s3://bucket/x", None).unwrap().unwrap();
        let ServerSettings { endpoint, region, .. } = grant.settings;
        assert_eq!((endpoint.as_deref(), region.as_deref()), (Some("https://minio.example"), Some("north")));
    }
}

/// Commands were printed with their arguments, and endpoints with what they must not hold.
#[test]
fn no_part_of_a_set_prints_a_secret() {
    let command = CredentialCommand::new("http", "tokens", ["--client-secret".to_owned(), "hush".to_owned()]);
    let set = CredentialSet::fetched(Arc::new(command));
    let printed = format!("{:?}", access(&[], &[("a", set.clone())]));
    assert!(printed.contains("tokens") && !printed.contains("hush"), "{printed}");
    for endpoint in ["https://me:hush@h/", "https://h/?sig=hush"] {
        let set = set.clone().endpoint(endpoint);
        assert!(!format!("{set:?}").contains("hush"), "{set:?}");
        let error = Access::default().credentials("a", set).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && !error.to_string().contains("hush"), "{error}");
    }
}

/// One place that was configured wrongly ended the check of all files.
#[tokio::test]
async fn a_place_that_cannot_be_asked_is_a_state_of_its_files() {
    let sets = [("keys", keys("AKIA")), ("broken", bearer("hu\nsh")), ("region", CredentialSet::anonymous().region("xn--"))];
    let server = guarded(|_| true);
    let check = async |entry: String, containers: Vec<Container>, url: &str| {
        let file = Locator::new(&containers).unwrap().locate(url).unwrap().file;
        let virtuals = Virtuals::new(access(&[entry], &sets));
        let checked = virtuals.check(&containers, &file, &record(), CheckDepth::Facts).await.unwrap();
        let problem = checked.problem().unwrap();
        assert_eq!((checked.state(), problem.kind()), (FileState::Unverifiable, ErrorKind::Invalid), "{problem:?}");
        problem.to_string()
    };
    for (name, saying) in [("keys", "it takes http"), ("nobody", "which are not defined"), ("broken", "cannot be sent")] {
        let said = check(format!("{}=as:{name}+private", server.url("/data/")), web(&server), &server.url("/data/a.nc")).await;
        assert!(said.contains(saying) && said.contains("/data/a.nc"), "{said}");
    }
    let said = check("s3://bucket/".to_owned(), bucket(Some("https://MinIO.example")), "s3://bucket/a.nc").await;
    assert!(said.contains("has a container whose endpoint is none"), "{said}");
    let said = check("s3://bucket/=as:region".to_owned(), bucket(None), "s3://bucket/a.nc").await;
    assert!(said.contains("has credentials whose region"), "{said}");
    // Of credentials whose kind is known this is said at once.
    let error = Access::default().credentials("a", keys("AKIA").endpoint("https://MinIO.example")).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("credentials a: the endpoint is none"), "{error}");
    // An empty option says nothing.
    let open = Server::start(|request| Shown::new(CONTENT).answer(request));
    let mut containers = bucket(Some(&open.url("")));
    containers[0].options.insert("region".to_owned(), String::new());
    let virtuals = Virtuals::new(access(&[format!("s3://bucket/=private+at:{}", open.url(""))], &[]));
    assert_eq!(read(&virtuals, &containers, "s3://bucket/a.nc").await.unwrap(), b"4567");
}

#[test]
fn a_container_whose_server_cannot_be_asked_is_not_recorded() {
    let check = |name: &str, value: &str, template: &str| {
        Container { options: [(name.to_owned(), value.to_owned())].into(), ..container("store", template) }.check()
    };
    for (name, value) in [
        ("endpoint", "https://MinIO.example"),
        ("endpoint", "minio.example"),
        ("endpoint", "https://h/x y"),
        ("region", "x.evil.example/"),
        ("region", "xn--"),
        ("account", ""),
    ] {
        let error = check(name, value, "s3://bucket/{}").unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("container \"store\": the "), "{error}");
        check(name, value, "https://h/{}").unwrap();
    }
    for (name, value) in
        [("endpoint", "http://127.0.0.1:9000/"), ("endpoint", "https://h:8443/p"), ("region", "eu-north-1"), ("account", "Me1")]
    {
        check(name, value, "az://bucket/{}").unwrap();
    }
}

/// Gives out `hush-1`, `hush-2` and so on.
#[derive(Debug)]
struct Counting {
    asked: Arc<AtomicU64>,
    lasts: Option<Duration>,
    fails_from: u64,
}

#[async_trait]
impl CredentialSource for Counting {
    async fn credentials(&self) -> Result<IssuedCredentials> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if number >= self.fails_from {
            return Err(Error::unavailable("the broker is away"));
        }
        let expires = self.lasts.map(|lasts| SystemClock.now().plus(lasts));
        Ok(IssuedCredentials { credential: Credential::bearer(format!("hush-{number}")), expires })
    }
}

fn counting(lasts: Option<Duration>, fails_from: u64) -> (Arc<AtomicU64>, CredentialSet) {
    let asked = Arc::new(AtomicU64::new(0));
    (asked.clone(), CredentialSet::fetched(Arc::new(Counting { asked, lasts, fails_from })))
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused_or_expires() {
    let current = Arc::new(AtomicU64::new(1));
    let taken = Arc::clone(&current);
    let server = guarded(move |given| given == format!("Bearer hush-{}", taken.load(Ordering::Relaxed)));
    let (url, containers) = (server.url("/data/a.nc"), web(&server));
    let entries = [format!("{}=as:a+private", server.url("/data/"))];
    let (asked, set) = counting(None, u64::MAX);
    let virtuals = Virtuals::new(access(&entries, &[("a", set)]));
    let reads = async || futures::future::join_all((0..8).map(|_| read(&virtuals, &containers, &url))).await;
    assert!(reads().await.into_iter().all(|read| read.unwrap() == b"4567"));
    assert_eq!(asked.load(Ordering::Relaxed), 1, "eight readers waited for one fetch");
    // The server takes the next token only: every reader is refused, and one fetch serves all.
    current.store(2, Ordering::Relaxed);
    assert!(reads().await.into_iter().all(|read| read.unwrap() == b"4567"));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // It takes none a moment later: the refusal is final.
    current.store(0, Ordering::Relaxed);
    server.take();
    let error = read(&virtuals, &containers, &url).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && !format!("{error:?}").contains("hush"), "{error:?}");
    assert_eq!((asked.load(Ordering::Relaxed), server.take().len()), (2, 1));
    read(&virtuals, &containers, &url).await.unwrap_err();
    assert_eq!(asked.load(Ordering::Relaxed), 2, "a server that refuses everything does not have tokens fetched for ever");
    // Two opened repositories share what one set has fetched.
    let (asked, set) = counting(None, u64::MAX);
    current.store(1, Ordering::Relaxed);
    for _ in 0..2 {
        read(&Virtuals::new(access(&entries, &[("a", set.clone())])), &containers, &url).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// Each request that was let in made the next refusal fetch another token, and a refused token was not used again when its source failed.
#[tokio::test]
async fn a_file_that_is_denied_does_not_cost_the_token_of_the_others() {
    let server = Server::start(|request| match (request.header("authorization"), request.target.as_str()) {
        (Some(_), "/data/a.nc") => Shown::new(CONTENT).answer(request),
        _ => Reply::status(403),
    });
    let (good, denied, containers) = (server.url("/data/a.nc"), server.url("/data/denied.nc"), web(&server));
    let entries = [format!("{}=as:a+private", server.url("/data/"))];
    for fails_from in [2, u64::MAX] {
        let (asked, set) = counting(None, fails_from);
        let virtuals = Virtuals::new(access(&entries, &[("a", set)]));
        read(&virtuals, &containers, &good).await.unwrap();
        for _ in 0..3 {
            assert_eq!(read(&virtuals, &containers, &denied).await.unwrap_err().kind(), ErrorKind::Denied);
            assert_eq!(read(&virtuals, &containers, &good).await.unwrap(), b"4567");
        }
        assert_eq!((asked.load(Ordering::Relaxed), server.take().len()), (2, 8), "one request is sent once more");
    }
    // A token that no server let in is of no use, so the error of the source is told.
    let (_, set) = counting(None, 2);
    let error = read(&Virtuals::new(access(&entries, &[("a", set)])), &containers, &denied).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("the broker is away"), "{error:?}");
}

/// The patience of the request always ended first, so that the source was asked for ever and the former token was never used.
#[tokio::test]
async fn a_source_that_hangs_does_not_cost_the_former_token() {
    #[derive(Debug)]
    struct Hanging(AtomicU64);
    #[async_trait]
    impl CredentialSource for Hanging {
        async fn credentials(&self) -> Result<IssuedCredentials> {
            if self.0.fetch_add(1, Ordering::Relaxed) > 0 {
                std::future::pending::<()>().await;
            }
            Ok(IssuedCredentials { credential: Credential::bearer("hush".to_owned()), expires: None })
        }
    }
    let server = Server::start(|request| match (request.header("authorization"), request.target.as_str()) {
        (Some(_), "/data/a.nc") => Shown::new(CONTENT).answer(request),
        _ => Reply::status(403),
    });
    let (good, denied, containers) = (server.url("/data/a.nc"), server.url("/data/denied.nc"), web(&server));
    let entries = [format!("{}=as:a+private", server.url("/data/"))];
    let set = CredentialSet::fetched(Arc::new(Hanging(AtomicU64::new(0))));
    let virtuals = Virtuals::new(access(&entries, &[("a", set)]));
    read(&virtuals, &containers, &good).await.unwrap();
    for _ in 0..2 {
        let error = read(&virtuals, &containers, &denied).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    }
    assert_eq!(read(&virtuals, &containers, &good).await.unwrap(), b"4567");
}

#[tokio::test]
async fn an_expiring_token_is_replaced_before_it_is_refused() {
    let server = guarded(|_| true);
    let (url, containers) = (server.url("/data/a.nc"), web(&server));
    let entries = [format!("{}=as:a+private", server.url("/data/"))];
    // Expired when it comes: every request fetches another, and none is refused.
    let (asked, set) = counting(Some(Duration::ZERO), u64::MAX);
    let virtuals = Virtuals::new(access(&entries, &[("a", set)]));
    for _ in 0..3 {
        read(&virtuals, &containers, &url).await.unwrap();
    }
    let headers: Vec<_> = server.take().iter().map(|asked| asked.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(headers, ["Bearer hush-1", "Bearer hush-2", "Bearer hush-3"]);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    // The source fails: what it gave before is good for an hour and is used.
    let (asked, set) = counting(Some(Duration::from_hours(1)), 2);
    let virtuals = Virtuals::new(access(&entries, &[("a", set)]));
    for _ in 0..2 {
        read(&virtuals, &containers, &url).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // It fails at once: the error is its own, with the name of the set.
    let (_, set) = counting(None, 1);
    let error = read(&Virtuals::new(access(&entries, &[("a", set)])), &containers, &url).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("credentials a: the broker is away"), "{error:?}");
}

/// S3 says 400 of a token that has expired.
#[tokio::test]
async fn keys_that_expired_are_fetched_again() {
    #[derive(Debug)]
    struct Keys(AtomicU64);
    #[async_trait]
    impl CredentialSource for Keys {
        async fn credentials(&self) -> Result<IssuedCredentials> {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(IssuedCredentials { credential: Credential::aws(format!("AKIA{number}"), "hush".to_owned(), None), expires: None })
        }
    }
    let server = Server::start(|request: &Request| match request.header("authorization") {
        Some(given) if given.contains("Credential=AKIA1/") => Shown::new(CONTENT).answer(request),
        _ => Reply::Answer(400, Vec::new(), b"<Error><Code>ExpiredToken</Code></Error>".to_vec()),
    });
    let set = CredentialSet::fetched(Arc::new(Keys(AtomicU64::new(0)))).endpoint(server.url(""));
    let virtuals = Virtuals::new(access(&["s3://bucket/=as:a+private".to_owned()], &[("a", set)]));
    assert_eq!(read(&virtuals, &bucket(None), "s3://bucket/a.nc").await.unwrap(), b"4567");
    assert_eq!(server.take().len(), 2);
}
