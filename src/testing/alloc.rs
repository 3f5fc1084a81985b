//! An allocator that counts, so that tests can say how much memory a call takes at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Per thread, so that tests that run side by side do not disturb each other. Neither value has a destructor, so the
    // allocator may touch them at any time of a thread's life.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one hands every call to the system's")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While the bytes move, both copies may be there.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The result of `run`, and how many bytes beyond those of the start this thread held at most while it ran.
pub(crate) fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = run();
    (result, (PEAK.get() - before).max(0).cast_unsigned())
}

#[test]
fn the_peak_is_seen_and_forgotten() {
    let ((), large) = peak(|| drop(std::hint::black_box(vec![1u8; 1 << 20])));
    let ((), small) = peak(|| drop(std::hint::black_box(vec![1u8; 1 << 10])));
    assert!((1 << 20..2 << 20).contains(&large), "{large}");
    assert!((1 << 10..1 << 12).contains(&small), "{small}");
}
