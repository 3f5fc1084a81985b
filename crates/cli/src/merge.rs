//! `firn merge`, `firn cherry-pick` and `firn revert`

use clap::{Args, ValueEnum};

use super::args::{fields, key_value, tell_settled};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{Committed, MergeOptions, OnConflict, Prefix, RefName, Repository, StagedChanges, StagedMerge};

#[derive(Debug, Args)]
#[command(after_help = "\
What changed between the latest common ancestor and REV is applied to the tip of the branch. Both are parents of the new commit; the first
one is the tip, whose line goes on. What both sides changed is settled as --on-conflict says, or fails with status 4 and is listed.")]
pub(super) struct Merge {
    /// The revision to merge
    #[arg(value_name = "REV")]
    revision: String,
    /// The version from which the changes of both sides count [default: the latest common ancestor]
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// If the branch has no commits of its own, move it to REV and make no commit
    #[arg(long)]
    ff: bool,
    /// Move the branch to REV, or fail with status 4 if it has commits of its own
    #[arg(long, conflicts_with = "ff")]
    ff_only: bool,
    #[command(flatten)]
    how: MergeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What REV changed against its parent is applied to the tip of the branch, in a commit with the message and the author of REV, which it
names in the field cherry-picked-from.")]
pub(super) struct CherryPick {
    /// The commit to apply
    #[arg(value_name = "REV")]
    revision: String,
    /// The parent against which its changes count; needed if it is a merge
    #[arg(long, value_name = "REV")]
    parent: Option<String>,
    #[command(flatten)]
    how: MergeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What REV changed is set back to what it was before, in a new commit, which names REV in the field reverts. The last thing that happened
to a branch is taken back by: firn undo.")]
pub(super) struct Revert {
    /// The commit to take back
    #[arg(value_name = "REV")]
    revision: String,
    /// The parent against which its changes count; needed if it is a merge
    #[arg(long, value_name = "REV")]
    parent: Option<String>,
    #[command(flatten)]
    how: MergeArgs,
}

/// How versions are applied.
#[derive(Debug, Args)]
struct MergeArgs {
    /// The commit message [default: one that says what was done; of cherry-pick: that of the commit]
    #[arg(short, long)]
    message: Option<String>,
    /// The branch to commit to
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    branch: RefName,
    /// The author of the commit
    #[arg(long)]
    author: Option<String>,
    /// Add a metadata field to the commit; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Whose changes stay where both changed something [default: fail with status 4]
    #[arg(long, value_name = "WHOSE")]
    on_conflict: Option<MergeSide>,
    /// Below this prefix, and at the key of this name, those of the branch stay; the longest prefix decides; may be repeated
    #[arg(long, value_name = "PREFIX")]
    ours: Vec<String>,
    /// Below this prefix, and at the key of this name, those of REV stay; may be repeated
    #[arg(long, value_name = "PREFIX")]
    theirs: Vec<String>,
    /// Below this prefix, and at the key of this name, a conflict fails; may be repeated
    #[arg(long, value_name = "PREFIX")]
    fail: Vec<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Whose changes stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MergeSide {
    /// Those of the branch
    Ours,
    /// Those of REV
    Theirs,
}

impl Merge {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let theirs = context.snapshot(&repository, &self.revision).await?;
        if self.ff || self.ff_only {
            let ours = repository.read(&format!("branch:{}", self.how.branch)).await?;
            if self.ff_only || ours.is_behind(&theirs).await? {
                return self.forward(context, &repository, &theirs).await;
            }
        }
        let mut options = self.how.options()?;
        options.message.get_or_insert_with(|| format!("Merge {} into {}", self.revision, self.how.branch));
        if let Some(base) = &self.base {
            options = options.base(context.snapshot(&repository, base).await?);
        }
        let staged = repository.merge(&self.how.branch, &theirs, options).await?;
        self.how.commit(context, staged, &self.revision).await
    }

