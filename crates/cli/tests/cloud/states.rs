//! What can happen to a file that references point into, and what readers and `deps check` say then: the two tables of
//! `docs/virtual-data.md`, cell by cell, on local disk, behind nginx and in an object store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use firnline::{Access, Allow, Clock as _, Container, Dependency, Key, OpenOptions, Repository, SystemClock, Validator, VirtualOptions};
use futures::TryStreamExt as _;
use sha2::Digest as _;

use super::endpoints::{BUCKET, endpoint};
use super::servers::Place;
use super::support::skip;

const DOCUMENT: &str = include_str!("../../../../docs/virtual-data.md");
/// The user and the group that have no files, under which commands run where permission is taken away and the test is root.
const NOBODY: u32 = 65534;
const SIZE: usize = 10_000;
const RANGE: std::ops::Range<u64> = 100..4100;

/// Does something to a file of that name.
type Happening = fn(&Host, &str);

/// What happens, as the first column of the tables says it.
const STATES: [(&str, Happening); 8] = [
    ("nothing", |_, _| {}),
    ("touched: a later date, the same bytes", |host, name| host.write(name, &bytes(1), FIRST.plus_hours(1))),
    ("changed within the same second, to the same size", |host, name| host.write(name, &bytes(2), FIRST.plus_micros(400_000))),
    ("changed, and size and date restored", |host, name| host.write(name, &bytes(2), FIRST)),
    ("replaced by an older file of the same size", |host, name| host.write(name, &bytes(2), FIRST.minus_year())),
    ("cut short, after the bytes that are referred to", |host, name| host.write(name, &bytes(1)[..SIZE / 2], FIRST.plus_hours(1))),
    ("deleted", Host::delete),
    ("permission removed", Host::forbid),
];

/// A date, in microseconds before the moment at which the test began: yesterday, at the beginning of a second.
#[derive(Debug, Clone, Copy)]
struct Date(i64);

const FIRST: Date = Date(0);

impl Date {
    const fn plus_hours(self, hours: i64) -> Self {
        Self(self.0 + hours * 3_600_000_000)
    }

    const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0 + micros)
    }

    const fn minus_year(self) -> Self {
        Self(self.0 - 365 * 24 * 3_600_000_000)
    }

    /// Counted from a moment of yesterday, which is the same for as long as the process lives.
    fn on_disk(self) -> SystemTime {
        static YESTERDAY: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let begun = YESTERDAY.get_or_init(|| SystemClock.now().minus(Duration::from_hours(24)).micros().unsigned_abs() / 1_000_000);
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(*begun);
        let offset = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 { whole - offset } else { whole + offset }
    }
}

/// The bytes of a file in one of its states.
fn bytes(seed: u8) -> Vec<u8> {
    (0..=250).cycle().take(SIZE).map(|n: u8| n ^ seed).collect()
}

/// Where files lie.
enum Host {
    /// In a directory, at the URL under which readers find it.
    Directory { path: PathBuf, url: String, _folder: tempfile::TempDir },
    /// In a bucket of moto, which lets strangers write.
    Bucket { authority: String, prefix: String, place: Place },
}

