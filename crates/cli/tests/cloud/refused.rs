//! Stores that cannot be trusted with writes, and answers that are errors.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use firnline::storage::{CloudOptions, Credentials, LocalOptions, open};
use firnline::{ErrorKind, Key, OpenOptions, Repository};
use futures::StreamExt as _;

use super::server::{Allowed, Dialect, Promise, Server, bound};
use super::servers::Place;

fn s3_that_keeps(kept: Promise) -> Place {
    let server = Server::start_with(Dialect::S3, kept);
    Place::s3(&server.endpoint(), Some(Arc::new(server)))
}

fn options(place: &Place) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.cloud = place.options();
    options
}

#[tokio::test]
async fn stores_that_ignore_conditions_are_refused_for_writing() {
    for (kept, why) in
        [(Promise { if_none_match: false, ..Promise::all() }, "If-None-Match"), (Promise { if_match: false, ..Promise::all() }, "If-Match")]
    {
        let place = s3_that_keeps(kept);
        let error = Repository::create_with(&place.url, options(&place).into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(why) && error.to_string().contains(&place.url), "{error}");
        let left = place.server.as_ref().unwrap().world.objects.names();
        assert!(left.is_empty(), "nothing is left of the attempt: {left:?}");
    }
}

#[tokio::test]
async fn stores_that_compare_tags_without_quotes_are_written_to() {
    let place = s3_that_keeps(Promise { quotes: false, ..Promise::all() });
    let repository = Repository::create_with(&place.url, options(&place).into()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&Key::new("a").unwrap(), "1").await.unwrap();
    session.commit("one").await.unwrap();
    let left = place.server.as_ref().unwrap().world.objects.names();
    assert!(!left.iter().any(|name| name.contains("scratch")), "nothing is left of trying it out: {left:?}");
}

#[tokio::test]
async fn reading_asks_for_no_conditions() {
    let place = Place::our_s3();
    Repository::create_with(&place.url, options(&place).into()).await.unwrap();
    let names = place.server.as_ref().unwrap().world.objects.names();
    let store = Arc::new(place.open());
    let repository = Repository::open_storage(store.clone(), OpenOptions::default()).await.unwrap();
    repository.read("main").await.unwrap();
    assert!(store.requests() <= 5, "{} requests", store.requests());
    assert_eq!(place.server.as_ref().unwrap().world.objects.names(), names);
}

#[tokio::test]
async fn a_writer_whose_clock_is_wrong_is_refused_and_told_both_times() {
    let place = Place::our_s3();
    let repository = Repository::create_with(&place.url, options(&place).into()).await.unwrap();
    for (minutes, refused) in [(0, false), (2, true), (-2, true)] {
        place.server.as_ref().unwrap().world.skew.store(minutes * 60_000_000, Ordering::Relaxed);
        let session = repository.write("main").await.unwrap();
        session.set(&Key::new("a").unwrap(), format!("{minutes}")).await.unwrap();
        match session.commit("x").await {
            Ok(_) => assert!(!refused, "{minutes} minutes"),
            Err(e) => {
                assert!(refused && e.kind() == ErrorKind::Invalid, "{minutes} minutes: {e}");
                assert!(e.to_string().matches("20").count() >= 2 && e.to_string().contains("clock"), "both times: {e}");
            }
        }
    }
}

#[tokio::test]
async fn errors_name_what_to_do() {
    let place = Place::our_s3();
    let denying = s3_that_keeps(Promise { allowed: Allowed::Nothing, ..Promise::all() });
    let elsewhere = Place { url: "s3://elsewhere/x".to_owned(), ..place.clone() };
    let nobody = Place::s3("http://127.0.0.1:9", None);
    // Takes connections and says nothing.
    let listener = bound();
    let silent = Place::s3(&format!("http://{}", listener.local_addr().unwrap()), None);
    for (place, kind, says) in [
        (&place, ErrorKind::NotFound, "holds no repository"),
        (&denying, ErrorKind::Denied, "credentials"),
        (&elsewhere, ErrorKind::NotFound, "bucket or container elsewhere does not exist"),
        (&nobody, ErrorKind::Unavailable, "repo.json"),
        (&silent, ErrorKind::Unavailable, "repo.json cannot be read"),
    ] {
        let mut options = options(place);
        options.cloud = options.cloud.patience(std::time::Duration::from_millis(300));
        let error = Repository::open_with(&place.url, options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(says) && error.to_string().contains(&place.url), "{error}");
    }
}

