//! What other people's software reads in our files.

use std::process::Command;

use firnline::HashAlgorithm;

use crate::shared::skip;
use crate::support::{car, rich};

/// Says what it checks. Packages are looked for from the working directory.
const SCRIPT: &str = include_str!("../support/check_car.mjs");

#[tokio::test]
async fn the_reader_of_ipld_follows_every_link() {
    let Some(modules) = std::env::var_os("FIRN_TEST_NODE_MODULES") else {
        skip("the_reader_of_ipld_follows_every_link", "set FIRN_TEST_NODE_MODULES to a node_modules folder with @ipld/car 5.4.7");
        return;
    };
    let parent = std::path::Path::new(&modules).parent().unwrap();
    let (_repository, snapshot) = rich(HashAlgorithm::Sha2_256).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("version.car");
    std::fs::write(&file, car(&snapshot).await).unwrap();
    let ran = Command::new("node").args(["--input-type=module", "-e", SCRIPT, "--"]).arg(&file).current_dir(parent).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let blocks = snapshot.plan_car().await.unwrap().summary().blocks;
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), format!("{} {blocks}", snapshot.id()));
}
