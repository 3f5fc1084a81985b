//! What expires, and what stays and why.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::ExpireOptions;
use super::graph::VersionGraph;
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{Move, Ref, RefKind, RefName, RefState, unreadable};
use crate::time::Timestamp;

/// A version that expires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiringVersion {
    /// Its id.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
    /// The first line of its message, at most 72 bytes.
    pub summary: String,
}

/// A version that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptVersion {
    /// Its id.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
    /// The first line of its message, at most 72 bytes.
    pub summary: String,
    /// Why: `branch NAME` or `tag NAME` that points at it; `last`, `within`, `hourly`, `daily`, `weekly`, `monthly` or `yearly` for a rule;
    /// `other ref` for one that a branch which was not named leads to, or only tags; `moves` for one that a move has taken away lately;
    /// `fork` for one at which two branches part, where a merge of them begins.
    pub why: String,
}

/// What would expire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpirePlan {
    /// The versions that expire, latest first.
    pub expire: Vec<ExpiringVersion>,
    /// The versions that stay, latest first.
    pub keep: Vec<KeptVersion>,
    /// How many versions have expired already.
    pub already: u64,
    /// What is kept, in words.
    pub rules: String,
}

/// A ref, as far as it matters here.
struct PlanRef {
    name: Ref,
    tip: Option<SnapshotId>,
    moves: Vec<Move>,
}

impl PlanRef {
    fn ends(&self) -> impl Iterator<Item = SnapshotId> {
        self.moves.iter().flat_map(|m| [m.from, m.to]).flatten()
    }
}

/// Every ref there has ever been; an error for one that cannot be read.
async fn read_refs(repository: &Repository) -> Result<Vec<PlanRef>> {
    let mut all = Vec::new();
    for (name, RefState { record, .. }) in repository.all_refs("nothing expires").await? {
        let context = |e: Error| unreadable(&name, e).context("nothing expires while a branch or a tag cannot be read");
        let moves = repository.refs().moves_back_to(&record, |_| false).await.map_err(context)?;
        all.push(PlanRef { name, tip: record.tip, moves });
    }
    Ok(all)
}

pub(super) async fn plan(repository: &Repository, options: &ExpireOptions) -> Result<ExpirePlan> {
    let refs = read_refs(repository).await?;
    // The store has told its time. By a clock that is ahead everything would be old.
    repository.refs().require_agreeing_clocks(&"what has expired")?;
    let is_named = |name: &Ref| match &options.branches {
        _ if name.kind == RefKind::Tag => false,
        None => true,
        Some(branches) => branches.contains(&name.name),
    };
    for branch in options.branches.iter().flatten() {
        require_known(&refs, branch)?;
    }
    let retention = repository.retention().await?;
    let roots: BTreeSet<_> = refs.iter().flat_map(|one| one.ends().chain(one.tip)).collect();
    let graph = VersionGraph::behind(repository, roots).await?;
    let now = repository.clock().now();
    let expired: HashSet<_> = graph.iter().map(|(id, _)| id).filter(|id| retention.is_expired(*id)).collect();
    let kept = Keeping { options, graph: &graph, expired: &expired, now, kept: HashMap::new() }.run(&refs, &is_named);

    let mut plan = ExpirePlan { expire: Vec::new(), keep: Vec::new(), already: 0, rules: options.words() };
    for (id, node) in graph.iter() {
        let (time, summary) = (node.time, node.summary.clone());
        match kept.get(&id) {
            // What has expired stays expired, unless a ref points at it.
            _ if expired.contains(&id) => plan.already += 1,
            Some(why) => plan.keep.push(KeptVersion { id, time, summary, why: why.clone() }),
            None => plan.expire.push(ExpiringVersion { id, time, summary }),
        }
    }
    plan.expire.sort_by_key(|version| std::cmp::Reverse((version.time, version.id)));
    plan.keep.sort_by_key(|version| std::cmp::Reverse((version.time, version.id)));
    Ok(plan)
}

