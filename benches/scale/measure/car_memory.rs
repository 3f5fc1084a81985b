//! How much memory export and import take for a small and for a large version, each in a process of its own.

use std::process::{Command, Stdio};

use firnline::{ImportTarget, Repository};
use tokio::fs::File;

use super::key;
use crate::data;
use crate::figures::Figures;
use crate::work::Setup;

const MIB: u64 = 1 << 20;

/// How long the two versions are, in MiB.
fn sizes(setup: &Setup) -> [u64; 2] {
    if setup.refs >= 1_000_000 { [256, 4096] } else { [64, 512] }
}

pub(super) fn run(setup: &Setup, out: &mut Figures) {
    let [small, large] = sizes(setup);
    let mut peaks = Vec::new();
    for size in [small, large] {
        step(setup, &format!("car-memory/build/{size}"));
        for verb in ["export", "import"] {
            let found = step(setup, &format!("car-memory/{verb}/{size}"));
            let peak = found.find("peak memory").unwrap().value;
            out.bytes(&format!("{verb} of {size} MiB: peak memory"), peak);
            let speed = found.find("speed").unwrap();
            out.rate(&format!("{verb} of {size} MiB"), speed.value);
            peaks.push(peak);
        }
    }
    for (verb, small, large) in [("export", peaks[0], peaks[2]), ("import", peaks[1], peaks[3])] {
        out.bytes(&format!("{verb}: memory for the large version beyond that for the small"), (large - small).max(0.0));
    }
}

/// Does one step in a process of its own.
fn step(setup: &Setup, name: &str) -> Figures {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--work", name, "--refs", &setup.refs.to_string(), "--place"]).arg(&setup.place).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name} failed: {}", output.status);
    Figures::from_lines(&String::from_utf8(output.stdout).unwrap())
}

/// What such a process does: `build/256`, `export/256` or `import/256`.
pub(super) async fn one(setup: &Setup, name: &str, out: &mut Figures) {
    let (verb, size) = name.split_once('/').unwrap();
    let [from, file, to] = ["from", "car", "to"].map(|what| setup.path(&format!("{size} MiB {what}")));
    let start = std::time::Instant::now();
    let bytes = match verb {
        "build" => build(&from, size.parse().unwrap(), setup).await,
        "export" => {
            let out = File::create(&file).await.unwrap();
            Repository::open(&from).await.unwrap().read("main").await.unwrap().export_car(out).await.unwrap().bytes
        }
        "import" => {
            let target = Repository::create(&to).await.unwrap();
            let file = File::open(&file).await.unwrap();
            target.import_car(file, ImportTarget::Branch("copy".parse().unwrap())).await.unwrap().bytes
        }
        _ => panic!("there is no step {verb}"),
    };
    out.speed("speed", bytes, start.elapsed());
}

/// Half of the bytes in chunks of 1 MiB, half in large ones, of the same lengths in both versions.
async fn build(place: &str, size: u64, setup: &Setup) -> u64 {
    let large = sizes(setup)[0] / 4;
    let session = Repository::create(place).await.unwrap().write("main").await.unwrap();
    let (mut n, mut left) = (0, size);
    while left > 0 {
        let mib = if n % (large + 1) == 0 { large } else { 1 }.min(left);
        session.set(&key(n), data::chunk(n, usize::try_from(mib * MIB).unwrap())).await.unwrap();
        if mib > 1 {
            session.flush().await.unwrap();
        }
        (n, left) = (n + 1, left - mib);
    }
    session.commit("chunks").await.unwrap();
    size * MIB
}
