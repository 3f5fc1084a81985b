//! Which versions a plan names, and what becomes of them.

mod choice;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt as _;

use super::*;
use crate::branches::BisectVerdict;
use crate::error::{ErrorDetail, ErrorKind};
use crate::handle::{CreateOptions, OpenOptions};
use crate::history::KeyEvent;
use crate::key::{Key, Prefix};
use crate::maintenance::{GcOptions, VerifyScope};
use crate::session::Existing;
use crate::snapshot::{KeyOrPrefix, Snapshot};
use crate::storage::Memory;
use crate::storage::fault::{Fault, Faulty, Operation};
use crate::time::Clock;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A clock that only tests move; every look takes a microsecond.
#[derive(Debug, Clone)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

struct World {
    memory: Memory,
    clock: Hand,
    repository: Repository,
}

impl World {
    /// A repository that was made at the beginning of 2025.
    async fn new() -> Self {
        let start = "2025-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        let clock = Hand(Arc::new(AtomicI64::new(start.micros())));
        // By the same clock, so that what was just written is not younger than the collection.
        let memory = Memory::with_clock(Arc::new(clock.clone()));
        let open = OpenOptions::default().clock(Arc::new(clock.clone())).without_pauses();
        let repository = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(open)).await.unwrap();
        Self { memory, clock, repository }
    }

    /// `n` commits on `main`, a day apart, that set `k` and one key of their own each.
    async fn days(n: u32) -> (Self, Vec<Snapshot>) {
        let world = Self::new().await;
        let mut versions = Vec::new();
        for day in 0..n {
            world.wait(DAY);
            versions.push(world.commit("main", day).await);
        }
        (world, versions)
    }

    fn wait(&self, span: Duration) {
        self.clock.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }

    async fn commit(&self, branch: &str, n: u32) -> Snapshot {
        let session = self.repository.write(branch).await.unwrap();
        session.set(&key("k"), value(n)).await.unwrap();
        session.set(&key(&format!("own/{n}")), value(1_000 + n)).await.unwrap();
        session.set(&key("same"), value(5_000_000)).await.unwrap();
        session.commit(format!("{n}")).await.unwrap()
    }

    /// A handle that has read nothing.
    async fn fresh(&self) -> Repository {
        let open = OpenOptions::default().clock(Arc::new(self.clock.clone())).without_pauses();
        Repository::open_storage(Arc::new(self.memory.clone()), open).await.unwrap()
    }

    async fn gc(&self) {
        let report = self.repository.gc(&GcOptions::default().grace(Duration::ZERO).hurried()).await.unwrap();
        assert_eq!(report.plan.young.objects, 0);
    }

    async fn verify(&self) -> u64 {
        let verified = self.fresh().await.verify(VerifyScope::Everything).await.unwrap();
        assert!(verified.findings.is_empty(), "{:#?}", verified.findings);
        verified.expired
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn value(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(1_500)
}

fn expiring(plan: &ExpirePlan) -> Vec<&str> {
    plan.expire.iter().map(|version| version.summary.as_str()).collect()
}

fn kept(plan: &ExpirePlan) -> Vec<(&str, &str)> {
    plan.keep.iter().map(|version| (version.summary.as_str(), version.why.as_str())).collect()
}

#[tokio::test]
async fn rules_choose_on_each_branch_and_tips_and_tags_stay() {
    let (world, versions) = World::days(8).await;
    let r = &world.repository;
    r.create_tag(&name("v1"), &versions[2], "").await.unwrap();
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(2)).await.unwrap();
    assert_eq!(expiring(&plan), ["5", "4", "3", "1", "0", "an empty repository"]);
    assert_eq!(kept(&plan), [("7", "branch main"), ("6", "last"), ("2", "tag v1")]);
    assert_eq!((plan.already, plan.rules.as_str()), (0, "last 2; moves 30d"));

    // Another branch that leads to the third; it is not named.
    r.create_branch(&name("other"), &versions[3]).await.unwrap();
    world.commit("other", 50).await;
    let named = r.plan_expire(&ExpireOptions::default().keep_last(1).branch(name("main"))).await.unwrap();
    assert_eq!(expiring(&named), ["6", "5", "4"]);
    assert_eq!(named.rules, "last 1; moves 30d; of main");
    assert!(kept(&named).contains(&("0", "other ref")) && kept(&named).contains(&("50", "branch other")));
    let both = r.plan_expire(&ExpireOptions::default().keep_last(2)).await.unwrap();
    assert_eq!(expiring(&both), ["5", "4", "1", "0", "an empty repository"], "3 is one of the last two of the other branch");
    let young = r.plan_expire(&ExpireOptions::default().keep_within(49 * HOUR)).await.unwrap();
    assert_eq!(
        kept(&young),
        [("50", "branch other"), ("7", "branch main"), ("6", "within"), ("5", "within"), ("3", "fork"), ("2", "tag v1")]
    );

    assert_eq!(r.plan_expire(&ExpireOptions::default()).await.unwrap_err().kind(), ErrorKind::Invalid);
    let absent = ExpireOptions::default().keep_last(1).branch(name("absent"));
    assert_eq!(r.plan_expire(&absent).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// What a reset or a deletion took away can be brought back for a while.
#[tokio::test]
async fn what_moves_took_away_stays_for_a_while() {
    let (world, versions) = World::days(4).await;
    let r = &world.repository;
    r.create_branch(&name("gone"), &versions[0]).await.unwrap();
    world.commit("gone", 60).await;
    r.delete_branch(&name("gone")).await.unwrap();
    r.reset(&name("main"), &versions[1]).await.unwrap();
    let options = ExpireOptions::default().keep_last(1).keep_moves(5 * DAY);
    let plan = r.plan_expire(&options).await.unwrap();
    assert_eq!(expiring(&plan), ["0", "an empty repository"]);
    assert_eq!(kept(&plan), [("60", "moves"), ("3", "moves"), ("2", "moves"), ("1", "branch main")]);
    world.wait(6 * DAY);
    let plan = r.plan_expire(&options).await.unwrap();
    assert_eq!(expiring(&plan), ["60", "3", "2", "0", "an empty repository"]);
    let plan = r.plan_expire(&options.branch(name("main"))).await.unwrap();
    assert_eq!(expiring(&plan), ["3", "2", "0", "an empty repository"], "the other branch was not named");
}

/// Versions on the side of a merge are not on the line of the branch.
#[tokio::test]
async fn merged_versions_stay_by_their_age() {
    let (world, versions) = World::days(2).await;
    let r = &world.repository;
    r.create_branch(&name("side"), &versions[1]).await.unwrap();
    let session = r.write("side").await.unwrap();
    session.set(&key("side"), value(70)).await.unwrap();
    let side = session.commit("side").await.unwrap();
    world.wait(DAY);
    world.commit("main", 2).await;
    let merge = r.merge(&name("main"), &side, "merge").await.unwrap();
    merge.commit().await.unwrap();
    r.delete_branch(&name("side")).await.unwrap();
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(3).keep_moves(Duration::ZERO)).await.unwrap();
    assert_eq!(expiring(&plan), ["side", "0", "an empty repository"]);
    let plan = r.plan_expire(&ExpireOptions::default().keep_within(2 * DAY).keep_moves(Duration::ZERO)).await.unwrap();
    assert!(kept(&plan).contains(&("side", "within")));
    r.expire(&r.plan_expire(&ExpireOptions::default().keep_last(1).keep_moves(Duration::ZERO)).await.unwrap(), "old").await.unwrap();
    world.gc().await;
    assert_eq!(world.verify().await, 5);
    let main = world.fresh().await.read("main").await.unwrap();
    assert_eq!(main.get(&key("side")).await.unwrap().unwrap(), value(70));
}

/// Everything that reads: ids, dates and the log remain, reads say what happened, and what is kept is whole.
#[tokio::test]
async fn an_expired_version_is_told_from_a_lost_one() {
    let (world, versions) = World::days(6).await;
    let r = &world.repository;
    r.create_tag(&name("v1"), &versions[1], "").await.unwrap();
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(2)).await.unwrap();
    let done = r.expire(&plan, ExpireReason::from("too old").author("ann")).await.unwrap();
    assert_eq!((done.act, done.versions.len(), done.shown_again.len()), (1, 4, 0));
    assert_eq!(r.expire(&plan, "again").await.unwrap().act, 2, "to record it again does no harm");
    let again = r.plan_expire(&ExpireOptions::default().keep_last(2)).await.unwrap();
    assert_eq!((again.expire.len(), again.already), (0, 4));

    for collected in [false, true] {
        if collected {
            world.gc().await;
        }
        let fresh = world.fresh().await;
        let error = fresh.read("main~3").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired, "{error:?}");
        let Some(ErrorDetail::ExpiredVersion(detail)) = error.detail() else { panic!("{error:?}") };
        assert_eq!((detail.id, detail.author.as_deref(), detail.reason.as_str()), (versions[2].id(), Some("ann"), "too old"));
        assert_eq!(detail.nearest.map(|(id, _)| id), Some(versions[4].id()));
        for part in ["too old", "by ann", &versions[4].id().to_string()] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let at = versions[3].record().time;
        assert_eq!(fresh.as_of(&name("main"), at).await.unwrap().id, versions[3].id());
        assert_eq!(fresh.read(&format!("main@{at}")).await.unwrap_err().kind(), ErrorKind::Expired);
        let record = fresh.read_record(&versions[3].id().into()).await.unwrap();
        assert_eq!(record.log().try_collect::<Vec<_>>().await.unwrap().len(), 5);
        let main = fresh.read("main").await.unwrap();
        let log: Vec<_> = main.log().try_collect().await.unwrap();
        assert_eq!(log.len(), 7);
        let retention = fresh.retention().await.unwrap();
        let expired: Vec<_> = log.iter().filter(|entry| retention.is_expired(entry.id)).map(|entry| entry.summary.as_str()).collect();
        assert_eq!(expired, ["3", "2", "0", "an empty repository"]);
        assert_eq!(retention.expirations().len(), 2);

        // What is kept is whole, and nothing is pointed at, copied or merged from what is not.
        for (revision, n) in [("main", 5), ("main~1", 4), ("v1", 1)] {
            let snapshot = fresh.read(revision).await.unwrap();
            assert_eq!(snapshot.get(&key("k")).await.unwrap().unwrap(), value(n), "{revision}");
            assert_eq!(snapshot.get(&key("same")).await.unwrap().unwrap(), value(5_000_000), "{revision}");
        }
        let old = &versions[2];
        for (what, error) in [
            ("tag", r.create_tag(&name("late"), old, "").await.unwrap_err()),
            ("branch", r.create_branch(&name("late"), old).await.unwrap_err()),
            ("reset", r.reset(&name("main"), old).await.unwrap_err()),
            ("merge", r.merge(&name("main"), old, "merge").await.unwrap_err()),
        ] {
            assert_eq!(error.kind(), ErrorKind::Expired, "{what}: {error:?}");
        }
        let session = r.write("main").await.unwrap();
        let source = KeyOrPrefix::Prefix(Prefix::new("own").unwrap());
        let error = session.copy_from(old, &source, "copy", Existing::Refuse).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired, "{error:?}");
        assert_eq!(world.verify().await, 4, "collected {collected}");
    }
    // A handle of before: what is gone is explained, not called damage.
    let error = world.fresh().await.read_record(&versions[2].id().into()).await.unwrap().get(&key("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error:?}");
    let listed: Vec<_> = world.fresh().await.readable_snapshots(&crate::refs::Ref::branch(name("main")), 9).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.summary.as_str()).collect::<Vec<_>>(), ["5", "4", "1"]);
    // Later commits, undo of them, and later collections go on.
    world.commit("main", 6).await;
    r.undo(&name("main")).await.unwrap();
    world.gc().await;
    assert_eq!(world.verify().await, 4);
}

