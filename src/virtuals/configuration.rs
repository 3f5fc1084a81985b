//! The configuration file of a user: what is allowed, where moved containers lie, credentials, and how files are asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::access::Access;
use super::allow::Allow;
use super::rebind::Rebind;
use crate::error::{Error, Result};
use crate::storage::{Credential, CredentialCommand, CredentialSet, Secret};
use crate::text::printable_line;

/// The variable that names another file; empty for none.
const VARIABLE: &str = "FIRN_CONFIG";
/// What the file is called in messages.
const WHAT: &str = "configuration file";
/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ConfigurationFile {
    allow: Vec<String>,
    rebind: BTreeMap<String, String>,
    credentials: BTreeMap<String, SetTable>,
    reading: ReadingTable,
    remotes: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ReadingTable {
    gap: Option<u64>,
    longest: Option<u64>,
    per_host: Option<usize>,
    patience: Option<f64>,
}

/// The table of one set of credentials.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetTable {
    kind: String,
    endpoint: Option<String>,
    region: Option<String>,
    account: Option<String>,
    command: Option<Vec<String>>,
    service_account: Option<PathBuf>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    token: Option<String>,
    service_account_key: Option<String>,
    account_key: Option<String>,
    sas_token: Option<String>,
    bearer: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

impl Access {
    /// Reads the configuration file of the user: `firnline/config.toml` in `$XDG_CONFIG_HOME`, else in `~/.config`. The variable
    /// `FIRN_CONFIG` names another file, and none if it is empty. The default if there is no such file. Blocks on the disk.
    ///
    /// Errors as by [`from_file`](Self::from_file), and `NotFound` if the file that `FIRN_CONFIG` names does not exist. No option of the
    /// library reads the file unless this is called.
    pub fn from_configuration() -> Result<Self> {
        match of_the_user()? {
            Some((text, path)) => Self::parse_configuration(&text, &path),
            None => Ok(Self::default()),
        }
    }

    /// Reads a configuration file (`docs/virtual-data.md` describes it). Blocks on the disk.
    ///
    /// `Invalid` if it is not TOML, has an unknown field or holds what cannot be meant; the message names file and line, and repeats no
    /// value. `Denied` if it belongs to another user than the present one or `root`, if others can change it, or if it is the present
    /// user's own, others can read it and it holds secrets; so for the file of a `service_account`, which is a secret. `NotFound` if one of
    /// them does not exist.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::parse_configuration(&read(path, WHAT)?, path)
    }

    fn parse_configuration(text: &ReadFile, path: &Path) -> Result<Self> {
        parse(text, path)?.access().map_err(|e| e.context(shown(path)))
    }
}

/// The repositories that the table `remotes` of the user's configuration file names, by name: places as `open` takes them. None if there is
/// no such file or table. Errors as by [`Access::from_configuration`]. Blocks on the disk.
pub fn configured_remotes() -> Result<BTreeMap<String, String>> {
    match of_the_user()? {
        Some((text, path)) => Ok(parse(&text, &path)?.remotes),
        None => Ok(BTreeMap::new()),
    }
}

/// The place of a repository that people name: by a name that [`configured_remotes`] has, or by itself, as `open` takes it. Errors as by
/// that, if it may be such a name: letters, digits and `-_.`, and no dot at its beginning. Blocks on the disk.
pub fn remote_place(named: &str) -> Result<String> {
    let is_name = named.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && !named.starts_with('.');
    let known = if is_name { configured_remotes()?.remove(named) } else { None };
    Ok(known.unwrap_or_else(|| named.to_owned()))
}

