//! Virtual data in buckets: HDF5 files that are parsed there, reference sets, digests, archives that move, and copies.
//!
//! Files lie where a repository in the bucket keeps the chunks of its values: the name of such an object ends in the id of its bytes.

use std::collections::BTreeSet;
use std::process::Command;

use firnline::{CreateOptions, Key, OpenOptions, Repository};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::endpoints::BUCKET;
use super::sandbox::{Run, Sandbox, noise};
use super::servers::Place;
use super::support::skip;

/// Files in a bucket.
struct Shelf {
    place: Place,
    repository: Repository,
    held: BTreeSet<String>,
}

impl Shelf {
    async fn new(place: Place) -> Self {
        let options = CreateOptions::from(OpenOptions::default().cloud(place.options()));
        Self { repository: Repository::create_with(&place.url, options).await.unwrap(), place, held: BTreeSet::new() }
    }

    /// Puts a file there; returns its URL.
    async fn put(&mut self, bytes: Vec<u8>) -> String {
        use firnline::storage::Storage as _;
        use futures::TryStreamExt as _;
        let session = self.repository.write("main").await.unwrap();
        session.set(&Key::new("file").unwrap(), bytes).await.unwrap();
        session.commit("another file").await.unwrap();
        let chunks: Vec<_> = self.place.open().list("chunks/").map_ok(|object| object.name).try_collect().await.unwrap();
        let new: Vec<_> = chunks.into_iter().filter(|name| self.held.insert(name.clone())).collect();
        let [name] = new.as_slice() else { panic!("one object for one value: {new:?}") };
        format!("{}{name}", self.url())
    }

    /// Where the files are, with a slash at its end.
    fn url(&self) -> String {
        format!("{}/", self.place.url)
    }

    fn endpoint(&self) -> &str {
        let (_, endpoint) = self.place.variables.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").unwrap();
        endpoint
    }

    /// Lets a reader in with the keys of the environment: at its server, and at this one where a container names it.
    fn allow(&self) -> [String; 2] {
        let entry = format!("{}=env+private", self.url());
        [format!("{entry}+at:{}", self.endpoint()), entry]
    }

    /// `firn ARGS` with the keys, at the server of the first shelf if a container names none.
    fn firn(sandbox: &Sandbox, shelves: &[&Self], args: &[&str]) -> Run {
        Run::of(Self::command(sandbox, shelves, args).output().unwrap())
    }

    fn command(sandbox: &Sandbox, shelves: &[&Self], args: &[&str]) -> Command {
        let mut command = sandbox.command("repo");
        command.args(args).envs(shelves[0].place.variables.clone());
        for shelf in shelves {
            command.args(shelf.allow().iter().flat_map(|entry| ["--allow", entry]));
        }
        command
    }

    /// The container that holds all files of this shelf.
    fn declare(&self, sandbox: &Sandbox) {
        let (template, endpoint) = (format!("{}{{}}", self.url()), format!("endpoint={}", self.endpoint()));
        sandbox.firn(&["container", "add", "archive", &template, "--option", &endpoint, "--option", "region=us-east-1"]).ok();
    }

    /// What our own server was asked since the last time; `None` for other servers.
    fn asked(&self) -> Option<Vec<String>> {
        self.place.server.as_ref().map(|server| server.world.take_asked())
    }

    /// The objects of our own server, which can be tampered with; `None` for other servers.
    fn replace(&self, url: &str, bytes: Option<&[u8]>) -> Option<()> {
        let name = url.strip_prefix(&format!("s3://{BUCKET}/")).unwrap();
        self.place.server.as_ref().map(|server| server.world.replace(name, bytes))
    }
}

/// Four ranges of each file, next to each other.
fn point(sandbox: &Sandbox, shelf: &Shelf, files: &[String]) {
    let line = |(n, url): (usize, &String)| {
        let of = |i: usize| json!({ "op": "virtual", "key": format!("a/{n}.{i}"), "url": url, "offset": i * 1000, "length": 1000 });
        (0..4).map(|i| of(i).to_string()).collect::<Vec<_>>().join("\n")
    };
    let lines: Vec<_> = files.iter().enumerate().map(line).collect();
    sandbox.run_with(Shelf::command(sandbox, &[shelf], &["apply"]), lines.join("\n")).ok();
}

const SIZE: usize = 100_000;

