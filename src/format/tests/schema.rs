//! The generated code is what the schemas say.

use std::path::Path;
use std::process::Command;

use crate::testing::skip;

#[test]
fn generated_code_is_what_flatc_makes() {
    let test = "generated_code_is_what_flatc_makes";
    let version = Command::new("flatc").arg("--version").output();
    match version.map(|v| String::from_utf8_lossy(&v.stdout).trim().to_owned()) {
        Ok(version) if version == "flatc version 25.12.19" => {}
        Ok(version) => return skip(test, &format!("flatc 25.12.19 is needed, this is {version:?}")),
        Err(_) => return skip(test, "flatc is not on the path"),
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().unwrap();
    let status = Command::new("sh").arg(root.join("schema/generate.sh")).arg(made.path()).status().unwrap();
    assert!(status.success());
    let read = |folder: &Path| std::fs::read_to_string(folder.join("snapshot_generated.rs")).unwrap();
    let same = read(made.path()) == read(&root.join("src/format/generated"));
    assert!(same, "src/format/generated/snapshot_generated.rs is not what schema/generate.sh makes");
}