fn require_known(refs: &[PlanRef], branch: &RefName) -> Result<()> {
    let is_it = |one: &&PlanRef| one.name.kind == RefKind::Branch && one.name.name == *branch && !one.moves.is_empty();
    match refs.iter().find(is_it) {
        Some(_) => Ok(()),
        None => Err(Error::not_found(format!("branch {branch} does not exist"))),
    }
}

/// The versions that stay, and why.
struct Keeping<'a> {
    options: &'a ExpireOptions,
    graph: &'a VersionGraph,
    /// What has expired before.
    expired: &'a HashSet<SnapshotId>,
    now: Timestamp,
    kept: HashMap<SnapshotId, String>,
}

impl Keeping<'_> {
    fn run(mut self, refs: &[PlanRef], is_named: &dyn Fn(&Ref) -> bool) -> HashMap<SnapshotId, String> {
        for one in refs {
            if let Some(tip) = one.tip {
                self.kept.entry(tip).or_insert_with(|| one.name.to_string());
            }
        }
        let (graph, everywhere) = (self.graph, |_| true);
        let tips = |of: &dyn Fn(&Ref) -> bool| refs.iter().filter(|one| of(&one.name)).filter_map(|one| one.tip).collect::<Vec<_>>();
        let named = tips(is_named);
        let behind_named = graph.reach(named.iter().copied(), everywhere);
        let behind_others = graph.reach(tips(&|name| name.kind == RefKind::Branch && !is_named(name)), everywhere);
        let behind_tags = graph.reach(tips(&|name| name.kind == RefKind::Tag), everywhere);

        for tip in named {
            self.by_rules(tip);
        }
        for id in graph.forks(&tips(&|_| true)) {
            self.kept.entry(id).or_insert_with(|| "fork".to_owned());
        }
        for (id, node) in graph.iter() {
            let is_of_others = behind_others.contains(&id) || behind_tags.contains(&id) && !behind_named.contains(&id);
            if is_of_others {
                self.kept.entry(id).or_insert_with(|| "other ref".to_owned());
            } else if behind_named.contains(&id) && self.options.rules.keeps_age(node.time, self.now) {
                self.kept.entry(id).or_insert_with(|| "within".to_owned());
            }
        }
        let is_left = |id| !behind_named.contains(&id) && !behind_others.contains(&id) && !behind_tags.contains(&id);
        self.by_moves(refs, is_named, &is_left);
        self.kept
    }

    fn by_rules(&mut self, tip: SnapshotId) {
        let mut line = self.graph.line(tip);
        // What has expired counts for no rule: it cannot stand for its day.
        line.retain(|(id, _)| !self.expired.contains(id));
        let times: Vec<_> = line.iter().map(|(_, node)| node.time).collect();
        let chosen = self.options.rules.choose(&times, self.now);
        for ((id, _), why) in line.iter().zip(chosen) {
            if let Some(why) = why {
                self.kept.entry(*id).or_insert_with(|| why.to_owned());
            }
        }
    }

    /// Keeps what moves of late have taken away, with what is behind it as far as nothing else leads there, and what moves of branches
    /// that were not named lead to. A move to a later version takes nothing away that the branch does not lead to afterwards, or that is
    /// not left to the moves.
    fn by_moves(&mut self, refs: &[PlanRef], is_named: &dyn Fn(&Ref) -> bool, is_left: &dyn Fn(SnapshotId) -> bool) {
        let since = self.now.minus(self.options.keep_moves);
        let mut roots = Vec::new();
        for one in refs {
            // A tag that was deleted has a line like a branch that was.
            let is_open = is_named(&one.name) || one.name.kind == RefKind::Tag && self.options.branches.is_none();
            let lately = one.moves.iter().filter(|m| !is_open || m.time >= since);
            for m in lately {
                roots.extend([m.from, m.to].into_iter().flatten());
                if let Some(from) = m.from.filter(|from| m.to.is_none_or(|to| !self.graph.is_later(to, *from))) {
                    self.kept.entry(from).or_insert_with(|| "moves".to_owned());
                }
            }
        }
        for id in self.graph.reach(roots, is_left) {
            self.kept.entry(id).or_insert_with(|| "moves".to_owned());
        }
    }
}