/// Makes of each function a test on Ceph, on moto and on our own server.
macro_rules! on_every_server {
    ($($name:ident => $ceph:ident, $moto:ident, $ours:ident);* $(;)?) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $ceph() {
            let test = stringify!($ceph);
            if let Some(place) = Place::ceph(test) { $name(test, Shelf::new(place).await).await }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $moto() {
            let test = stringify!($moto);
            if let Some(place) = Place::moto(test) { $name(test, Shelf::new(place).await).await }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $ours() {
            $name(stringify!($ours), Shelf::new(Place::our_s3()).await).await
        }
    )* };
}

on_every_server! {
    an_hdf5_file_is_virtualized => hdf5_is_virtualized_on_ceph, hdf5_is_virtualized_on_moto, hdf5_is_virtualized_in_few_requests;
    references_are_imported => references_are_imported_on_ceph, references_are_imported_on_moto, references_are_imported_in_few_requests;
    values_are_copied => values_are_copied_from_ceph, values_are_copied_from_moto, values_are_copied_in_few_requests;
}

/// 24 chunks of 512 KiB, twelve before `time` is written and twelve behind it.
const MAKE: &str = "
import sys, json, h5py, numpy as np
random = np.random.default_rng(1)
with h5py.File(sys.argv[1], 'w') as f:
    v = f.create_dataset('v', (24, 65536), 'f8', chunks=(1, 65536), maxshape=(None, 65536))
    for n in range(24):
        if n == 12:
            time = f.create_dataset('time', data=np.arange(24.0))
            time.make_scale()
            v.dims[0].attach_scale(time)
        v[n] = random.random(65536)
    chunks = [v.id.get_chunk_info(n) for n in range(24)]
    print(json.dumps([[c.chunk_offset[0], c.byte_offset, c.size] for c in chunks]))
";

