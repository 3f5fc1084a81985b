//! A gateway before a store that answers replaces of refs as it likes, whether it passed them on or not.
//!
//! One that applied a replace and then answered 400, 401 or 403 made 53 of 427 operations fail as `denied` or `invalid`, while
//! their commits were on the branch.

use firnline::{CreateOptions, ErrorKind, Key, OpenOptions, RefName, Repository, Settlement, Snapshot, TagOptions};
use futures::TryStreamExt as _;

use super::server::Meddling;
use super::servers::Place;

const STATUSES: [Option<u16>; 12] = [
    Some(400),
    Some(401),
    Some(403),
    Some(404),
    Some(405),
    Some(409),
    Some(412),
    Some(429),
    Some(500),
    Some(501),
    Some(503),
    // Cuts the connection.
    None,
];

/// Everything that replaces a ref that others can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Commit,
    Branch,
    Tag,
    Reset,
    Delete,
}

const ALL: [Operation; 5] = [Operation::Commit, Operation::Branch, Operation::Tag, Operation::Reset, Operation::Delete];

fn name(text: &str) -> RefName {
    RefName::new(text).unwrap()
}

/// A repository of its own on the one server.
struct Stage {
    place: Place,
    repository: Repository,
    first: Snapshot,
}

impl Stage {
    async fn new(server: &Place, case: &str) -> Self {
        let place = Place { url: format!("{}/{case}", server.url), ..server.clone() };
        place.server.as_ref().unwrap().world.meddle(&[]);
        let repository = Repository::create_with(&place.url, CreateOptions::from(options(&place))).await.unwrap();
        let first = commit(&repository, "first").await.unwrap();
        commit(&repository, "second").await.unwrap();
        repository.create_branch(&name("old"), &first).await.unwrap();
        Self { place, repository, first }
    }

    async fn run(&self, operation: Operation, script: &[Meddling]) -> Result<(), ErrorKind> {
        let Self { repository, first, .. } = self;
        let world = &self.place.server.as_ref().unwrap().world;
        world.meddle(script);
        let told = match operation {
            Operation::Commit => commit(repository, "ours").await.map(drop),
            Operation::Branch => repository.create_branch(&name("new"), first).await.map(drop).map_err(|e| e.kind()),
            Operation::Tag => repository.create_tag(&name("new"), first, TagOptions::default()).await.map(drop).map_err(|e| e.kind()),
            Operation::Reset => repository.reset(&name("main"), first).await.map(drop).map_err(|e| e.kind()),
            Operation::Delete => repository.delete_branch(&name("old")).await.map(drop).map_err(|e| e.kind()),
        };
        world.meddle(&[]);
        told
    }

    /// Whether a new reader sees that it was done.
    async fn is_done(&self, operation: Operation) -> bool {
        let fresh = Repository::open_with(&self.place.url, options(&self.place)).await.unwrap();
        let shown = async |revision| fresh.read(revision).await.ok().map(|snapshot| snapshot.id());
        match operation {
            Operation::Commit => {
                let log: Vec<_> = fresh.read("main").await.unwrap().log().try_collect().await.unwrap();
                log.iter().any(|entry| entry.summary == "ours")
            }
            Operation::Branch => shown("branch:new").await == Some(self.first.id()),
            Operation::Tag => shown("tag:new").await == Some(self.first.id()),
            Operation::Reset => shown("branch:main").await == Some(self.first.id()),
            Operation::Delete => shown("branch:old").await.is_none(),
        }
    }
}

fn options(place: &Place) -> OpenOptions {
    let mut options = OpenOptions::default().without_pauses();
    options.cloud = place.options();
    options
}

async fn commit(repository: &Repository, message: &str) -> Result<Snapshot, ErrorKind> {
    let session = repository.write("main").await.unwrap();
    session.set(&Key::new(message).unwrap(), message.repeat(1_000)).await.unwrap();
    session.commit(message).await.map_err(|failed| failed.kind())
}

#[tokio::test]
async fn what_a_gateway_passed_on_is_done_whatever_it_answers() {
    let server = Place::our_s3();
    for operation in ALL {
        for status in STATUSES {
            let case = format!("{operation:?}-{status:?}");
            let stage = Stage::new(&server, &case).await;
            assert_eq!(stage.run(operation, &[Meddling { applied: true, status }]).await, Ok(()), "{case}");
            assert!(stage.is_done(operation).await, "{case}");
        }
    }
}

#[tokio::test]
async fn what_was_denied_and_not_done_is_denied() {
    let server = Place::our_s3();
    let kinds = [(400, ErrorKind::Invalid), (401, ErrorKind::Denied), (403, ErrorKind::Denied), (501, ErrorKind::Unsupported)];
    for operation in ALL {
        for (status, kind) in kinds {
            let case = format!("{operation:?}-{status}");
            let stage = Stage::new(&server, &case).await;
            assert_eq!(stage.run(operation, &[Meddling { applied: false, status: Some(status) }]).await, Err(kind), "{case}");
            assert!(!stage.is_done(operation).await, "{case}");
        }
    }
}

/// The first request gets no answer, and every repetition of it is denied.
#[tokio::test]
async fn an_unanswered_request_whose_repetition_is_denied_is_settled() {
    let server = Place::our_s3();
    for operation in [Operation::Commit, Operation::Reset, Operation::Delete] {
        for applied in [true, false] {
            for denial in [400, 401, 403] {
                let case = format!("{operation:?}-{applied}-{denial}");
                let stage = Stage::new(&server, &case).await;
                let script = [Meddling { applied, status: None }, Meddling { applied: false, status: Some(denial) }];
                let told = stage.run(operation, &script).await;
                assert_eq!(told, if applied { Ok(()) } else { Err(ErrorKind::OutcomeUnknown) }, "{case}");
                assert_eq!(stage.is_done(operation).await, applied, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn settling_through_a_gateway_tells_the_truth() {
    let server = Place::our_s3();
    for status in STATUSES {
        let stage = Stage::new(&server, &format!("settle-{status:?}")).await;
        let world = &stage.place.server.as_ref().unwrap().world;
        world.meddle(&[Meddling { applied: false, status: None }]);
        let session = stage.repository.write("main").await.unwrap();
        session.set(&Key::new("lost").unwrap(), "lost").await.unwrap();
        let failed = session.commit("lost").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::OutcomeUnknown);
        let pending = failed.pending().expect("it may have happened").clone();
        world.meddle(&[Meddling { applied: true, status }]);
        assert_eq!(stage.repository.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Lost, "{status:?}");
        world.meddle(&[]);
    }
}
