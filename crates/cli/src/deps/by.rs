//! `firn deps --by container` and `firn deps --by array`

use serde::Serialize;

use super::rows::{ListFormat, ListPrinter, ListRow};
use crate::failure::Stop;
use crate::locate::Context;
use crate::output::Show;
use crate::parquet::{Cell, CellKind};
use firnline::{ArrayDependencies, Container, DependencyCounts, Snapshot};

/// Lists the containers with what depends on each.
pub(super) async fn containers(snapshot: &Snapshot, format: &ListFormat, context: &mut Context) -> Result<(), Stop> {
    let mut list = ListPrinter::begin::<ByContainerRow>(format, &mut context.out)?;
    for (container, counts) in snapshot.container_uses().await? {
        list.push(&mut context.out, &ByContainerRow::of(container, counts))?;
    }
    list.end(&mut context.out)
}

/// Lists the arrays with what they depend on.
pub(super) async fn arrays(snapshot: &Snapshot, format: &ListFormat, context: &mut Context) -> Result<(), Stop> {
    let mut list = ListPrinter::begin::<ByArrayRow>(format, &mut context.out)?;
    for found in snapshot.dependencies_by_array().await? {
        list.push(&mut context.out, &ByArrayRow::of(found))?;
    }
    list.end(&mut context.out)
}

/// How many files, and how much depends on them.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct CountedRow {
    pub(super) files: u64,
    /// How many keys point into them.
    pub(super) refs: u64,
    /// The sum of the lengths they point at.
    pub(super) bytes: u64,
}

impl CountedRow {
    pub(super) fn of(counts: DependencyCounts) -> Self {
        let DependencyCounts { files, refs, bytes, .. } = counts;
        Self { files, refs, bytes }
    }

    pub(super) fn cells(self) -> [Cell; 3] {
        [self.files, self.refs, self.bytes].map(|n| Cell::Number(Some(n)))
    }

    pub(super) fn texts(self) -> [String; 3] {
        [self.files, self.refs, self.bytes].map(|n| n.to_string())
    }
}

#[derive(Debug, Serialize)]
struct ByContainerRow {
    container: String,
    template: String,
    #[serde(flatten)]
    counts: CountedRow,
}

impl ByContainerRow {
    fn of(container: Container, counts: DependencyCounts) -> Self {
        Self { container: container.name, template: container.template, counts: CountedRow::of(counts) }
    }
}

impl Show for ByContainerRow {
    fn text(&self) -> String {
        self.container.clone()
    }
}

impl ListRow<5, 5> for ByContainerRow {
    const COLUMNS: [(&'static str, CellKind); 5] = [
        ("container", CellKind::Text),
        ("template", CellKind::Text),
        ("files", CellKind::Number),
        ("refs", CellKind::Number),
        ("bytes", CellKind::Number),
    ];
    const HEAD: [&'static str; 5] = ["CONTAINER", "TEMPLATE", "FILES", "REFS", "BYTES"];

    fn cells(&self) -> [Cell; 5] {
        let [files, refs, bytes] = self.counts.cells();
        [Cell::Text(Some(self.container.clone())), Cell::Text(Some(self.template.clone())), files, refs, bytes]
    }

    fn texts(&self) -> [String; 5] {
        let [files, refs, bytes] = self.counts.texts();
        [self.container.clone(), self.template.clone(), files, refs, bytes]
    }
}

#[derive(Debug, Serialize)]
struct ByArrayRow {
    /// The prefix of the array, or of the directory.
    array: String,
    /// `array`, or `directory` outside of arrays.
    kind: &'static str,
    #[serde(flatten)]
    counts: CountedRow,
    containers: Vec<InContainerRow>,
}

/// The part of an array's files that lies in one container.
#[derive(Debug, Serialize)]
struct InContainerRow {
    container: String,
    #[serde(flatten)]
    counts: CountedRow,
}

impl ByArrayRow {
    fn of(found: ArrayDependencies) -> Self {
        let ArrayDependencies { group, counts, containers, .. } = found;
        let of = |(container, counts)| InContainerRow { container, counts: CountedRow::of(counts) };
        let containers = containers.into_iter().map(of).collect();
        Self { array: group.prefix().as_str().to_owned(), kind: group.word(), counts: CountedRow::of(counts), containers }
    }

    fn names(&self) -> String {
        self.containers.iter().map(|of| of.container.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Show for ByArrayRow {
    fn text(&self) -> String {
        self.array.clone()
    }
}

impl ListRow<6, 6> for ByArrayRow {
    const COLUMNS: [(&'static str, CellKind); 6] = [
        ("array", CellKind::Text),
        ("kind", CellKind::Text),
        ("files", CellKind::Number),
        ("refs", CellKind::Number),
        ("bytes", CellKind::Number),
        ("containers", CellKind::Text),
    ];
    const HEAD: [&'static str; 6] = ["ARRAY", "KIND", "FILES", "REFS", "BYTES", "CONTAINERS"];

    fn cells(&self) -> [Cell; 6] {
        let [files, refs, bytes] = self.counts.cells();
        let text = |text: String| Cell::Text(Some(text));
        [text(self.array.clone()), text(self.kind.to_owned()), files, refs, bytes, text(self.names())]
    }

    fn texts(&self) -> [String; 6] {
        let [files, refs, bytes] = self.counts.texts();
        let array = if self.array.is_empty() { "/".to_owned() } else { self.array.clone() };
        [array, self.kind.to_owned(), files, refs, bytes, self.names()]
    }
}
