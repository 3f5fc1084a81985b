//! Progress bars, on a terminal and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use firnline::{Amount, Progress};

/// How often it is drawn, in times a second.
const RATE: u8 = 10;
/// How often the time that has passed is drawn when nothing else happens.
const TICK: Duration = Duration::from_millis(500);

/// One bar on standard error. Drawn from the first piece of work on, so a verb that reports none has none. It is as long as the bytes
/// that are done; of work that reports no bytes, as the items. Clones are one bar.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    bar: ProgressBar,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_drawn: AtomicBool,
    is_of_items: AtomicBool,
    items: AtomicU64,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()), shared: Arc::default() }
    }

    /// Begins to draw, unless it has begun already.
    fn draw(&self, first: Amount) {
        if !self.shared.is_drawn.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(RATE));
            self.bar.enable_steady_tick(TICK);
            if self.bar.length().is_none() {
                self.shared.is_of_items.store(first.bytes == 0, Ordering::Relaxed);
                self.style(if first.bytes == 0 {
                    "{elapsed_precise}  {human_pos} done"
                } else {
                    "{elapsed_precise}  {bytes}  {binary_bytes_per_sec}  {msg} done"
                });
            }
        }
    }

    fn style(&self, template: &str) {
        // The templates are those of this file; a wrong one would leave the plain style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }

    /// Runs `print` while the bar is out of the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.shared.is_drawn.load(Ordering::Relaxed) { self.bar.suspend(print) } else { print() }
    }

    /// Takes the bar away for good.
    pub(super) fn end(&self) {
        if self.shared.is_drawn.load(Ordering::Relaxed) && !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn expect(&self, total: Amount) {
        let is_of_items = total.bytes == 0;
        self.shared.is_of_items.store(is_of_items, Ordering::Relaxed);
        self.bar.set_length(if is_of_items { total.items } else { total.bytes });
        self.style(if is_of_items {
            "{elapsed_precise} [{bar:30}] {human_pos} of {human_len} done  {eta} left"
        } else {
            "{elapsed_precise} [{bar:30}] {bytes} of {total_bytes}  {binary_bytes_per_sec}  {msg} done  {eta} left"
        });
        self.draw(total);
    }

    fn advance(&self, done: Amount) {
        self.draw(done);
        let items = self.shared.items.fetch_add(done.items, Ordering::Relaxed) + done.items;
        if done.items > 0 {
            self.bar.set_message(items.to_string());
        }
        self.bar.inc(if self.shared.is_of_items.load(Ordering::Relaxed) { done.items } else { done.bytes });
    }
}