#[tokio::test]
async fn comparisons_along_the_line_pass_over_what_has_expired() {
    let (world, versions) = World::days(7).await;
    let r = &world.repository;
    r.create_tag(&name("v1"), &versions[1], "").await.unwrap();
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(2)).await.unwrap();
    r.expire(&plan, "old").await.unwrap();
    world.gc().await;
    let fresh = world.fresh().await;
    let main = fresh.read("main").await.unwrap();
    let history: Vec<_> = main.key_history(&key("k")).try_collect().await.unwrap();
    let told: Vec<_> = history.iter().map(|version| (version.summary.as_str(), version.event, version.is_known)).collect();
    assert_eq!(told, [("6", KeyEvent::Set, true), ("5", KeyEvent::Set, false), ("1", KeyEvent::Present, false)]);
    let same: Vec<_> = main.key_history(&key("same")).try_collect().await.unwrap();
    assert_eq!(same.iter().map(|version| (version.summary.as_str(), version.event)).collect::<Vec<_>>(), [("1", KeyEvent::Present)]);

    let blamed = main.blame(&Prefix::all()).await.unwrap();
    let of = |wanted: &str| {
        let found = blamed.iter().find(|one| matches!(&one.name, KeyOrPrefix::Key(key) if key.as_str() == wanted)).unwrap();
        (found.commit.summary.clone(), found.is_known)
    };
    for (wanted, commit, is_known) in
        [("k", "6", true), ("own/6", "6", true), ("own/3", "5", false), ("own/5", "5", false), ("own/0", "1", false)]
    {
        assert_eq!(of(wanted), (commit.to_owned(), is_known), "{wanted}");
    }
    let keys: Vec<_> = main.blame_keys(&Prefix::all()).await.unwrap().try_collect().await.unwrap();
    let by_keys = |one: &crate::history::Blamed| (one.commit.summary.clone(), one.is_known);
    assert_eq!(keys.len(), blamed.len());
    for one in &keys {
        let same = blamed.iter().find(|other| other.name == one.name).unwrap();
        assert_eq!(by_keys(one), by_keys(same), "{:?}", one.name);
    }

    let mut bisection = main.bisect(&fresh.read("v1").await.unwrap()).await.unwrap();
    let mut looked = BTreeSet::new();
    while let Some(next) = bisection.next().cloned() {
        assert!(!fresh.retention().await.unwrap().is_expired(next.id), "{next:?}");
        looked.insert(next.summary.clone());
        bisection.mark(next.id, BisectVerdict::Bad);
    }
    assert_eq!(looked.into_iter().collect::<Vec<_>>(), ["5"]);
    assert_eq!(bisection.suspects().len(), 4, "one of those that have expired may be the first");
    assert_eq!(main.dependency_history().await.map(|(known, _)| known.versions).ok(), Some(3));
}

