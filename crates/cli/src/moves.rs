//! `firn moves`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{Move, ReadableMoves, Ref};

#[derive(Debug, Args)]
pub(super) struct Moves {
    /// The branch; tag:NAME for a tag
    #[arg(default_value = "main")]
    branch: String,
}

impl Moves {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let name = Ref::named(&self.branch)?;
        let repository = context.open_to_read().await?;
        let ReadableMoves { moves, damage, .. } = repository.readable_moves(&name).await?;
        let rows: Vec<_> = moves.iter().map(MovesRow::of).collect();
        context.out.table(["SEQ", "TIME", "WHAT", "FROM", "TO"], &rows, |row| {
            let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
            [row.seq.to_string(), row.time.clone(), row.op.to_owned(), id(&row.from), id(&row.to)]
        })?;
        damage.map_or(Ok(Verdict::Fine), |error| Err(error.into()))
    }
}

#[derive(Debug, Serialize)]
struct MovesRow {
    seq: u64,
    time: String,
    /// `create`, `delete`, `reset`, `import`, `repair`, `fast-forward`, `squash`, `undo`, `redo`, `push` or `pull`.
    op: &'static str,
    /// Null where the ref did not exist.
    from: Option<String>,
    to: Option<String>,
}

impl MovesRow {
    fn of(moved: &Move) -> Self {
        let Move { seq, time, from, to, op, .. } = moved;
        let (from, to) = (from.map(|id| id.to_string()), to.map(|id| id.to_string()));
        Self { seq: *seq, time: time.to_string(), op: op.word(), from, to }
    }
}

impl Show for MovesRow {
    fn text(&self) -> String {
        format!("{}  {}  {}", self.seq, self.time, self.op)
    }
}
