//! Three places with credentials of their own: none of them ever sees those of another, and nothing prints them.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firnline::storage::{Credential, CredentialSet};
use firnline::{Access, Container, Error, ErrorKind, Key, OpenOptions, Repository};
use tracing_subscriber::fmt::MakeWriter;

use super::recording::{Reply, Request, Server, Shown};

const CONTENT: &[u8] = b"0123456789abcdefghij";

/// What a log at the finest level holds.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Random strings, each of which is a secret of one server.
#[derive(Clone)]
struct Secrets {
    token: String,
    id: String,
    key: String,
    session: String,
}

impl Secrets {
    fn new() -> Self {
        let draw = || format!("{:032x}", rand::random::<u128>());
        Self { token: draw(), id: draw(), key: draw(), session: draw() }
    }

    fn all(&self) -> [&str; 4] {
        [&self.token, &self.id, &self.key, &self.session]
    }

    /// The set of the web server and that of the store.
    fn sets(&self) -> [(&'static str, CredentialSet); 2] {
        let keys = Credential::aws(self.id.clone(), self.key.clone(), Some(self.session.clone().into()));
        [("archive", CredentialSet::fixed(Credential::bearer(self.token.clone()))), ("minio", CredentialSet::fixed(keys))]
    }
}

/// Lets a request in whose credentials are right; others are told what they gave, as some servers do.
fn guarded(right: String) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| match request.header("authorization") {
        Some(given) if given.contains(&right) => Shown::new(CONTENT).answer(request),
        given => Reply::Answer(403, Vec::new(), format!("<Error><Code>No</Code><Message>{given:?}</Message></Error>").into()),
    }
}

/// A repository with one key in a local file, one on a web server that wants a token, one in a store that wants keys, and one on a web
/// server that sends to another one.
struct Scene {
    directory: tempfile::TempDir,
    archive: Server,
    minio: Server,
    sender: Server,
    open: Server,
    secrets: Secrets,
}

impl Scene {
    async fn new() -> Self {
        let secrets = Secrets::new();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.nc"), CONTENT).unwrap();
        let open = Server::start(|request| Shown::new(CONTENT).answer(request));
        let to = open.url("/open/a.nc");
        let archive = Server::start(guarded(format!("Bearer {}", secrets.token)));
        let minio = Server::start(guarded(format!("Credential={}/", secrets.id)));
        let sender = Server::start(move |_| Reply::Answer(302, vec![("location", to.clone())], Vec::new()));
        let scene = Self { directory, archive, minio, sender, open, secrets };
        let repository =
            Repository::create_with(&scene.place(), OpenOptions::default().access(scene.access(&scene.secrets)).into()).await.unwrap();
        let session = repository.write("main").await.unwrap();
        let options = [("endpoint", scene.minio.url("")), ("region", "eu-north-1".to_owned())];
        let options: BTreeMap<_, _> = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        session.set_container(Container { options, ..Container::new("minio", "s3://bucket/{}") }).unwrap();
        for (key, url) in scene.urls() {
            session.set_virtual(&Key::new(key).unwrap(), &url, 4..8).await.unwrap();
        }
        session.commit("four places").await.unwrap();
        scene
    }

    fn place(&self) -> String {
        self.directory.path().join("repository").to_str().unwrap().to_owned()
    }

