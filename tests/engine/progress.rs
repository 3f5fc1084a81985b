//! What a looker-on is told.

use std::sync::{Arc, Mutex};

use firnline::{Amount, CheckoutOptions, CreateOptions, ImportTarget, OpenOptions, Progress, Repository, TreeOptions, VerifyScope};

/// The announced total, and the sum of what was done.
#[derive(Debug, Default)]
struct Looker(Mutex<(Option<Amount>, Amount)>);

impl Looker {
    fn take(&self) -> (Option<Amount>, Amount) {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Progress for Looker {
    fn expect(&self, total: Amount) {
        assert!(self.0.lock().unwrap().0.replace(total).is_none(), "a total is told once");
    }

    fn advance(&self, done: Amount) {
        let sum = &mut self.0.lock().unwrap().1;
        (sum.items, sum.bytes) = (sum.items + done.items, sum.bytes + done.bytes);
    }
}

#[tokio::test]
async fn what_is_announced_is_what_is_done() {
    let looker = Arc::new(Looker::default());
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("in");
    std::fs::create_dir(&input).unwrap();
    let sizes = [0_usize, 10, 5000, 3_000_000];
    for (n, size) in sizes.iter().enumerate() {
        std::fs::write(input.join(n.to_string()), vec![b'v'; *size]).unwrap();
    }
    let all = Amount { items: 4, bytes: sizes.iter().sum::<usize>() as u64 };
    let options = OpenOptions::default().progress(looker.clone());
    let repository = Repository::create_with("memory:", CreateOptions::from(options)).await.unwrap();

    let session = repository.write("main").await.unwrap();
    session.import_tree(&input, &TreeOptions::default()).await.unwrap();
    assert_eq!(looker.take(), (None, all));
    let snapshot = session.commit("in").await.unwrap();

    snapshot.checkout(place.path().join("out"), &CheckoutOptions::default()).await.unwrap();
    assert_eq!(looker.take(), (Some(all), all));

    repository.verify(VerifyScope::Revision(snapshot.clone())).await.unwrap();
    assert_eq!(looker.take(), (None, Amount { items: 2, bytes: 3_005_000 }), "chunks");

    let mut car = Vec::new();
    let written = snapshot.export_car(&mut car).await.unwrap();
    let (total, done) = looker.take();
    assert_eq!((total, done.items), (Some(done), written.blocks));
    assert!(done.bytes < written.bytes && done.bytes + 100 > written.bytes, "all but the header");

    repository.import_car(car.as_slice(), ImportTarget::Tag("t".parse().unwrap())).await.unwrap();
    assert_eq!(looker.take().1, Amount { items: written.blocks, bytes: written.bytes });
}

#[tokio::test]
async fn one_handle_reports_and_the_others_do_not() {
    let looker = Arc::new(Looker::default());
    let repository = Repository::create("memory:").await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&"a".parse().unwrap(), vec![7; 5000]).await.unwrap();
    session.commit("a").await.unwrap();
    let watched = repository.with_progress(looker.clone());
    repository.verify(VerifyScope::Everything).await.unwrap();
    assert_eq!(looker.take(), (None, Amount::default()));
    let snapshot = watched.read("main").await.unwrap();
    watched.verify(VerifyScope::Revision(snapshot)).await.unwrap();
    assert_eq!(looker.take(), (None, Amount { items: 1, bytes: 5000 }));
}
