//! What a process has used, as the operating system tells.

use std::path::Path;
use std::time::{Duration, Instant};

/// A moment, with the time that all threads of this process have run until then.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    wall: Instant,
    cpu: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu = Duration::new(cpu.tv_sec.try_into().unwrap(), cpu.tv_nsec.try_into().unwrap());
        Self { wall: Instant::now(), cpu }
    }

    pub(crate) fn elapsed(&self) -> Spent {
        let now = Self::now();
        Spent { wall: now.wall - self.wall, cpu: now.cpu.saturating_sub(self.cpu) }
    }
}

/// Time spent: by the clock, and by all threads of this process (user and system).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

impl Spent {
    /// The share of one of `n`.
    pub(crate) fn each(&self, n: u64) -> Self {
        let share = |d: Duration| Duration::from_secs_f64(d.as_secs_f64() / n.max(1) as f64);
        Self { wall: share(self.wall), cpu: share(self.cpu) }
    }

    /// The medians of many, each for itself.
    pub(crate) fn median(all: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> Duration| {
            let mut times: Vec<_> = all.iter().map(of).collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        Self { wall: middle(|spent| spent.wall), cpu: middle(|spent| spent.cpu) }
    }
}

/// The most memory that this process has held at once, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// How many files lie below a directory, and their lengths together.
pub(crate) fn on_disk(root: impl AsRef<Path>) -> (u64, u64) {
    let Ok(listing) = std::fs::read_dir(root) else { return (0, 0) };
    listing.fold((0, 0), |(files, bytes), found| {
        let found = found.unwrap();
        let meta = found.metadata().unwrap();
        let (f, b) = if meta.is_dir() { on_disk(found.path()) } else { (1, meta.len()) };
        (files + f, bytes + b)
    })
}
