//! Trying out an object store.

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::conditions::Conditions;
use super::place::StoreScheme;
use super::store::Cloud;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::doctor::Observation;
use crate::storage::{Expected, Extent, RegisterName, RemovalPermit, Replaced};
use crate::time::{Clock, SKEW};

/// The content that is written and read back.
const CONTENT: &[u8] = b"0123456789";

impl Cloud {
    /// Observes the properties of the store, with a few requests.
    pub(in crate::storage) async fn examine(&self, clock: &dyn Clock) -> Vec<Observation> {
        let repo = RegisterName::repo();
        let found = match self.load_register(repo.as_str()).await {
            Ok(found) => found.map(|found| found.value),
            Err(e) => return vec![Observation::bad("answers", e.to_string())],
        };
        let holds = if found.is_some() { "it holds a repository" } else { "it holds no repository" };
        let mut seen = vec![Observation::good("answers", holds)];
        let conditions = if self.place.scheme == StoreScheme::Http {
            seen.push(Observation::unknown("conditions", "a web server is only read"));
            None
        } else {
            let conditions = self.conditions().await.copied();
            let told = conditions.as_ref().map(|c| self.honoured(*c)).map_err(|e| Error::new(e.kind(), e.to_string()));
            seen.push(Observation::of("conditions", told));
            conditions.ok()
        };
        let scratch = RegisterName::scratch();
        let written = match conditions {
            Some(conditions) => {
                let put = self.replace_register(scratch.as_str(), &Expected::Absent, Bytes::from_static(CONTENT), conditions).await;
                matches!(put, Replaced::Done(_))
            }
            None => false,
        };
        seen.push(match (written, found) {
            (true, _) => Observation::of("ranges", self.ranges(&scratch, CONTENT).await),
            (false, Some(repo_json)) => Observation::of("ranges", self.ranges(&repo, &repo_json).await),
            (false, None) => Observation::unknown("ranges", "there is nothing to read a part of"),
        });
        seen.push(match (self.place.scheme, written) {
            (StoreScheme::Http, _) => Observation::unknown("listing", "a web server does not list; revisions are named in full"),
            (_, true) => Observation::of("listing", self.listing(scratch.as_str()).await),
            (_, false) => Observation::of("listing", self.listed("refs/").await.map(|n| format!("{n} refs"))),
        });
        seen.push(match (self.place.scheme, written) {
            (StoreScheme::Http, _) => Observation::unknown("removal", "a web server is only read"),
            (_, true) => Observation::of("removal", self.removal(&scratch).await),
            (_, false) => Observation::unknown("removal", "nothing could be written that could be removed"),
        });
        seen.push(self.clocks(clock));
        seen
    }

    fn honoured(&self, conditions: Conditions) -> String {
        let form = match self.place.scheme {
            StoreScheme::S3 if conditions.quotes => ", which compares tags in quotes",
            StoreScheme::S3 => ", which compares tags without quotes",
            _ => "",
        };
        format!("what exists is not created again, and what has changed is not replaced{form}")
    }

    /// Reads parts of something whose bytes are known.
    async fn ranges(&self, name: &RegisterName, bytes: &[u8]) -> Result<String> {
        let length = bytes.len() as u64;
        let got = self.get_object(name.as_str(), Extent::Range(1..length.min(4))).await?;
        if got.as_deref() != bytes.get(1..bytes.len().min(4)) {
            return Err(Error::corrupt(format!("bytes 1 to 4 of {name} are not those of the whole")));
        }
        match self.get_object(name.as_str(), Extent::Range(1..length + 1)).await {
            Err(e) if e.kind() == ErrorKind::Corrupt => Ok("a part comes as it was asked for, and one past the end is noticed".to_owned()),
            Err(e) => Err(e),
            Ok(_) => Err(Error::corrupt(format!("a part of {name} past its end is answered as if it were there"))),
        }
    }

    /// Looks for what was just written.
    async fn listing(&self, name: &str) -> Result<String> {
        let found: Vec<_> = self.list_objects(name).try_collect().await?;
        match found.as_slice() {
            [one] if one.name == name && one.size == CONTENT.len() as u64 => Ok("what was just written is listed".to_owned()),
            other => Err(Error::corrupt(format!("what was just written is listed {} times, or with another length", other.len()))),
        }
    }

    /// Removes what was written, by the request that garbage collections send.
    async fn removal(&self, scratch: &RegisterName) -> Result<String> {
        let answers = self.delete_named(&[scratch.as_str()], &RemovalPermit::endless()).await;
        answers.into_iter().collect::<Result<()>>().map_err(|e| e.context(format!("{scratch} is left over")))?;
        match self.load_register(scratch.as_str()).await? {
            Some(_) => Err(Error::unsupported(format!("{scratch} was removed, as the store says, and is still there"))),
            None => Ok("what is removed is gone, so garbage can be collected".to_owned()),
        }
    }

    async fn listed(&self, prefix: &str) -> Result<usize> {
        Ok(self.list_objects(prefix).try_collect::<Vec<_>>().await?.len())
    }

    fn clocks(&self, clock: &dyn Clock) -> Observation {
        let Some(theirs) = self.connection.answers.clock() else {
            return Observation::unknown("clock", "the store does not tell its time");
        };
        let ours = clock.now();
        let apart = ours.since(theirs).max(theirs.since(ours));
        let detail = format!("this machine says {ours}, the store {theirs}: {} s apart", apart.as_secs());
        if apart <= SKEW { Observation::good("clock", detail) } else { Observation::bad("clock", detail) }
    }
}
