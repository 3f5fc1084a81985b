//! What `apply` stages, compared with staging one operation after the other.

use proptest::prelude::*;

use super::*;
use firnline::{Key, Prefix};

/// A line as it is meant.
#[derive(Debug, Clone)]
enum Step {
    Virtual {
        key: u32,
        file: usize,
        offset: u64,
    },
    /// References to many keys, to one another's and to their own, in this order.
    Many {
        first: u32,
        count: u32,
        stride: u32,
        file: usize,
    },
    Put(u32),
    Delete(u32),
    DeletePrefix(u32),
    Blank,
    Wrong(usize),
}

const FILES: [&str; 3] = ["file:///nowhere/a.nc", "s3://bucket/b.nc", "https://h.example.org/c.nc?v=1"];
/// Lines that fail, before they are staged or while they are.
const WRONG: [&str; 7] = [
    "{",
    r#"{"op":"put","key":"a//b","text":"x"}"#,
    r#"{"op":"virtual","key":"a//b","url":"file:///x","offset":0,"length":1}"#,
    r#"{"op":"virtual","key":"b","url":"no url","offset":0,"length":1}"#,
    r#"{"op":"virtual","key":"b","url":"file:///x","offset":18446744073709551615,"length":1}"#,
    r#"{"op":"virtual","key":"b","url":"file:///x","offset":0,"length":18446744073709551615}"#,
    r#"{"op":"delete","key":"never/there"}"#,
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..40, 0..FILES.len(), 0_u64..9).prop_map(|(key, file, offset)| Step::Virtual { key, file, offset }),
        2 => (0_u32..40, 1_u32..600, 1_u32..40, 0..FILES.len())
            .prop_map(|(first, count, stride, file)| Step::Many { first, count, stride, file }),
        1 => (0_u32..40).prop_map(Step::Put),
        1 => (0_u32..40).prop_map(Step::Delete),
        1 => (0_u32..4).prop_map(Step::DeletePrefix),
        1 => Just(Step::Blank),
    ]
}

fn key(n: u32) -> String {
    format!("p{}/c/{}", n % 4, n)
}

