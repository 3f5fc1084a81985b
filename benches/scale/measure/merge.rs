//! Merging two lines that changed different things.

use firnline::{MergeOptions, RefName};

use super::key;
use crate::data;
use crate::figures::Figures;
use crate::process::Moment;
use crate::store::Store;
use crate::work::{MANY, Setup};

pub(super) async fn disjoint(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let repository = store.repository().await;
    let side = RefName::new("side").unwrap();
    repository.create_branch(&side, &repository.read("main").await.unwrap()).await.unwrap();
    for (branch, odd) in [("main", 1), ("side", 0)] {
        let session = repository.write(branch).await.unwrap();
        let changes = data::changes(setup.refs, 31).filter(|(n, _)| n % 2 == odd);
        for (n, range) in changes.take(usize::try_from(MANY).unwrap()) {
            session.set_virtual(&key(n), &data::url(data::file(n, setup.refs, setup.files())), range).await.unwrap();
        }
        session.commit("its half").await.unwrap();
    }

    let repository = store.repository().await;
    let theirs = repository.read("side").await.unwrap();
    let meter = store.meter();
    let start = Moment::now();
    let staged = repository.merge(&RefName::new("main").unwrap(), &theirs, MergeOptions::default()).await.unwrap();
    out.spent("cold: find the base, compare, stage", start.elapsed());
    staged.commit().await.unwrap();
    out.spent("cold: merge and commit", start.elapsed());
    meter.report(out, "cold: merge and commit", 1);
}