    fn urls(&self) -> [(&'static str, String); 4] {
        let local = firnline::file_url(&self.directory.path().join("a.nc")).unwrap();
        let (archive, sent) = (self.archive.url("/data/a.nc"), self.sender.url("/data/a.nc"));
        [("local", local), ("archive", archive), ("minio", "s3://bucket/data/a.nc".to_owned()), ("sent", sent)]
    }

    /// The entries with their words. The one of the sender names the token of the archive.
    fn entries(&self) -> Vec<String> {
        let local = firnline::file_url(self.directory.path()).unwrap();
        vec![
            format!("{local}/"),
            format!("{}=as:archive+private", self.archive.url("/data/")),
            format!("s3://bucket/data/=as:minio+private+at:{}", self.minio.url("")),
            format!("{}=as:archive+private", self.sender.url("/")),
            format!("{}=private", self.open.url("/open/")),
        ]
    }

    fn access(&self, secrets: &Secrets) -> Access {
        let mut access = Access::parse(self.entries().iter().map(String::as_str)).unwrap().patience(Duration::from_secs(5));
        for (name, set) in secrets.sets() {
            access.credentials(name, set).unwrap();
        }
        access
    }

    /// What each key gives to a reader, and everything that can be printed on the way.
    async fn read(&self, access: Access) -> (Vec<Result<Vec<u8>, ErrorKind>>, String) {
        let of_access = format!("{access:?}");
        let options = OpenOptions::default().access(access);
        let mut printed = format!("{of_access} {options:?}");
        let repository = Repository::open_with(&self.place(), options.read_only()).await.unwrap();
        let snapshot = repository.read("main").await.unwrap();
        let mut found = Vec::new();
        for (key, _) in self.urls() {
            let read = snapshot.get(&Key::new(key).unwrap()).await;
            found.push(read.map(|bytes| bytes.unwrap().to_vec()).map_err(|error| {
                printed += &told(&error);
                error.kind()
            }));
        }
        (found, format!("{printed} {repository:?} {snapshot:?}"))
    }

    /// Every request since the last time, by server; fails if a server saw what is another's, or what no server may see.
    fn searched(&self, used: &Secrets) -> [usize; 4] {
        let Secrets { token, id, key, session } = used;
        let seen = |server: &Server, name: &str, foreign: &[&String]| {
            let asked = server.take();
            let text = format!("{asked:?}");
            for secret in foreign {
                assert!(!text.contains(secret.as_str()), "{name} was sent what is not its own: {text}");
            }
            asked.len()
        };
        [
            seen(&self.archive, "archive", &[id, key, session]),
            seen(&self.minio, "minio", &[token, key]),
            seen(&self.sender, "sender", &[id, key, session]),
            seen(&self.open, "open", &[token, id, key, session]),
        ]
    }
}

/// Everything that an error says.
fn told(error: &Error) -> String {
    format!("{error} {error:?} {:?}", error.remedy())
}

fn silent_about(secrets: &[&Secrets], text: &str, what: &str) {
    for secret in secrets.iter().flat_map(|secrets| secrets.all()) {
        let at = text.find(secret).map(|at| &text[at.saturating_sub(200)..(at + 40).min(text.len())]);
        assert_eq!(at, None, "{what} holds a secret");
    }
}

#[test]
fn credentials_stay_with_their_server_and_are_never_printed() {
    // The log of this thread, on which everything runs; messages of `log` go there too.
    let log = Log::default();
    tracing_log::LogTracer::init().unwrap();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scene = Scene::new().await;
        let (right, wrong) = (scene.secrets.clone(), Secrets::new());
        assert!(scene.searched(&right).into_iter().all(|requests| requests > 0), "every file was looked up");
        let good = || Ok(b"4567".to_vec());

        let (found, printed) = scene.read(scene.access(&right)).await;
        assert_eq!(found, [good(), good(), good(), good()]);
        assert!(scene.searched(&right).into_iter().all(|requests| requests > 0));
        silent_about(&[&right], &printed, "what is printed");

        // Wrong credentials for one, and for the other.
        for (mixed, denied) in [
            (Secrets { token: wrong.token.clone(), ..right.clone() }, 1),
            (Secrets { id: wrong.id.clone(), key: wrong.key.clone(), session: wrong.session.clone(), ..right.clone() }, 2),
        ] {
            let (found, printed) = scene.read(scene.access(&mixed)).await;
            for (at, read) in found.into_iter().enumerate() {
                assert_eq!(read, if at == denied { Err(ErrorKind::Denied) } else { good() }, "{at}");
            }
            scene.searched(&mixed);
            let name = if denied == 1 { "archive" } else { "minio" };
            assert!(printed.contains(&format!("was given the credentials {name}")), "{printed}");
            silent_about(&[&right, &mixed], &printed, "what is printed");
        }

        // No credentials: none are sent, and the error says where to name a set. It names none itself: these name no server.
        let words = ["=as:archive+private", "=as:minio+private"];
        let without = scene.entries().into_iter().map(|entry| words.iter().fold(entry, |entry, words| entry.replace(words, "=private")));
        let mut access = Access::new(without.map(|entry| entry.parse().unwrap()));
        for (name, set) in right.sets() {
            access.credentials(name, set).unwrap();
        }
        let (found, printed) = scene.read(access).await;
        assert_eq!(found, [good(), Err(ErrorKind::Denied), Err(ErrorKind::Denied), good()]);
        assert!(printed.contains("/data/=as:NAME+private") && printed.contains("s3://bucket/data/=as:NAME+private+at:"), "{printed}");
        scene.searched(&right);
        silent_about(&[&right], &printed, "what is printed");
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("reqwest"), "the log holds what the clients say: {} bytes", log.len());
        silent_about(&[&right, &wrong], &log, "the log");
    });
}

/// The command takes sets from the user's file.
fn firn(scene: &Scene, configuration: &str, arguments: &[&str]) -> Output {
    let path: PathBuf = scene.directory.path().join("config.toml");
    std::fs::write(&path, configuration).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(["-R", &scene.place()]).args(arguments).env("FIRN_CONFIG", path);
    command.env_remove("FIRN_REPO").env_remove("FIRN_ALLOW").env_remove("FIRN_REBIND").output().expect("the command can be started")
}

fn configuration(scene: &Scene, secrets: &Secrets) -> String {
    let Secrets { token, id, key, session } = secrets;
    let tokens = scene.directory.path().join("token.json");
    std::fs::write(&tokens, format!("{{\"bearer\": \"{token}\", \"expires\": \"2999-01-01T00:00:00Z\"}}")).unwrap();
    format!(
        "allow = {:?}\n[credentials.archive]\nkind = \"http\"\ncommand = [\"cat\", {tokens:?}]\n[credentials.minio]\nkind = \"s3\"\n\
         access_key_id = \"{id}\"\nsecret_access_key = \"{key}\"\nsession_token = \"{session}\"\n",
        scene.entries()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_credentials_from_the_configuration_file() {
    let shared = Scene::new().await;
    let work = move || {
        let (scene, wrong) = (shared, Secrets::new());
        for (key, _) in scene.urls() {
            let run = firn(&scene, &configuration(&scene, &scene.secrets), &["cat", "main", key]);
            assert_eq!(run.stdout, b"4567", "{key}: {}", String::from_utf8_lossy(&run.stderr));
        }
        for key in ["archive", "minio"] {
            let run = firn(&scene, &configuration(&scene, &wrong), &["cat", "main", key]);
            let err = String::from_utf8(run.stderr).unwrap();
            assert!(run.status.code() == Some(5) && err.contains(&format!("was given the credentials {key}")), "{err}");
            silent_about(&[&scene.secrets, &wrong], &err, "the error");
        }
        let run = firn(&scene, &configuration(&scene, &wrong).replace("kind = \"s3\"", "kind = \"s4\""), &["log"]);
        let err = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.code() == Some(9) && err.contains("config.toml: credentials \"minio\""), "{err}");
        silent_about(&[&wrong], &err, "the error");
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
