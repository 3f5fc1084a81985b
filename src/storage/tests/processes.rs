//! Several processes at one register: this test program runs itself again as the others.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::TryStreamExt as _;

use crate::ErrorKind;
use crate::storage::conformance::append;
use crate::storage::local::lock_path;
use crate::storage::{Expected, Local, LocalOptions, RegisterName, Replaced, Storage};

use super::{chunk, create, local};

const ROLE: &str = "FIRNLINE_TEST_ROLE";
const PLACE: &str = "FIRNLINE_TEST_PLACE";
const WORDS: u64 = 40;

/// Runs `child` below in another process.
fn spawn(role: &str, place: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::tests::processes::child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What another process does. Nothing, when it is run as a test.
#[tokio::test]
async fn child() {
    let (Ok(role), Ok(place)) = (std::env::var(ROLE), std::env::var(PLACE)) else { return };
    let name = RegisterName::branch("main");
    match role.as_str() {
        "append" => append(&*local(Path::new(&place)), &name, &std::process::id().to_string(), WORDS).await.unwrap(),
        "work" => work(&*local(Path::new(&place)), &name).await,
        "hold" => {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(Path::new(&place).join(lock_path(name.as_str()))).unwrap();
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
            file.set_len(0).unwrap();
            std::io::Write::write_all(&mut &file, format!("{}\n", std::process::id()).as_bytes()).unwrap();
            println!("\nholding");
            std::thread::sleep(Duration::from_mins(2));
        }
        other => assert_eq!(other, "", "an unknown role"),
    }
}

/// Puts objects and moves a register to the last of them, for ever.
async fn work(store: &dyn Storage, name: &RegisterName) {
    for n in u64::from(std::process::id()) << 32.. {
        let bytes = bytes::Bytes::from(n.to_string().repeat(5000));
        store.put(&chunk(&bytes), std::slice::from_ref(&bytes)).await.unwrap();
        store.barrier().await.unwrap();
        let found = store.load(name).await.unwrap().unwrap();
        let tip = chunk(&bytes).as_str().to_owned();
        store.replace(name, &Expected::Is(found.version), tip.into()).await;
    }
}

#[tokio::test]
async fn a_process_killed_at_any_moment_leaves_nothing_to_repair() {
    let directory = tempfile::tempdir().unwrap();
    let name = RegisterName::branch("main");
    create(&*local(directory.path()), &name, "0").await;
    let mut tips = std::collections::BTreeSet::new();
    for round in 0..12 {
        let mut children = [spawn("work", directory.path()), spawn("work", directory.path())];
        // Not before it has done something, and then at some moment within a few of its steps.
        let before = local(directory.path()).load(&name).await.unwrap().unwrap().value;
        while local(directory.path()).load(&name).await.unwrap().unwrap().value == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(round * 1777)).await;
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = local(directory.path());
        let objects: Vec<_> = store.list("chunks/").try_collect().await.unwrap();
        for meta in &objects {
            let bytes = std::fs::read(directory.path().join(&meta.name)).unwrap();
            assert_eq!(chunk(&bytes).as_str(), meta.name, "what has a name is whole");
        }
        let tip = store.load(&name).await.unwrap().unwrap();
        let text = String::from_utf8(tip.value.to_vec()).unwrap();
        assert!(objects.iter().any(|meta| meta.name == text), "the register names an object that is there");
        assert!(matches!(store.replace(&name, &Expected::Is(tip.version), text.clone().into()).await, Replaced::Done(_)));
        tips.insert(text);
    }
    assert_eq!(tips.len(), 12, "work went on every time");
}

#[tokio::test]
async fn words_of_several_processes_are_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let name = RegisterName::branch("main");
    create(&*store, &name, "begun").await;
    let children: Vec<_> = (0..4).map(|_| spawn("append", directory.path())).collect();
    append(&*store, &name, "parent", WORDS).await.unwrap();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let value = store.load(&name).await.unwrap().unwrap().value;
    let words: std::collections::BTreeSet<_> = value.split(|b| *b == b' ').collect();
    assert_eq!(words.len() as u64, 5 * WORDS + 1, "each word is there");
}

#[tokio::test]
async fn a_lock_names_its_holder_and_dies_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let name = RegisterName::branch("main");
    create(&*local(directory.path()), &name, "0").await;
    let mut holder = spawn("hold", directory.path());
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "holding"), "the other process must get the lock");

    let hasty = Local::open(directory.path(), LocalOptions::default().lock_deadline(Duration::from_millis(50))).unwrap();
    let found = hasty.load(&name).await.unwrap().unwrap();
    assert_eq!(found.value, "0", "readers take no lock");
    let expected = Expected::Is(found.version);
    let Replaced::NotSent(error) = hasty.replace(&name, &expected, "1".into()).await else { panic!("nothing can be written") };
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("is locked by process {}", holder.id())), "{error}");
    assert!(error.to_string().contains("refs/branches/main.json"), "{error}");
    create(&hasty, &RegisterName::branch("other"), "every register has its own lock").await;

    // Killed while it holds the lock: nobody has to tidy up.
    let waiting = tokio::spawn({
        let (patient, name, expected) = (local(directory.path()), name.clone(), expected.clone());
        async move { patient.replace(&name, &expected, "1".into()).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(matches!(waiting.await.unwrap(), Replaced::Done(_)));
    assert!(directory.path().join("refs/.lock/branches/main.json").exists(), "lock files stay");
}
