//! Commits through a bad network: what is acknowledged stays, once; what failed is never seen; and of what nobody answered,
//! settling tells the truth.

use std::collections::BTreeMap;
use std::time::Duration;

use firnline::{CommitOptions, ErrorKind, Key, OpenOptions, RefName, Repository, Settlement, SnapshotId};
use futures::{StreamExt as _, TryStreamExt as _};

use super::proxy::Proxy;
use super::servers::Place;

const WRITERS: u64 = 3;
const COMMITS: u64 = 4;
/// How long clients wait.
const PATIENCE: Duration = Duration::from_millis(400);

/// What a writer was told of its commits, by their messages.
#[derive(Debug, Default)]
struct Told {
    done: Vec<String>,
    failed: Vec<String>,
    unknown: BTreeMap<String, SnapshotId>,
}

fn options(place: &Place) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.cloud = place.options().patience(PATIENCE);
    options.without_pauses()
}

/// Makes commits until all of them came to some end.
async fn write(place: Place, writer: u64) -> Told {
    let mut told = Told::default();
    let mut repository = None;
    for number in 0..COMMITS {
        let message = format!("{writer}-{number}");
        let key = Key::new(format!("{writer}/{number}")).unwrap();
        let mut attempts = 0..100;
        // Whatever fails before anything can have been published is begun again.
        let session = loop {
            assert!(attempts.next().is_some(), "no network is that bad");
            if repository.is_none() {
                repository = Repository::open_with(&place.url, options(&place)).await.ok();
            }
            let Some(repository) = &repository else { continue };
            let Ok(session) = repository.write("main").await else { continue };
            if session.set(&key, message.repeat(500)).await.is_ok() {
                break session;
            }
        };
        let mut session = Some(session);
        for attempt in 0..4 {
            match session.take().unwrap().commit(CommitOptions::from(message.as_str())).await {
                Ok(_) => {
                    told.done.push(message.clone());
                    break;
                }
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                    told.unknown.insert(message.clone(), error.pending().expect("what settling needs").id);
                    break;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                    session = Some(error.into_session());
                    if attempt == 3 {
                        told.failed.push(message.clone());
                    }
                }
            }
        }
    }
    told
}

/// One network; how many faults there were, and how many commits of each end.
async fn try_network(server: &Place, endpoint: &str, seed: u64) -> [u64; 4] {
    let direct = Repository::create_with(
        &server.url,
        {
            let mut o = OpenOptions::default();
            o.cloud = server.options();
            o
        }
        .into(),
    )
    .await
    .unwrap();
    let proxy = Proxy::start(endpoint, seed, PATIENCE);
    let through = Place { url: server.url.clone(), ..Place::s3(&proxy.endpoint, None) };
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write(through.clone(), writer)));
    let told: Vec<Told> = futures::future::try_join_all(writers).await.unwrap();

    let main = RefName::new("main").unwrap();
    // While requests may still arrive that nobody waits for any more.
    let mut settled = BTreeMap::new();
    for (message, id) in told.iter().flat_map(|t| &t.unknown) {
        let answer = match direct.settle(&main, *id).await {
            Ok(answer) => answer == Settlement::Committed,
            // The snapshot itself never arrived.
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NotFound, "seed {seed}: {e:?}");
                false
            }
        };
        settled.insert(message.as_str(), answer);
    }
    proxy.calm().await;
    let tip = direct.read("main").await.unwrap();
    let log: Vec<_> = tip.log().try_collect().await.unwrap();
    let mut shown = BTreeMap::<&str, u64>::new();
    for entry in &log {
        *shown.entry(entry.summary.as_str()).or_default() += 1;
    }
    for told in &told {
        for message in &told.done {
            assert_eq!(shown.get(message.as_str()), Some(&1), "seed {seed}: {message} was acknowledged");
            let (writer, number) = message.split_once('-').unwrap();
            let value = tip.get(&Key::new(format!("{writer}/{number}")).unwrap()).await.unwrap();
            assert_eq!(value.as_deref(), Some(message.repeat(500).as_bytes()), "seed {seed}: {message} is there");
        }
        for message in &told.failed {
            assert_eq!(shown.get(message.as_str()), None, "seed {seed}: {message} failed");
        }
        for message in told.unknown.keys() {
            let expected = settled[message.as_str()].then_some(&1);
            assert_eq!(shown.get(message.as_str()), expected, "seed {seed}: {message} was settled");
        }
    }
    let sum = |count: fn(&Told) -> usize| told.iter().map(count).sum::<usize>() as u64;
    [proxy.faults(), sum(|t| t.done.len()), sum(|t| t.failed.len()), sum(|t| t.unknown.len())]
}

async fn try_networks(name: &str, seeds: u64, server: impl Fn() -> Place) {
    let mut totals = [0; 4];
    let mut places = Vec::new();
    for _ in 0..seeds {
        places.push(server());
    }
    let runs = places.into_iter().enumerate().map(|(seed, place)| {
        tokio::spawn(async move {
            let endpoint = place.variables.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").unwrap().1.clone();
            try_network(&place, &endpoint, seed as u64).await
        })
    });
    let mut runs = futures::stream::iter(runs).buffer_unordered(8);
    while let Some(run) = runs.next().await {
        for (total, more) in totals.iter_mut().zip(run.expect("no seed may fail")) {
            *total += more;
        }
    }
    let [faults, done, failed, unknown] = totals;
    println!("{name}: {seeds} networks, {faults} faults: {done} commits acknowledged, {failed} failed, {unknown} unknown until settled");
    assert!(done > seeds * WRITERS * COMMITS / 2 && faults > seeds, "networks that are bad, but not hopeless");
}

fn seeds() -> u64 {
    super::support::count("FIRN_PROXY_SEEDS", 20, 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_is_lost_or_doubled_by_a_bad_network() {
    try_networks("our S3", seeds(), Place::our_s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_is_lost_or_doubled_between_here_and_ceph() {
    let Some(ceph) = Place::ceph("no_commit_is_lost_or_doubled_between_here_and_ceph") else { return };
    let endpoint = ceph.variables.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").unwrap().1.clone();
    try_networks("Ceph", seeds().div_ceil(10), || Place::s3(&endpoint, None)).await;
}