async fn an_hdf5_file_is_virtualized(test: &str, mut shelf: Shelf) {
    let Some(python) = std::env::var_os("FIRN_TEST_PYTHON") else { return skip(test, "set FIRN_TEST_PYTHON to a Python with h5py") };
    let sandbox = Sandbox::new();
    let made = Command::new(python).args(["-B", "-c", MAKE, &sandbox.text("v.h5")]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let chunks: Vec<[usize; 3]> = serde_json::from_slice(&made.stdout).unwrap();
    let bytes = std::fs::read(sandbox.path("v.h5")).unwrap();
    let url = shelf.put(bytes.clone()).await;
    shelf.asked();
    tokio::task::block_in_place(|| {
        sandbox.refused(5, || sandbox.firn(&["virtualize", &url, "--prefix", "air"]));
        assert!(shelf.asked().is_none_or(|asked| asked.is_empty()));
        let firn = |args: &[&str]| Shelf::firn(&sandbox, &[&shelf], args);
        firn(&["virtualize", &url, "--prefix", "air"]).ok();
        if let Some(asked) = shelf.asked() {
            // The size, and some blocks of 1 MiB of the 12 MiB.
            assert!((2..=6).contains(&asked.len()) && asked[0].starts_with("HEAD "), "{asked:?}");
            assert!(asked[1..].iter().all(|asked| asked.contains(" bytes=")), "{asked:?}");
        }
        let rows = firn(&["deps", "--json"]).rows();
        assert_eq!((rows.len(), &rows[0]["url"], &rows[0]["refs"], &rows[0]["pinned"]), (1, &json!(url), &json!(24), &json!(true)));
        // A long value is followed by the index of its blocks.
        assert!(rows[0]["size"].as_u64().unwrap() >= bytes.len() as u64, "{rows:?}");
        let document: Value = serde_json::from_str(&firn(&["cat", "main", "air/v/zarr.json"]).ok()).unwrap();
        assert_eq!((&document["shape"], &document["dimension_names"][0]), (&json!([24, 65536]), &json!("time")));
        for [n, offset, size] in [chunks[0], chunks[11], chunks[23]] {
            let value = firn(&["cat", "main", &format!("air/v/c/{n}/0")]);
            assert!(value.out == bytes[offset..offset + size], "chunk {n}: {}", value.err);
        }
        let times: Vec<u8> = (0..24).flat_map(|n| f64::from(n).to_le_bytes()).collect();
        assert_eq!(sandbox.firn(&["cat", "main", "air/time/c/0"]).out, times, "coordinates are copied");
    });
}

async fn references_are_imported(_test: &str, mut shelf: Shelf) {
    let sandbox = Sandbox::new();
    let files = [noise(1, SIZE), noise(2, SIZE)];
    let (a, b) = (shelf.put(files[0].clone()).await, shelf.put(files[1].clone()).await);
    let gone = format!("{}gone.nc", shelf.url());
    shelf.asked();
    tokio::task::block_in_place(|| {
        let import = |refs: Value, more: &[&str]| {
            let set = sandbox.write("set.json", json!({ "version": 1, "refs": refs }).to_string());
            Shelf::firn(&sandbox, &[&shelf], &[&["kerchunk", "import", set.to_str().unwrap()], more].concat())
        };
        let refs = json!({ ".zgroup": "{\"zarr_format\":2}", "v/0": [a, 0, 1000], "v/1": [a, 1000, SIZE - 1000], "w/0": [b] });
        import(refs, &["--prefix", "x"]).ok();
        if let Some(mut asked) = shelf.asked() {
            asked.sort();
            let heads: BTreeSet<_> = asked.iter().cloned().collect();
            assert!(asked.len() == 2 && heads.len() == 2 && asked.iter().all(|asked| asked.starts_with("HEAD ")), "{asked:?}");
        }
        let value = |key: &str| Shelf::firn(&sandbox, &[&shelf], &["cat", "main", key]).out;
        assert!(value("x/v/1") == files[0][1000..] && value("x/w/0") == files[1], "the bytes of the ranges");
        let sizes: Vec<_> = Shelf::firn(&sandbox, &[&shelf], &["deps", "--json"]).rows().iter().map(|row| row["size"].clone()).collect();
        assert_eq!(sizes, [json!(SIZE), json!(SIZE)]);

        let told = sandbox.refused(9, || import(json!({ "v/0": [a, 0, 1000], "v/7": [b, SIZE - 10, 11] }), &[]));
        assert!(told.contains("v/7: bytes") && told.contains("past the end") && told.contains(&b), "{told}");
        let told = sandbox.refused(3, || import(json!({ "v/0": [gone, 0, 10] }), &[]));
        assert!(told.contains(&gone) && told.contains("v/0"), "{told}");
        import(json!({ "v/0": [gone, 0, 10] }), &["--allow-missing"]).ok();
        let checked = Shelf::firn(&sandbox, &[&shelf], &["deps", "check", "--json"]);
        let states: Vec<Value> = String::from_utf8_lossy(&checked.out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let states: Vec<_> = states.iter().filter(|row| row["url"] == gone.as_str()).map(|row| text(&row["state"])).collect();
        assert_eq!((checked.status, states), (1, vec!["missing".to_owned()]));
    });
}

async fn values_are_copied(_test: &str, mut shelf: Shelf) {
    let sandbox = Sandbox::new();
    let contents = [noise(1, SIZE), noise(2, SIZE), noise(3, SIZE)];
    let mut files = Vec::new();
    for bytes in &contents {
        files.push(shelf.put(bytes.clone()).await);
    }
    tokio::task::block_in_place(|| {
        shelf.declare(&sandbox);
        point(&sandbox, &shelf, &files);
        shelf.asked();
        let firn = |args: &[&str]| Shelf::firn(&sandbox, &[&shelf], args);
        firn(&["deps", "lock"]).ok();
        let mut want: Vec<_> = files.iter().zip(&contents).map(|(url, bytes)| (url.clone(), digest(bytes))).collect();
        want.sort();
        let locked: Vec<_> = firn(&["deps", "--json"]).rows().iter().map(|row| (text(&row["url"]), text(&row["digest"]))).collect();
        assert_eq!(locked, want);
        assert_eq!(firn(&["deps", "check", "--digest"]).status, 0);
        let sums = firn(&["deps", "checksums", "--relative-to", &shelf.url()]).ok();
        assert!(sums.lines().all(|line| line.split_whitespace().nth(1).is_some_and(|name| name.starts_with("chunks/"))), "{sums}");

        shelf.asked();
        let told = firn(&["deps", "vendor", "-v", "--prefix", "a"]);
        assert!(told.err.contains("12 values with 12000 bytes copied"), "{}", told.err);
        told.ok();
        if let Some(asked) = shelf.asked() {
            // Each file is read whole for its digest, and once for its four ranges, which are next to each other.
            let reads: Vec<_> = asked.iter().filter(|asked| asked.contains(" bytes=0-3999")).collect();
            assert!(reads.len() == 3 && asked.len() <= 12, "{asked:?}");
        }
        assert!(firn(&["deps", "--json"]).rows().is_empty());
        // Only older versions need the files.
        for url in &files {
            shelf.replace(url, None);
        }
        for (n, bytes) in contents.iter().enumerate() {
            assert!(sandbox.firn(&["cat", "main", &format!("a/{n}.3")]).out == bytes[3000..4000], "file {n}");
        }
        if shelf.place.server.is_some() {
            assert_eq!(firn(&["cat", "main~1", "a/0.0"]).status, 3);
        }
    });
}

/// The multihash that is locked, as JSON shows it.
fn digest(bytes: &[u8]) -> String {
    format!("1220{}", data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// From one server to another: the options of the container change along with its template.
async fn an_archive_moves(old: Place, new: Place) {
    let sandbox = Sandbox::new();
    let (mut old, mut new) = (Shelf::new(old).await, Shelf::new(new).await);
    let contents = [noise(1, SIZE), noise(2, SIZE)];
    let mut files = Vec::new();
    for bytes in &contents {
        files.push(old.put(bytes.clone()).await);
    }
    tokio::task::block_in_place(|| {
        old.declare(&sandbox);
        point(&sandbox, &old, &files);
        Shelf::firn(&sandbox, &[&old], &["deps", "lock", &files[0]]).ok();
    });
    let (from, to, option) = (old.url(), new.url(), format!("endpoint={}", new.endpoint()));
    let relocate = |new: &Shelf, more: &[&str]| {
        let args = ["deps", "move", &from, &to, "--option", &option, "--option", "region=us-east-1"];
        Shelf::firn(&sandbox, &[new, &old], &[&args, more].concat())
    };
    // All files are moved, or none.
    new.put(contents[1].clone()).await;
    let told = tokio::task::block_in_place(|| sandbox.refused(3, || relocate(&new, &[])));
    assert!(told.contains(&files[0].replace(&from, &to)) && !told.contains(&files[1].replace(&from, &to)), "{told}");
    let moved = new.put(contents[0].clone()).await;
    assert_eq!(moved, files[0].replace(&from, &to), "the same bytes have the same name");
    tokio::task::block_in_place(|| {
        if new.replace(&moved, Some(&noise(9, SIZE))).is_some() {
            let told = sandbox.refused(6, || relocate(&new, &["--digest"]));
            assert!(told.contains(&moved) && told.contains("digest"), "{told}");
            new.replace(&moved, Some(&contents[0]));
        }
        let before = sandbox.firn(&["cid", "main", "a"]).ok();
        let told = relocate(&new, &["--digest", "-v"]);
        assert!(told.err.contains("2 files moved, 0 leaves with 0 references rewritten"), "{}", told.err);
        told.ok();
        assert_eq!(sandbox.firn(&["cid", "main", "a"]).ok(), before, "no reference was touched");

        let firn = |shelves: &[&Shelf], args: &[&str]| Shelf::firn(&sandbox, shelves, args);
        let rows = firn(&[&new], &["deps", "--json"]).rows();
        assert!(rows.iter().all(|row| text(&row["url"]).starts_with(&to) && row["pinned"] == true && row["etag"].is_string()), "{rows:?}");
        let digests: Vec<_> = rows.iter().filter(|row| row["url"] == moved.as_str()).map(|row| text(&row["digest"])).collect();
        assert_eq!(digests, [digest(&contents[0])], "a locked digest is kept");
        let checked = firn(&[&new], &["deps", "check", "--digest"]);
        assert_eq!(checked.status, 0, "{}", checked.err);
        for (n, bytes) in contents.iter().enumerate() {
            let key = format!("a/{n}.2");
            assert!(firn(&[&new], &["cat", "main", &key]).out == bytes[2000..3000], "the new place");
            assert!(firn(&[&old], &["cat", "main~1", &key]).out == bytes[2000..3000], "older versions read the old place");
            firn(&[&old], &["cat", "main", &key]).fails(5);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_moves_from_moto_to_ceph() {
    let test = "an_archive_moves_from_moto_to_ceph";
    if let (Some(old), Some(new)) = (Place::moto(test), Place::ceph(test)) {
        an_archive_moves(old, new).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_moves_between_servers_of_our_own() {
    an_archive_moves(Place::our_s3(), Place::our_s3()).await;
}