/// The configuration file of the user, if there is one, and where it lies.
fn of_the_user() -> Result<Option<(ReadFile, PathBuf)>> {
    let variable = |name: &str| std::env::var_os(name);
    let Some(path) = path_of(variable(VARIABLE), variable("XDG_CONFIG_HOME"), variable("HOME")) else { return Ok(None) };
    match read(&path, WHAT) {
        Ok(text) => Ok(Some((text, path))),
        Err(e) if e.kind() == crate::ErrorKind::NotFound && variable(VARIABLE).is_none() => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(text: &ReadFile, path: &Path) -> Result<ConfigurationFile> {
    let named = |e: Error| e.context(shown(path));
    let file: ConfigurationFile = toml::from_str(&text.content).map_err(|e| named(Error::invalid(unreadable(&e, &text.content))))?;
    if text.is_open && file.credentials.values().any(|table| !table.secrets().is_empty()) {
        return Err(open_to_others(WHAT, path));
    }
    Ok(file)
}

/// Where the file is, by the variables that say so.
fn path_of(named: Option<OsString>, config: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(PathBuf::from(named)).filter(|path| !path.as_os_str().is_empty());
    }
    let directory = config.map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = directory.or_else(|| home.map(PathBuf::from).filter(|path| path.is_absolute()).map(|home| home.join(".config")))?;
    Some(directory.join("firnline/config.toml"))
}

struct ReadFile {
    content: String,
    /// Whether it is the reader's own, and others can read it.
    is_open: bool,
}

/// Reads a file on whose content the reader's protection depends; `what` it is stands in messages.
fn read(path: &Path, what: &str) -> Result<ReadFile> {
    let place = shown(path);
    let lost = |e: std::io::Error| match e.kind() {
        IoKind::NotFound => Error::not_found(format!("{what} {place} does not exist")),
        _ => Error::unavailable(format!("{what} {place} cannot be read")).caused_by(e),
    };
    let file = File::open(path).map_err(lost)?;
    let metadata = file.metadata().map_err(lost)?;
    let me = rustix::process::geteuid().as_raw();
    // Devices such as /dev/null are open to everyone, and hold nothing.
    if !metadata.file_type().is_char_device()
        && let Err(why) = is_safe(metadata.mode(), metadata.uid(), me)
    {
        return Err(Error::denied(format!("{what} {place} {why} {place}")));
    }
    let is_open = is_open(metadata.mode(), metadata.uid(), me);
    let mut content = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut content).map_err(lost)?;
    if content.len() as u64 > LONGEST_FILE {
        return Err(Error::invalid(format!("{what} {place} is longer than {LONGEST_FILE} bytes")));
    }
    let content = String::from_utf8(content).map_err(|_| Error::invalid(format!("{what} {place} is not UTF-8")))?;
    Ok(ReadFile { content, is_open })
}

/// Whether only `me` and `root` decide what a file of this mode and owner holds: it names programs that are run and places that are
/// allowed. The error ends with the beginning of a command.
const fn is_safe(mode: u32, owner: u32, me: u32) -> Result<(), &'static str> {
    if owner != me && owner != 0 {
        return Err("belongs to another user; make it your own: chown $USER");
    }
    if mode & 0o022 != 0 { Err("can be changed by other users; run: chmod 600") } else { Ok(()) }
}

/// Whether others can read a file of mine. Who reads a file of `root`, such as a mounted secret, is for `root` to say.
const fn is_open(mode: u32, owner: u32, me: u32) -> bool {
    owner == me && mode & 0o077 != 0
}

fn open_to_others(what: &str, path: &Path) -> Error {
    let place = shown(path);
    Error::denied(format!("{what} {place} holds secrets and can be read by other users; run: chmod 600 {place}"))
}

fn shown(path: &Path) -> String {
    printable_line(&path.display().to_string()).into_owned()
}

/// What is wrong with a text, and where. The parser shows values in some of its messages, and they may be secrets.
fn unreadable(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1));
    let message = error.message();
    let is_safe = ["unknown field", "missing field", "duplicate"].iter().any(|kind| message.starts_with(kind));
    let is_typed = message.starts_with("invalid type") || message.starts_with("invalid value");
    let what = match (is_safe, is_typed) {
        (true, _) => printable_line(message.lines().next().unwrap_or_default()).into_owned(),
        (false, true) => "a value of another type than the field has".to_owned(),
        (false, false) => "this is not TOML; texts stand in quotes".to_owned(),
    };
    format!("{line}{what}")
}

impl ConfigurationFile {
    fn access(self) -> Result<Access> {
        let allowed = self.allow.iter().map(|entry| entry.parse::<Allow>()).collect::<Result<Vec<_>>>()?;
        let mut access = self.reading.applied_to(Access::new(allowed))?;
        for (container, to) in self.rebind {
            let (_, rebind) = Rebind::parse(&format!("_={to}")).map_err(|e| e.context(format!("rebind {container:?}")))?;
            access.rebind(container, rebind)?;
        }
        for (name, table) in self.credentials {
            let set = table.set().map_err(|e| e.context(format!("credentials {name:?}")))?;
            access.credentials(name, set)?;
        }
        access.check()?;
        Ok(access)
    }
}

impl ReadingTable {
    fn applied_to(self, mut access: Access) -> Result<Access> {
        if let Some(seconds) = self.patience {
            let patience = Duration::try_from_secs_f64(seconds).ok().filter(|patience| !patience.is_zero());
            access = access.patience(patience.ok_or_else(|| Error::invalid("reading: patience is not a number of seconds above 0"))?);
        }
        let Self { gap, longest, per_host, patience: _ } = self;
        if longest == Some(0) || per_host == Some(0) {
            return Err(Error::invalid("reading: longest and per_host are at least 1"));
        }
        access = gap.into_iter().fold(access, Access::gap);
        access = longest.into_iter().fold(access, Access::longest);
        Ok(per_host.into_iter().fold(access, Access::per_host))
    }
}

