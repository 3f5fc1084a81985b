//! What is measured, as values with units: the same lines from every program that does the work, so that they can stand
//! side by side.

use std::time::Duration;

use serde_json::{Value, json};

use super::process::Spent;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes in a second.
    Speed,
    /// A part of something else that was measured in the same run.
    Share,
}

impl Unit {
    const ALL: [(Self, &str); 5] =
        [(Self::Bytes, "bytes"), (Self::Count, "count"), (Self::Seconds, "seconds"), (Self::Speed, "bytes/s"), (Self::Share, "share")];

    /// Whether more of it is better.
    pub(crate) const fn is_better_high(self) -> bool {
        matches!(self, Self::Speed | Self::Share)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(unit, _)| *unit == self).unwrap().1
    }

    /// A value with three digits, for people.
    pub(crate) fn show(self, value: f64) -> String {
        let scaled = |steps: &[(f64, &str)]| {
            let (scale, unit) = steps.iter().find(|(scale, _)| value >= *scale).or(steps.last()).unwrap();
            let value = value / scale;
            let digits = if value >= 100.0 {
                0
            } else if value >= 10.0 {
                1
            } else {
                2
            };
            format!("{value:.digits$} {unit}")
        };
        match self {
            Self::Bytes => scaled(&[(1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "B")]),
            Self::Seconds => scaled(&[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]),
            Self::Speed => scaled(&[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "KB/s")]),
            Self::Share => format!("{value:.2}"),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.1}"),
        }
    }
}

/// One value with its name.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

/// What one measurement found, in order.
#[derive(Debug, Default)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl Figures {
    fn add(&mut self, what: &str, value: f64, unit: Unit) {
        self.0.push(Figure { what: what.to_owned(), value, unit });
    }

    pub(crate) fn bytes(&mut self, what: &str, value: f64) {
        self.add(what, value, Unit::Bytes);
    }

    pub(crate) fn count(&mut self, what: &str, value: f64) {
        self.add(what, value, Unit::Count);
    }

    pub(crate) fn time(&mut self, what: &str, value: Duration) {
        self.add(what, value.as_secs_f64(), Unit::Seconds);
    }

    pub(crate) fn speed(&mut self, what: &str, bytes: u64, time: Duration) {
        self.rate(what, bytes as f64 / time.as_secs_f64());
    }

    /// Bytes in a second.
    pub(crate) fn rate(&mut self, what: &str, rate: f64) {
        self.add(what, rate, Unit::Speed);
    }

    pub(crate) fn share(&mut self, what: &str, share: f64) {
        self.add(what, share, Unit::Share);
    }

    /// Both times of one piece of work.
    pub(crate) fn spent(&mut self, what: &str, spent: Spent) {
        self.time(&format!("{what}: CPU"), spent.cpu);
        self.time(&format!("{what}: wall"), spent.wall);
    }

    /// What went to the store and came from it, a share of one in `times`.
    pub(crate) fn traffic(&mut self, what: &str, traffic: Traffic, times: u64) {
        let each = |n: u64| n as f64 / times as f64;
        if traffic.objects_written > 0 {
            self.bytes(&format!("{what}: written"), each(traffic.bytes_written));
            self.count(&format!("{what}: objects written"), each(traffic.objects_written));
        }
        self.bytes(&format!("{what}: read"), each(traffic.bytes_read));
        self.count(&format!("{what}: requests"), each(traffic.requests));
    }

    /// One line of JSON for each figure.
    pub(crate) fn to_lines(&self) -> String {
        let line = |f: &Figure| format!("{}\n", json!({ "what": f.what, "value": f.value, "unit": f.unit.name() }));
        self.0.iter().map(line).collect()
    }

    /// The figures of another program, from the lines that it printed.
    pub(crate) fn from_lines(lines: &str) -> Self {
        let figure = |line: &str| {
            let found: Value = serde_json::from_str(line).unwrap();
            let name = found["unit"].as_str().unwrap().to_owned();
            let unit = Unit::ALL.iter().find(|(_, n)| *n == name).unwrap().0;
            Figure { what: found["what"].as_str().unwrap().to_owned(), value: found["value"].as_f64().unwrap(), unit }
        };
        Self(lines.lines().map(figure).collect())
    }

    pub(crate) fn find(&self, what: &str) -> Option<&Figure> {
        self.0.iter().find(|figure| figure.what == what)
    }
}

/// What has gone through a store.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_written: u64,
    pub(crate) objects_written: u64,
    pub(crate) bytes_read: u64,
    pub(crate) requests: u64,
}