/// One of two that act at the same time points a tag at a version, the other lets it expire.
#[tokio::test]
async fn a_version_that_a_ref_points_at_stays_also_if_it_is_on_record_as_expired() {
    let (world, versions) = World::days(4).await;
    let r = &world.repository;
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    r.create_tag(&name("late"), &versions[1], "").await.unwrap();
    let done = r.expire(&plan, "old").await.unwrap();
    assert_eq!(done.shown_again, [versions[1].id()]);

    // As if the tag had come a moment later.
    let retiring = Retiring {
        author: None,
        reason: "raced".to_owned(),
        rules: String::new(),
        time: Timestamp::from_micros(1),
        versions: vec![versions[1].id()],
        latest: versions[1].record().time,
    };
    r.refs().retire(&retiring).await.unwrap();
    for _ in 0..2 {
        world.gc().await;
        let fresh = world.fresh().await;
        assert_eq!(fresh.read("late").await.unwrap().get(&key("k")).await.unwrap().unwrap(), value(1));
        assert_eq!(fresh.read(&versions[1].id().to_string()).await.unwrap().get(&key("own/1")).await.unwrap().unwrap(), value(1_001));
        world.verify().await;
    }
    // A commit on it is whole, and the version goes when nothing points at it any more.
    r.create_branch(&name("on"), &fresh_of(&world, "late").await).await.unwrap();
    r.delete_tag(&name("late")).await.unwrap();
    world.commit("on", 90).await;
    world.gc().await;
    let on = fresh_of(&world, "on").await;
    assert_eq!(on.get(&key("own/1")).await.unwrap().unwrap(), value(1_001));
    assert_eq!(world.fresh().await.read(&versions[1].id().to_string()).await.unwrap_err().kind(), ErrorKind::Expired);
    world.verify().await;
}