fn reference(key: &str, file: usize, offset: u64) -> String {
    format!(r#"{{"op":"virtual","key":"{key}","url":"{}","offset":{offset},"length":10}}"#, FILES[file])
}

fn lines(steps: &[Step]) -> Vec<String> {
    let mut lines = Vec::new();
    for step in steps {
        match *step {
            Step::Virtual { key: n, file, offset } => lines.push(reference(&key(n), file, offset)),
            Step::Many { first, count, stride, file } => {
                lines.extend((0..count).map(|n| reference(&key((first + n * stride) % 397), file, u64::from(n))));
            }
            Step::Put(n) => lines.push(format!(r#"{{"op":"put","key":"{}","text":"{n}"}}"#, key(n))),
            // Deleting what is not there is an error, so it is put first.
            Step::Delete(n) => {
                lines.push(reference(&key(n), 0, 0));
                lines.push(format!(r#"{{"op":"delete","key":"{}"}}"#, key(n)));
            }
            Step::DeletePrefix(n) => lines.push(format!(r#"{{"op":"delete","prefix":"p{n}/"}}"#)),
            Step::Blank => lines.push("  ".to_owned()),
            Step::Wrong(n) => lines.push(WRONG[n].to_owned()),
        }
    }
    lines
}

/// The session of a repository in memory that has some of the keys already.
async fn session() -> WriteSession {
    let repository = Repository::create("memory:").await.unwrap();
    let session = repository.write("main").await.unwrap();
    for n in (0..40).step_by(3) {
        session.set(&Key::new(key(n)).unwrap(), "was there").await.unwrap();
    }
    session.commit("before").await.unwrap();
    repository.write("main").await.unwrap()
}

/// Stages lines as the command does; `pauses` says after which of them nothing more came for a while.
async fn staged(session: &WriteSession, lines: &[String], pauses: &[usize]) -> Result<Counts> {
    let (mut counts, mut pending) = (Counts::default(), PendingRefs::default());
    for (n, line) in lines.iter().enumerate() {
        counts.stage_line(session, &mut pending, line.as_bytes(), n as u64 + 1).await?;
        if pauses.contains(&n) {
            pending.stage(session).await?;
        }
    }
    pending.stage(session).await?;
    Ok(counts)
}

/// The model: one call of the session for each line.
async fn one_by_one(session: &WriteSession, lines: &[String]) -> Result<Counts> {
    let mut counts = Counts::default();
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let staged = async {
            match parse(line.as_bytes())? {
                Operation::Virtual(reference) => {
                    let key = Key::new(reference.key.as_ref())?;
                    let end = reference.offset.checked_add(reference.length);
                    let end = end.ok_or_else(|| Error::invalid(format!("{key}: offset and length are too large")))?;
                    session.set_virtual(&key, &reference.url, reference.offset..end).await?;
                    counts.pointed += 1;
                }
                Operation::DeletePrefix(prefix) => {
                    session.delete_prefix(&prefix);
                    (counts.deleted, counts.prefixes) = (counts.deleted + 1, true);
                }
                other => counts.stage(session, other).await?,
            }
            Ok::<_, Error>(())
        };
        staged.await.map_err(|e| e.context(format!("line {}", n + 1)))?;
    }
    Ok(counts)
}

/// Everything that a commit of the session holds.
async fn committed(session: WriteSession) -> (String, Vec<(String, u64, u64)>) {
    let snapshot = session.commit("after").await.unwrap();
    let files: Vec<_> = futures::TryStreamExt::try_collect(snapshot.dependencies()).await.unwrap();
    let files = files.into_iter().map(|file: firnline::Dependency| (file.url, file.record.refs, file.record.bytes)).collect();
    (snapshot.record().manifest.to_string(), files)
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn lines_are_staged_as_one_after_the_other(
        steps in prop::collection::vec(step(), 1..25),
        pauses in prop::collection::vec(0_usize..3000, 0..4),
    ) {
        let lines = lines(&steps);
        on_a_runtime(async {
            let (many, one) = (session().await, session().await);
            let (counts, want) = (staged(&many, &lines, &pauses).await.unwrap(), one_by_one(&one, &lines).await.unwrap());
            prop_assert_eq!(counts.words(), want.words());
            prop_assert_eq!(many.changes().await.unwrap(), one.changes().await.unwrap());
            prop_assert_eq!(committed(many).await, committed(one).await);
            Ok(())
        })?;
    }

    #[test]
    fn an_error_is_that_of_the_first_wrong_line(
        before in prop::collection::vec(step(), 0..6),
        wrong in prop::collection::vec(0..WRONG.len(), 1..3),
        after in prop::collection::vec(step(), 0..3),
    ) {
        let wrong = wrong.into_iter().map(Step::Wrong);
        let lines = lines(&before.into_iter().chain(wrong).chain(after).collect::<Vec<_>>());
        on_a_runtime(async {
            let (many, one) = (session().await, session().await);
            let (error, want) = (staged(&many, &lines, &[]).await.unwrap_err(), one_by_one(&one, &lines).await.unwrap_err());
            prop_assert_eq!((error.kind(), error.to_string()), (want.kind(), want.to_string()));
            Ok(())
        })?;
    }
}

/// More references than are collected at a time, and after them a wrong one.
#[test]
fn a_wrong_line_is_named_after_many_good_ones() {
    let mut lines: Vec<String> = (0..40_000).map(|n| reference(&format!("k/{n}"), 0, n)).collect();
    lines.push(WRONG[3].to_owned());
    on_a_runtime(async {
        let session = session().await;
        let error = staged(&session, &lines, &[]).await.unwrap_err().to_string();
        assert!(error.starts_with("line 40001: b"), "{error}");
        lines.pop();
        let counts = staged(&session, &lines, &[]).await.unwrap();
        assert_eq!((counts.pointed, session.changes().await.unwrap().pointed), (40_000, 40_000));
        session.delete_prefix(&Prefix::new("k").unwrap());
        assert_eq!(session.changes().await.unwrap().pointed, 0);
    });
}
