//! A repository on a web server: whatever needs no listing can be read, and nothing can be written.

use std::path::Path;
use std::process::{Command, Output};

use firnline::{Key, OpenOptions, Repository};

use super::endpoints::endpoint;
use super::servers::Place;
use super::support::skip;

fn firn(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(["-R", url]).args(arguments).env_remove("FIRN_REPO").env_remove("FIRN_ALLOW");
    command.output().expect("the command can be started")
}

fn succeed(url: &str, arguments: &[&str]) -> String {
    let output = firn(url, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Three commits, with a chunk that is more than one block.
async fn fill(repository: &Repository) {
    for n in 0..3 {
        let session = repository.write("main").await.unwrap();
        session.set(&Key::new("zarr.json").unwrap(), format!("{{\"n\":{n}}}")).await.unwrap();
        let chunk: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        session.set(&Key::new("a/c/0").unwrap(), chunk).await.unwrap();
        session.commit(format!("number {n}")).await.unwrap();
    }
}

/// Runs every command that a web server is enough for, in a directory of its own.
fn read(url: &str, directory: &Path) {
    assert_eq!(succeed(url, &["log", "main"]).lines().count(), 4);
    assert_eq!(succeed(url, &["cat", "main", "zarr.json"]), "{\"n\":2}");
    assert_eq!(succeed(url, &["cat", "main~1", "zarr.json"]), "{\"n\":1}");
    assert!(succeed(url, &["ls", "main"]).contains("zarr.json"));
    succeed(url, &["checkout", "main", directory.join("out").to_str().unwrap()]);
    assert_eq!(std::fs::metadata(directory.join("out/a/c/0")).unwrap().len(), 3_000_000);
    succeed(url, &["verify", "main"]);
    let car = directory.join("main.car");
    succeed(url, &["car", "export", "main", car.to_str().unwrap()]);
    assert!(std::fs::metadata(car).unwrap().len() > 3_000_000);

    let listing = firn(url, &["branch"]);
    let told = String::from_utf8_lossy(&listing.stderr).into_owned();
    assert!(listing.status.code() == Some(10) && told.contains("cannot be listed"), "{told}");
    let writing = firn(url, &["put", "-m", "x", "Cargo.toml", "x"]);
    let told = String::from_utf8_lossy(&writing.stderr).into_owned();
    assert!(writing.status.code() == Some(10) && told.contains("read-only"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_behind_nginx_can_be_read() {
    let test = "a_repository_behind_nginx_can_be_read";
    let Some(endpoint) = endpoint(test, "FIRN_TEST_NGINX") else { return };
    let Ok(root) = std::env::var("FIRN_TEST_NGINX_ROOT") else { return skip(test, "set FIRN_TEST_NGINX_ROOT to what the server shows") };
    let directory = tempfile::tempdir_in(root).unwrap();
    let name = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    fill(&Repository::create(directory.path().join("a b").to_str().unwrap()).await.unwrap()).await;
    // Whoever runs the server is somebody else.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("{endpoint}/{name}/a%20b/");
    tokio::task::spawn_blocking(move || read(&url, scratch.path())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_behind_our_own_server_can_be_read() {
    let place = Place::our_s3();
    let mut options = OpenOptions::default();
    options.cloud = place.options();
    fill(&Repository::create_with(&place.url, options.into()).await.unwrap()).await;
    let scratch = tempfile::tempdir().unwrap();
    let url = place.url.replace("s3:/", &place.server.as_ref().unwrap().endpoint());
    tokio::task::spawn_blocking(move || read(&url, scratch.path())).await.unwrap();
}
