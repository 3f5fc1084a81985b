//! The work, done by Firnline.

mod build;
mod car;
mod car_memory;
mod change;
mod collect;
mod history;
mod merge;
mod push;
mod read;

use super::figures::Figures;
use super::process::peak_memory;
use super::work::Setup;

/// Does one piece of work.
pub(crate) fn run(name: &str, setup: &Setup) -> Figures {
    let mut figures = Figures::default();
    let out = &mut figures;
    block(async {
        match name {
            "build-virtual" => build::many_at_once(setup, out).await,
            "build-one-by-one" => build::one_by_one(setup, out).await,
            "build-native" => build::native(setup, out).await,
            "lookup" => read::lookup(setup, out).await,
            "dependencies" => read::dependencies(setup, out).await,
            "change-one" => change::one(setup, out).await,
            "distance" => change::at_a_distance(setup, out).await,
            "change-many" => change::many(setup, out).await,
            "diff" => Box::pin(read::diff(setup, out)).await,
            "merge" => merge::disjoint(setup, out).await,
            "push" => push::one(setup, out).await,
            "append" => change::append(setup, out).await,
            "small-arrays" => change::small_arrays(setup, out).await,
            "metadata" => history::metadata(setup, out).await,
            "log" => history::log(setup, out).await,
            "collect" => collect::run(setup, out).await,
            "car" => car::run(setup, out).await,
            "car-memory" => car_memory::run(setup, out),
            step if step.starts_with("car-memory/") => car_memory::one(setup, &step["car-memory/".len()..], out).await,
            _ => panic!("there is no work {name}"),
        }
    });
    figures.bytes("peak memory", peak_memory() as f64);
    figures
}

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// The key of the reference with number `n`.
fn key(n: u64) -> firnline::Key {
    let [step, row, column] = super::data::coordinates(n);
    firnline::Key::new(format!("air/c/{step}/{row}/{column}")).unwrap()
}
