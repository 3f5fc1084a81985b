//! Icechunk at the work of `benches/scale`, over its own local file store with its own counters and defaults.

#![allow(dead_code, reason = "the shared modules are used whole by the other program")]

#[path = "../../scale/data.rs"]
mod data;
#[path = "../../scale/figures.rs"]
mod figures;
mod icechunk_work;
#[path = "../../scale/process.rs"]
mod process;
#[path = "../../scale/work.rs"]
mod work;

use figures::Figures;
use work::Setup;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1).unwrap_or_else(|| panic!("{flag} is missing"));
    let setup = Setup { refs: after("--refs").parse().unwrap(), place: after("--place").into() };
    let mut figures = Figures::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(icechunk_work::run(after("--work"), &setup, &mut figures));
    if !figures.0.is_empty() {
        figures.bytes("peak memory", process::peak_memory() as f64);
    }
    print!("{}", figures.to_lines());
}
