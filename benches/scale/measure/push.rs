//! Copying a repository to another place, and then one commit of one chunk.

use firnline::{OpenOptions, RefName, SyncOptions, SyncRef};

use super::key;
use crate::figures::Figures;
use crate::process::Moment;
use crate::store::Store;
use crate::work::{CHUNK, Setup};

pub(super) async fn one(setup: &Setup, out: &mut Figures) {
    let (source, target) = (Store::open(&setup.path("virtual")), Store::open(&setup.path("pushed")));
    let options = SyncOptions::default().with(SyncRef::branch(RefName::new("main").unwrap()));
    let start = Moment::now();
    source.repository().await.clone_to_storage(target.storage(), OpenOptions::default(), &options).await.unwrap();
    out.spent("clone of one branch", start.elapsed());

    let repository = source.repository().await;
    let session = repository.write("main").await.unwrap();
    session.set(&key(setup.refs / 2), vec![7; CHUNK]).await.unwrap();
    session.commit("one chunk").await.unwrap();

    let (from, to) = (source.repository().await, target.repository().await);
    let (read, written) = (source.meter(), target.meter());
    let start = Moment::now();
    let report = from.push(&to, &options).await.unwrap();
    out.spent("push of one chunk", start.elapsed());
    assert_eq!((report.versions, report.chunks), (1, 1));
    read.report(out, "push of one chunk: source", 1);
    written.report(out, "push of one chunk: target", 1);
}
