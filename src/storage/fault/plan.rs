//! Plans made of chances, the same for the same seed.

use super::{Call, Fault, Operation};

/// How many of a thousand requests go wrong, by how. What is left of the thousand goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Requests that never reach the store.
    pub before: u16,
    /// Requests that are done and not answered.
    pub after: u16,
    /// Requests that the client sends twice: a replace that landed is `Refused`.
    pub twice: u16,
    /// Requests that let every other task go first.
    pub wait: u16,
}

/// A plan for [`Faulty`](super::Faulty) in which chance decides, the same for the same seed and the same order of
/// requests. Barriers and listings are spared `twice`, which means nothing to them.
pub fn seeded(seed: u64, rates: Rates) -> impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static {
    move |call| {
        let die = mix(seed, call.number) % 1000;
        let [before, after, twice, wait] = [rates.before, rates.after, rates.twice, rates.wait].map(u64::from);
        if die < before {
            Fault::Before
        } else if die < before + after {
            Fault::After
        } else if die < before + after + twice {
            if matches!(call.operation, Operation::Barrier | Operation::List) { Fault::None } else { Fault::Twice }
        } else if die < before + after + twice + wait {
            Fault::Wait(Box::pin(async {
                for _ in 0..32 {
                    tokio::task::yield_now().await;
                }
            }))
        } else {
            Fault::None
        }
    }
}

/// The `n`-th number of a seeded sequence (`SplitMix64`).
pub(super) fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