    async fn forward(&self, context: &mut Context, repository: &Repository, target: &firnline::Snapshot) -> Result<Verdict, Stop> {
        let branch = &self.how.branch;
        if self.how.dry_run {
            let would_move = repository.can_fast_forward(branch, target).await?;
            context.out.say(&if would_move {
                format!("would move {branch} to {}", target.id())
            } else {
                format!("{branch} has {} already; nothing would be moved", self.revision)
            });
            return Ok(Verdict::Fine);
        }
        if let Some(moved) = repository.fast_forward(branch, target).await? {
            context.out.line(&target.id().to_string())?;
            let from = moved.from.map(|id| id.to_string()).unwrap_or_default();
            context.out.note(&format!("moved {branch} from {from}; take back with: firn undo {branch}"));
            if self.base.is_some() || self.how.describes_a_commit() {
                context.out.say("no commit was made, so the options that describe one, or settle conflicts, were not used");
            }
        } else {
            let tip = repository.read(&format!("branch:{branch}")).await?;
            context.out.line(&tip.id().to_string())?;
            context.out.note(&format!("{branch} has {} already", self.revision));
        }
        Ok(Verdict::Fine)
    }
}

impl CherryPick {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let picked = context.snapshot(&repository, &self.revision).await?;
        let mut options = self.how.options()?;
        if let Some(parent) = &self.parent {
            options = options.base(context.snapshot(&repository, parent).await?);
        }
        let staged = repository.cherry_pick(&self.how.branch, &picked, options).await?;
        self.how.commit(context, staged, &self.revision).await
    }
}

impl Revert {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let reverted = context.snapshot(&repository, &self.revision).await?;
        let mut options = self.how.options()?;
        if let Some(parent) = &self.parent {
            options = options.base(context.snapshot(&repository, parent).await?);
        }
        let staged = repository.revert(&self.how.branch, &reverted, options).await?;
        self.how.commit(context, staged, &self.revision).await
    }
}

impl MergeArgs {
    /// Whether an option was given that only a commit can follow.
    fn describes_a_commit(&self) -> bool {
        let is_settled = self.on_conflict.is_some() || [&self.ours, &self.theirs, &self.fail].iter().any(|given| !given.is_empty());
        is_settled || self.message.is_some() || self.author.is_some() || !self.meta.is_empty()
    }

    fn options(&self) -> Result<MergeOptions, Stop> {
        let mut options = MergeOptions::default();
        options.message.clone_from(&self.message);
        options.author.clone_from(&self.author);
        options.meta = fields("--meta", self.meta.clone())?;
        options.on_conflict = match self.on_conflict {
            None => OnConflict::Refuse,
            Some(MergeSide::Ours) => OnConflict::Ours,
            Some(MergeSide::Theirs) => OnConflict::Theirs,
        };
        for (prefixes, policy) in [(&self.ours, OnConflict::Ours), (&self.theirs, OnConflict::Theirs), (&self.fail, OnConflict::Refuse)] {
            for prefix in prefixes {
                options = options.on_conflict_below(Prefix::new(prefix)?, policy);
            }
        }
        Ok(options)
    }

    /// Commits what is staged and prints the id; or, in a dry run, says what would change.
    async fn commit(&self, context: &mut Context, staged: StagedMerge, revision: &str) -> Result<Verdict, Stop> {
        let StagedMerge { session, options, settled, .. } = staged;
        if self.dry_run {
            if session.changes_nothing().await? {
                context.out.say(&format!("{} has what {revision} brings already; nothing would be committed", self.branch));
            } else {
                let changes = changed(&session.changes().await?);
                context.out.say(&format!("would commit to {}: {changes}", self.branch));
            }
            tell_settled(context, &settled, "");
            return Ok(Verdict::Fine);
        }
        let changes = changed(&session.changes().await?);
        let Committed { snapshot, is_new, settled: later, .. } = context.commit(session, options).await?;
        context.out.line(&snapshot.id().to_string())?;
        let settled = [settled, later].concat();
        tell_settled(context, &settled, "");
        if is_new {
            context.out.note(&format!("{changes}; take back with: firn undo {}", self.branch));
        } else {
            context.out.note(&format!("{} has what {revision} brings already; nothing was committed", self.branch));
        }
        Ok(Verdict::Fine)
    }
}

fn changed(changes: &StagedChanges) -> String {
    let StagedChanges { set, pointed, deleted, .. } = changes;
    format!("{} set, {deleted} deleted", count(set + pointed, "key"))
}