/// A branch, prefix or bucket may be named by a word that an answer may hold. Where that word was looked for in the client's
/// whole message, which names the URL, a lost answer became a definite one, and nobody asked what had become of the write.
#[tokio::test]
async fn a_lost_answer_is_lost_whatever_the_place_is_called() {
    let listener = bound();
    let place = Place::s3(&format!("http://{}", listener.local_addr().unwrap()), None);
    let hanging_up = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    for url in ["s3://url-redirects/x", "s3://firn/NoSuchBucket", "s3://firn/ContainerNotFound"] {
        let place = Place { url: url.to_owned(), ..place.clone() };
        let mut options = options(&place);
        options.cloud = options.cloud.patience(std::time::Duration::from_millis(300));
        options.cloud.retry_for = std::time::Duration::from_millis(100);
        let error = Repository::create_with(url, options.clone().into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{url}: {error:?}");
        let error = Repository::open_with(url, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{url}: {error:?}");
    }
    hanging_up.abort();
}

#[tokio::test]
async fn a_bucket_that_may_only_be_read_can_be_read() {
    let place = Place::our_s3();
    let repository = Repository::create_with(&place.url, options(&place).into()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&Key::new("a").unwrap(), "1").await.unwrap();
    session.commit("one").await.unwrap();
    let objects = &place.server.as_ref().unwrap().world.objects;
    objects.keep(Promise { allowed: Allowed::Reading, ..Promise::all() });
    let repository = Repository::open_with(&place.url, options(&place)).await.unwrap();
    let main = repository.read("main").await.unwrap();
    assert_eq!(main.get(&Key::new("a").unwrap()).await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(main.log().count().await, 2);
    let session = repository.write("main").await.unwrap();
    session.set(&Key::new("a").unwrap(), "2").await.unwrap();
    let error = session.commit("two").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn answers_that_are_cut_short_are_corrupt() {
    let place = Place::our_s3();
    let store = place.open();
    let repository = Repository::create_storage(Arc::new(store.clone()), options(&place).into()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    let key = Key::new("a").unwrap();
    session.set(&key, vec![7; 3 << 20]).await.unwrap();
    let snapshot = session.commit("one").await.unwrap();
    place.server.as_ref().unwrap().world.objects.keep(Promise { whole: false, ..Promise::all() });
    let error = snapshot.get_range(&key, 5..2_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn credentials_are_never_guessed() {
    for place in ["s3://firn/x", "gs://firn/x", "az://firn/x"] {
        let nothing = CloudOptions::default().variables([("AZURE_STORAGE_ACCOUNT_NAME".to_owned(), "x".to_owned())]);
        let error = open(place, LocalOptions::default(), &nothing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("FIRN_CREDENTIALS") && error.to_string().contains(place), "{error}");
        open(place, LocalOptions::default(), &nothing.credentials(Credentials::Anonymous)).unwrap();
    }
    let odd = CloudOptions::default().variables([("FIRN_CREDENTIALS".to_owned(), "secret".to_owned())]);
    let error = open("s3://firn/x", LocalOptions::default(), &odd).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && !error.to_string().contains("secret"), "{error}");
    let clear = CloudOptions::default().variables([("AWS_ENDPOINT_URL".to_owned(), "http://192.0.2.1".to_owned())]);
    assert_eq!(open("s3://firn/x", LocalOptions::default(), &clear).unwrap_err().kind(), ErrorKind::Denied, "not without encryption");
}

#[tokio::test]
async fn anonymous_requests_are_not_signed() {
    let place = Place::our_s3();
    let repository = Repository::create_with(&place.url, options(&place).into()).await.unwrap();
    drop(repository);
    let endpoint: Vec<_> = place.variables.iter().filter(|(name, _)| name.contains("ENDPOINT")).cloned().collect();
    let cloud = CloudOptions::default().variables(endpoint).credentials(Credentials::Anonymous);
    let store = open(&place.url, LocalOptions::default(), &cloud).unwrap();
    assert!(store.clock().is_none(), "nothing was asked yet");
    let repository = Repository::open_storage(store.clone(), OpenOptions::default()).await.unwrap();
    repository.read("main").await.unwrap();
    assert!(store.clock().is_some());
}

/// A refused connection was tried again for as long as a request may take.
#[tokio::test]
async fn a_web_server_that_refuses_connections_is_given_up_at_once() {
    let port = bound().local_addr().unwrap().port();
    let started = std::time::Instant::now();
    let error = Repository::open_with(&format!("http://127.0.0.1:{port}/data"), OpenOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_retryable() && error.to_string().contains("connection"), "{error}");
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
}