impl SetTable {
    /// The fields that hold credentials.
    fn secrets(&self) -> BTreeMap<String, Secret> {
        let all = [
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
            ("session_token", &self.session_token),
            ("token", &self.token),
            ("service_account_key", &self.service_account_key),
            ("account_key", &self.account_key),
            ("sas_token", &self.sas_token),
            ("bearer", &self.bearer),
            ("user", &self.user),
            ("password", &self.password),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Secret::new(value.clone()?)))).collect()
    }

    fn set(self) -> Result<CredentialSet> {
        let mut fields = self.secrets();
        let is_given = !fields.is_empty() || self.command.is_some() || self.service_account.is_some();
        let mut set = match (self.kind.as_str(), &self.command, &self.service_account) {
            ("environment" | "anonymous" | "repository", ..) if is_given => {
                return Err(Error::invalid(format!("kind {} has no fields but endpoint, region and account", self.kind)));
            }
            ("environment", ..) => CredentialSet::environment(),
            ("anonymous", ..) => CredentialSet::anonymous(),
            ("repository", ..) => CredentialSet::repository(),
            (_, Some(_), Some(_)) => return Err(Error::invalid("command and service_account are given; choose one")),
            (_, Some(_), _) if !fields.is_empty() => {
                return Err(Error::invalid("the fields of the credentials are given beside a command that prints them; choose one"));
            }
            (kind @ ("s3" | "gs" | "az" | "http"), Some(command), None) => {
                let (program, arguments) = command.split_first().ok_or_else(|| Error::invalid("command is empty; name a program"))?;
                CredentialSet::fetched(Arc::new(CredentialCommand::new(kind, program, arguments.iter().cloned())))
            }
            (kind, _, path) => {
                if let Some(path) = path {
                    let key = read(path, "service account")?;
                    if key.is_open {
                        return Err(open_to_others("service account", path));
                    }
                    fields.insert("service_account_key".to_owned(), Secret::new(key.content));
                }
                CredentialSet::fixed(Credential::from_fields(kind, &fields)?)
            }
        };
        set = self.endpoint.into_iter().fold(set, CredentialSet::endpoint);
        set = self.region.into_iter().fold(set, CredentialSet::region);
        Ok(self.account.into_iter().fold(set, CredentialSet::account))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::ErrorKind;

    const WHOLE: &str = r#"
allow = ["file:///data/", "s3://era5/=as:minio", "https://data.example.org/=as:archive+private"]

[rebind]
era5 = "file:///mirror/era5/"
"s3://bucket" = "file:///copy/=unverified"

[credentials.minio]
kind = "s3"
access_key_id = "AKIA"
secret_access_key = "hush"
endpoint = "https://minio.example.org"
region = "eu-north-1"

[credentials.archive]
kind = "http"
command = ["tokens", "--for", "archive"]

[credentials.mine]
kind = "repository"

[reading]
gap = 1024
longest = 1048576
per_host = 4
patience = 2.5
"#;

    fn written(text: &str, mode: u32) -> Result<Access> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Access::from_file(&path)
    }

    #[test]
    fn everything_that_a_file_says_is_taken() {
        let access = written(WHOLE, 0o600).unwrap();
        let mut expected = Access::parse(["file:///data/", "s3://era5/=as:minio", "https://data.example.org/=as:archive+private"]).unwrap();
        expected = expected.gap(1024).longest(1 << 20).per_host(4).patience(Duration::from_millis(2500));
        expected.rebind("era5", Rebind { template: "file:///mirror/era5/".to_owned(), accept_unverified: false }).unwrap();
        expected.rebind("s3://bucket", Rebind { template: "file:///copy/".to_owned(), accept_unverified: true }).unwrap();
        for (name, set) in &access.sets {
            expected.credentials(name.clone(), set.clone()).unwrap();
        }
        assert_eq!(access, expected);
        assert_eq!(access.sets.keys().collect::<Vec<_>>(), ["archive", "mine", "minio"]);
        assert!(!format!("{access:?}").contains("hush"), "{access:?}");
        assert_eq!(written("", 0o644).unwrap(), Access::default());
    }

    #[test]
    fn secrets_are_read_from_no_file_that_others_can_read() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let error = written(WHOLE, mode).unwrap_err();
            assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("run: chmod 600 /"), "{error}");
        }
        assert!(written("[credentials.a]\nkind = \"http\"\ncommand = [\"x\"]", 0o644).is_ok(), "a command is no secret");
    }

    /// Only files with secrets were judged, but a command that others can write is one that they choose.
    #[test]
    fn no_file_is_read_that_others_can_change() {
        for mode in [0o666, 0o620, 0o602] {
            for text in ["", "[credentials.a]\nkind = \"http\"\ncommand = [\"x\"]"] {
                let error = written(text, mode).unwrap_err();
                assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("can be changed by other users"), "{error}");
            }
        }
        assert_eq!((is_safe(0o644, 7, 7), is_safe(0o644, 0, 7), is_safe(0o600, 7, 7)), (Ok(()), Ok(()), Ok(())));
        assert!(is_safe(0o600, 8, 7).is_err() && is_safe(0o600, 7, 0).is_err() && is_safe(0o664, 7, 7).is_err());
        assert!(is_open(0o640, 7, 7) && is_open(0o604, 0, 0) && !is_open(0o600, 7, 7) && !is_open(0o440, 0, 7));
        assert_eq!(Access::from_file(Path::new("/dev/null")).unwrap(), Access::default());
    }

    #[test]
    fn the_file_of_a_service_account_is_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let text = format!("[credentials.a]\nkind = \"gs\"\nservice_account = {path:?}");
        let read = || written(&text, 0o600).map(drop).map_err(|e| (e.kind(), e.to_string()));
        assert!(read().is_err_and(|(kind, said)| kind == ErrorKind::NotFound && said.contains("key.json")));
        for (content, mode, expected) in [
            (&b"{}"[..], 0o600, None),
            (b"{}", 0o644, Some(ErrorKind::Denied)),
            (b"{}", 0o620, Some(ErrorKind::Denied)),
            (&vec![b' '; (1 << 20) + 1], 0o600, Some(ErrorKind::Invalid)),
        ] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read().err().map(|(kind, _)| kind), expected, "{mode:o}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_without_values() {
        for (text, saying) in [
            ("allow = []\nalow = [\"hush\"]", "line 2: unknown field `alow`"),
            ("[credentials.a]\nkind = \"http\"\nbearer = \"hush\"\nbaerer = \"hush\"", "line 4: unknown field `baerer`"),
            ("[credentials.a]\nbearer = \"hush\"", "missing field `kind`"),
            ("[credentials.a]\nkind = \"http\"\nbearer = hush", "line 3: this is not TOML"),
            ("[credentials.a]\nkind = \"http\"\nbearer = 4711", "line 3: a value of another type"),
            ("[credentials.a]\nkind = \"http\"\nbearer = \"hush", "line 3: this is not TOML"),
            ("[credentials.a]\nkind = \"ftp\"\nbearer = \"hush\"", "credentials \"a\": credentials are of kind s3"),
            ("[credentials.a]\nkind = \"s3\"\nbearer = \"hush\"", "credentials \"a\": credentials of kind s3 have access_key_id"),
            ("[credentials.a]\nkind = \"environment\"\nbearer = \"hush\"", "has no fields"),
            ("[credentials.a]\nkind = \"http\"\nbearer = \"hush\"\ncommand = [\"x\"]", "choose one"),
            ("[credentials.a]\nkind = \"http\"\ncommand = []", "name a program"),
            ("[credentials.env]\nkind = \"anonymous\"", "cannot be named env"),
            ("allow = [\"https://h/=as:nobody\"]", "names the credentials nobody, which are not defined"),
            ("allow = [\"nonsense\"]", "nonsense"),
            ("[rebind]\nx = \"nowhere\"", "rebind \"x\""),
            ("[reading]\npatience = -1", "patience"),
            ("[reading]\nper_host = 0", "at least 1"),
        ] {
            let error = written(text, 0o600).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            let said = format!("{error:?}");
            assert!(said.contains(saying) && said.contains("config.toml"), "{text}: {said}");
            assert!(!said.contains("hush") && !said.contains("4711"), "{said}");
        }
        assert_eq!(Access::from_file(Path::new("/nowhere/config.toml")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn the_file_is_looked_for_where_the_variables_say() {
        let os = |text: &str| Some(OsString::from(text));
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(path_of(None, None, os("/home/me")), at("/home/me/.config/firnline/config.toml"));
        assert_eq!(path_of(None, os("/etc/me"), os("/home/me")), at("/etc/me/firnline/config.toml"));
        assert_eq!(path_of(None, os(""), os("/home/me")), at("/home/me/.config/firnline/config.toml"));
        assert_eq!(path_of(os("my.toml"), os("/etc/me"), os("/home/me")), at("my.toml"));
        assert_eq!(path_of(os(""), os("/etc/me"), os("/home/me")), None);
        assert_eq!(path_of(None, None, None), None);
    }
}