impl Host {
    fn directory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        open_to_all(&path);
        Self::Directory { url: format!("file://{}", path.display()), path, _folder: folder }
    }

    /// Behind nginx, which tells dates and `ETags` of whole seconds.
    fn nginx(test: &str) -> Option<Self> {
        let endpoint = endpoint(test, "FIRN_TEST_NGINX")?;
        let Ok(root) = std::env::var("FIRN_TEST_NGINX_ROOT") else {
            skip(test, "set FIRN_TEST_NGINX_ROOT to what the server shows");
            return None;
        };
        let folder = tempfile::tempdir_in(root).unwrap();
        open_to_all(folder.path());
        let url = format!("{endpoint}/{}", folder.path().file_name().unwrap().to_str().unwrap());
        Some(Self::Directory { url, path: folder.path().to_owned(), _folder: folder })
    }

    fn bucket(test: &str) -> Option<Self> {
        let place = Place::moto(test)?;
        let server = endpoint(test, "FIRN_TEST_S3_MOTO")?;
        let prefix = place.url.strip_prefix(&format!("s3://{BUCKET}/")).unwrap().to_owned();
        Some(Self::Bucket { authority: server.strip_prefix("http://").unwrap().to_owned(), prefix, place })
    }

    fn url(&self, name: &str) -> String {
        match self {
            Self::Directory { url, .. } => format!("{url}/{name}"),
            Self::Bucket { place, .. } => format!("{}/{name}", place.url),
        }
    }

    fn allow(&self) -> String {
        match self {
            Self::Directory { url, .. } if url.starts_with("file:") => format!("{url}/"),
            Self::Directory { url, .. } => format!("{url}/=private"),
            Self::Bucket { place, authority, .. } => format!("{}/=anonymous+private+at:http://{authority}", place.url),
        }
    }

    /// The container that names the server.
    fn container(&self) -> Option<Container> {
        let Self::Bucket { authority, .. } = self else { return None };
        let options = [("endpoint", format!("http://{authority}")), ("region", "us-east-1".to_owned())];
        let options = options.map(|(name, value)| (name.to_owned(), value)).into();
        Some(Container { name: "bucket".to_owned(), template: format!("s3://{BUCKET}/{{}}"), defaults: BTreeMap::new(), options })
    }

    /// Gives a file other bytes and a date. An object store takes no date: there, the new one is that of a later second.
    fn write(&self, name: &str, content: &[u8], date: Date) {
        match self {
            Self::Directory { path, .. } => {
                let path = path.join(name);
                fs::write(&path, content).unwrap();
                File::options().write(true).open(&path).unwrap().set_modified(date.on_disk()).unwrap();
            }
            Self::Bucket { .. } => {
                let dated = |answer: &str| answer.lines().find(|line| line.to_lowercase().starts_with("last-modified:")).map(str::to_owned);
                let before = dated(&self.ask("HEAD", name, "public-read", &[]));
                loop {
                    let put = self.ask("PUT", name, "public-read", content);
                    assert!(put.starts_with("HTTP/1.1 200"), "{put}");
                    if before.is_none() || dated(&self.ask("HEAD", name, "public-read", &[])) != before {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    fn delete(&self, name: &str) {
        match self {
            Self::Directory { path, .. } => fs::remove_file(path.join(name)).unwrap(),
            Self::Bucket { .. } => assert!(self.ask("DELETE", name, "public-read", &[]).starts_with("HTTP/1.1 204")),
        }
    }

    /// Takes the permission to read the file away from readers who are not its owner. Nothing else changes.
    fn forbid(&self, name: &str) {
        match self {
            Self::Directory { path, .. } => fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o000)).unwrap(),
            Self::Bucket { .. } => {
                let said = self.ask("PUT", &format!("{name}?acl"), "private", &[]);
                assert!(said.starts_with("HTTP/1.1 200"), "{said}");
            }
        }
    }

    /// One request without credentials to the object store; returns the answer.
    fn ask(&self, method: &str, name: &str, acl: &str, body: &[u8]) -> String {
        let Self::Bucket { authority, prefix, .. } = self else { panic!("a directory has no server of its own") };
        let mut stream = TcpStream::connect(authority).unwrap();
        let head = format!(
            "{method} /{BUCKET}/{prefix}/{name} HTTP/1.1\r\nhost: {authority}\r\nx-amz-acl: {acl}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Lets every user look into a directory that only its maker may.
fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A repository whose keys, numbered as the states, each point into a file of their own.
struct Pointing {
    host: Host,
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Pointing {
    /// Every file is pinned by what its source tells, and with its digest if one `is_locked`.
    async fn new(host: Host, is_locked: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        let options = OpenOptions::default().access(Access::new([host.allow().parse::<Allow>().unwrap()]));
        let place = folder.path().join("repository");
        let repository = Repository::create_with(place.to_str().unwrap(), options.into()).await.unwrap();
        let session = repository.write("main").await.unwrap();
        host.container().into_iter().for_each(|container| session.set_container(container).unwrap());
        for n in 0..STATES.len() {
            let name = format!("file-{n}.nc");
            host.write(&name, &bytes(1), FIRST);
            session.set_virtual(&Key::new(format!("key/{n}")).unwrap(), &host.url(&name), RANGE).await.unwrap();
        }
        let pinned = session.commit("pinned").await.unwrap();
        if is_locked {
            let session = repository.write("main").await.unwrap();
            for (n, file) in pinned.dependencies().try_collect::<Vec<Dependency>>().await.unwrap().into_iter().enumerate() {
                let digest = [&[0x12, 0x20], sha2::Sha256::digest(bytes(1)).as_slice()].concat();
                let validator = Validator { digest: Some(digest), ..Validator::of(&file.record) };
                let options = VirtualOptions::default().validator(validator).repin();
                session.set_virtual_with(&Key::new(format!("key/{n}")).unwrap(), &file.url, RANGE, &options).await.unwrap();
            }
            session.commit("locked").await.unwrap();
        }
        Self { host, program: program(folder.path()), folder }
    }

    /// Runs `firn ARGS` as a reader to whom permissions apply.
    fn firn(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).env_remove("FIRN_ALLOW").env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME");
        command.env("HOME", self.folder.path());
        command.args(["-R", "repository", "--allow", &self.host.allow()]).args(args);
        if rustix::process::geteuid().is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
            std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
        }
        command.output().unwrap()
    }

    /// What became of the value of a state, in one word.
    fn read(&self, state: usize) -> &'static str {
        let output = self.firn(&["cat", "main", &format!("key/{state}")]);
        let original = &bytes(1)[100..4100];
        match output.status.code() {
            Some(0) if output.stdout == original => "ok",
            Some(0) => "unnoticed",
            Some(3) => "missing",
            Some(5) => "forbidden",
            Some(6) => "changed",
            Some(7) => "corrupt",
            Some(8) => "unreachable",
            Some(10) => "unverifiable",
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// What `deps check` says of the file of each state; `unnoticed` where it calls other bytes the same.
    fn check(&self, options: &[&str]) -> Vec<String> {
        let output = self.firn(&[&["deps", "check", "main", "--json"], options].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let words = (0..STATES.len()).map(|n| {
            let row = rows.iter().find(|row| row["url"] == self.host.url(&format!("file-{n}.nc")).as_str());
            let row = row.unwrap_or_else(|| panic!("file {n}: {text} {}", String::from_utf8_lossy(&output.stderr)));
            let is_same = STATES[n].0 == "nothing" || STATES[n].0.starts_with("touched");
            match row["state"].as_str().unwrap() {
                "ok" if !is_same => "unnoticed".to_owned(),
                word => word.to_owned(),
            }
        });
        words.collect()
    }
}

/// The command, where every user may run it.
fn program(folder: &Path) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_firn"));
    if !rustix::process::geteuid().is_root() {
        return built;
    }
    let copy = folder.join("firn");
    fs::copy(built, &copy).unwrap();
    open_to_all(&copy);
    copy
}

/// The cells of the table below a heading of the document: for each row its first column, and the others.
fn table(heading: &str) -> Vec<(String, Vec<String>)> {
    let (_, text) = DOCUMENT.split_once(heading).unwrap_or_else(|| panic!("docs/virtual-data.md has no {heading:?}"));
    let lines = text.lines().skip_while(|line| !line.starts_with("| ---")).skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    lines.map(cells).map(|mut cells| (cells.remove(0), cells)).collect()
}

/// Compares one column of both tables with what happens, for files without a digest and with one.
async fn hold(column: usize, host: impl Fn() -> Host) {
    let (reads, checks) = (table("### What a read says"), table("### What `firn deps check` says"));
    let names: Vec<_> = STATES.iter().map(|(name, _)| *name).collect();
    for told in [&reads, &checks] {
        assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names, "the rows of docs/virtual-data.md");
    }
    let mut without_digest = Vec::new();
    for is_locked in [false, true] {
        let pointing = Pointing::new(host(), is_locked).await;
        let column = 2 * column + usize::from(is_locked);
        let cells = |table: &[(String, Vec<String>)]| table.iter().map(|(_, cells)| cells[column].clone()).collect::<Vec<_>>();
        tokio::task::block_in_place(|| {
            for (n, (_, happen)) in STATES.iter().enumerate() {
                happen(&pointing.host, &format!("file-{n}.nc"));
            }
            let read: Vec<_> = (0..STATES.len()).map(|n| pointing.read(n)).collect();
            assert_eq!(read, cells(&reads), "reads, digest locked: {is_locked}");
            let check = pointing.check(if is_locked { &["--digest"] } else { &[] });
            assert_eq!(check, cells(&checks), "deps check, digest locked: {is_locked}");
            // Without the option a locked digest is not read.
            if is_locked {
                assert_eq!(pointing.check(&[]), without_digest);
            } else {
                without_digest = check;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_local_files_is_told_as_documented() {
    hold(0, Host::directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_files_behind_nginx_is_told_as_documented() {
    let test = "what_becomes_of_files_behind_nginx_is_told_as_documented";
    if Host::nginx(test).is_some() {
        hold(1, || Host::nginx(test).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_objects_is_told_as_documented() {
    let test = "what_becomes_of_objects_is_told_as_documented";
    if Host::bucket(test).is_some() {
        hold(2, || Host::bucket(test).unwrap()).await;
    }
}