async fn fresh_of(world: &World, revision: &str) -> Snapshot {
    world.repository.read(revision).await.unwrap()
}

/// A session of before the expiry, whose branch has moved on since.
#[tokio::test]
async fn a_session_whose_base_has_expired_says_so_and_keeps_what_is_staged() {
    let (world, _) = World::days(3).await;
    let r = &world.repository;
    // So many that the nodes of the manifest do not come along with the snapshot.
    let session = r.write("main").await.unwrap();
    for n in 0..2_000 {
        session.set(&key(&format!("many/{n}")), vec![7; 20]).await.unwrap();
    }
    session.commit("many").await.unwrap();
    let old = world.fresh().await.write("main").await.unwrap();
    old.set(&key("late"), value(9)).await.unwrap();
    let session = r.write("main").await.unwrap();
    session.delete_prefix(&Prefix::new("many").unwrap());
    session.commit("fewer").await.unwrap();
    world.commit("main", 8).await;
    r.expire(&r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap(), "old").await.unwrap();
    world.gc().await;
    let failed = old.commit("late").await.map(drop).unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Expired, "{failed:?}");
    let session = failed.into_session();
    assert!(!session.is_unchanged());
    assert_eq!(world.verify().await, 6);
}

#[tokio::test]
async fn a_damaged_record_of_retention_stops_collections_and_no_reader() {
    let (world, versions) = World::days(3).await;
    let r = &world.repository;
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    r.expire(&plan, "old").await.unwrap();
    for (text, kind) in [("damaged", ErrorKind::Corrupt), (r#"{"v": 2}"#, ErrorKind::Unsupported)] {
        world.memory.insert_register("retention/state.json".to_owned(), text.into());
        let fresh = world.fresh().await;
        if kind == ErrorKind::Corrupt {
            // The data of the old version is still there, and every byte of it is compared with its id.
            assert_eq!(fresh.read("main~1").await.unwrap().get(&key("k")).await.unwrap().unwrap(), value(1));
            let main = fresh.read("main").await.unwrap();
            assert_eq!(main.get(&key("k")).await.unwrap().unwrap(), value(2));
            assert_eq!(main.blame(&Prefix::all()).await.unwrap().len(), 5);
            assert!(fresh.known_retention().await.unwrap().expirations().is_empty());
        } else {
            assert_eq!(fresh.read("main").await.unwrap_err().kind(), kind);
        }
        for (what, error) in [
            ("gc", fresh.gc(&GcOptions::default().grace(Duration::ZERO).hurried()).await.unwrap_err()),
            ("expire", fresh.expire(&plan, "old").await.unwrap_err()),
            ("tag", fresh.create_tag(&name("late"), &versions[1], "").await.unwrap_err()),
            ("retention", fresh.retention().await.unwrap_err()),
        ] {
            assert_eq!(error.kind(), kind, "{what}: {error:?}");
        }
        let verified = fresh.verify(VerifyScope::Everything).await.unwrap();
        let found: Vec<_> = verified.findings.iter().map(|finding| finding.object.as_str()).collect();
        assert_eq!(found, ["retention/state.json"]);
    }
}

/// As a bucket answers a reader who may not list it: it does not tell an absent object from one that may not be read.
#[tokio::test]
async fn a_store_that_does_not_tell_whether_the_record_exists_stops_no_reader() {
    let (world, _) = World::days(2).await;
    let faulty = Faulty::new(Arc::new(world.memory.clone()), |call| match call.name {
        "retention/state.json" => Fault::Rejected(ErrorKind::Denied),
        _ => Fault::None,
    });
    let open = OpenOptions::default().clock(Arc::new(world.clock.clone())).without_pauses();
    let repository = Repository::open_storage(Arc::new(faulty), open).await.unwrap();
    assert_eq!(repository.read("main").await.unwrap().get(&key("k")).await.unwrap().unwrap(), value(1));
    assert!(repository.known_retention().await.unwrap().expirations().is_empty());
    assert_eq!(repository.retention().await.unwrap_err().kind(), ErrorKind::Denied, "an empty list would be a claim");
    let first = repository.read("main~1").await.unwrap();
    assert_eq!(repository.create_tag(&name("late"), &first, "").await.unwrap_err().kind(), ErrorKind::Denied);
}
