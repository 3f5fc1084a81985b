//! `firn verify`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use firnline::{Finding, Verified, VerifyScope};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Verify all branches and tags, with every version that they show, have shown or descend from
    #[arg(long, conflicts_with = "revision")]
    all: bool,
}

impl Verify {
    /// Prints one row for each finding; exits with 1 when there is any.
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let scope =
            if self.all { VerifyScope::Everything } else { VerifyScope::Revision(context.snapshot(&repository, &self.revision).await?) };
        let mut verified = repository.verify(scope).await?;
        // Found in parallel: sorted, so that the same damage is always told in the same way.
        verified.findings.sort_by(|a, b| (&a.object, &a.message).cmp(&(&b.object, &b.message)));
        for finding in &verified.findings {
            context.out.show(&VerifyRow::of(finding))?;
        }
        context.out.note(&summary(&verified));
        for id in &verified.shallow {
            context.out.note(&format!("what came before snapshot {id} is not in this repository, as it was imported alone"));
        }
        if verified.expired > 0 {
            context.out.note(&format!("the data of {} has expired and was not looked for", count(verified.expired, "version")));
        }
        let untold = verified.found.saturating_sub(verified.findings.len() as u64);
        if untold > 0 {
            context.out.say(&format!("{} more", count(untold, "finding")));
        }
        Ok(if verified.found > 0 { Verdict::Found } else { Verdict::Fine })
    }
}

fn summary(verified: &Verified) -> String {
    let Verified { found, snapshots, nodes, chunks, bytes, .. } = verified;
    let read = [count(*snapshots, "snapshot"), count(*nodes, "node"), count(*chunks, "chunk")].join(", ");
    format!("read {read} with {}: {}", count(*bytes, "byte"), count(*found, "finding"))
}

#[derive(Debug, Serialize)]
struct VerifyRow {
    /// `missing`, `corrupt`, `misplaced`, `miscounted`, `past end`, `unplaced`, `history` or `misrecorded`.
    kind: &'static str,
    /// By its name in the store.
    object: String,
    message: String,
    /// Some of the keys whose values are affected.
    keys: Vec<String>,
    /// Versions that reach the object.
    versions: Vec<String>,
}

impl VerifyRow {
    fn of(finding: &Finding) -> Self {
        Self {
            kind: finding.kind.word(),
            object: finding.object.clone(),
            message: finding.message.clone(),
            keys: finding.keys.clone(),
            versions: finding.versions.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Show for VerifyRow {
    fn text(&self) -> String {
        let Self { kind, object, message, keys, .. } = self;
        let keys = if keys.is_empty() { String::new() } else { format!(" (keys {})", keys.join(", ")) };
        format!("{kind}: {object}: {message}{keys}")
    }
}
