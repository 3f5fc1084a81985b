//! Processes that only read: what they see is what was there.

use super::actors::{Actor, Turn, branch_register, entry, key};
use crate::error::ErrorKind;
use crate::handle::Repository;
use crate::maintenance::VerifyScope;

impl Actor {
    /// Reads a branch: it shows what it showed at some moment of the call, and that can be read for as long as anybody wants.
    pub(super) async fn read(&self, repository: &Repository) -> Turn {
        let branch = ["main", "side", "b0", "b1"][self.draw(4) as usize];
        let (begun, register) = (self.world.lock().now, branch_register(branch));
        let snapshot = match repository.read(&format!("branch:{branch}")).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.expect(&error);
                let state = &mut *self.world.lock();
                if error.kind() == ErrorKind::NotFound && !state.oracle.has_shown(&register, None, begun) {
                    state.oracle.violated(format!("{branch} was not found, and was there all the time: {error}"));
                }
                return Err(());
            }
        };
        let id = snapshot.id();
        let content = {
            let state = &mut *self.world.lock();
            state.coverage.ended("read", "done");
            if !state.oracle.has_shown(&register, Some(id), begun) {
                state.oracle.violated(format!("{branch} was read as {id}, which it did not show"));
            }
            let (oracle, store) = (&mut state.oracle, &state.store);
            match oracle.content(store, id) {
                Ok(content) => content,
                Err(why) => {
                    oracle.violated(why);
                    return Err(());
                }
            }
        };
        if self.draw(4) == 0 {
            self.world.sleep(u64::from(self.draw(20_000)) * 1_000).await;
        }
        for (name, expected) in content.iter().filter(|_| self.draw(2) == 0) {
            match snapshot.get(&key(name)).await {
                Ok(Some(value)) if entry(&value) == *expected => {}
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                wrong => {
                    let wrong = format!("{name} of {id} was read as {wrong:?} instead of {expected:?}");
                    self.world.lock().oracle.violated(wrong);
                }
            }
        }
        Ok(())
    }

    /// Verifies everything, while others write and collect.
    pub(super) async fn verify(&self, repository: &Repository) -> Turn {
        match repository.verify(VerifyScope::Everything).await {
            Ok(verified) if verified.findings.is_empty() => self.world.lock().coverage.ended("verify", "done"),
            Ok(verified) => self.world.lock().oracle.violated(format!("verification found {:?}", verified.findings)),
            Err(error) => self.expect(&error),
        }
        Ok(())
    }
}
