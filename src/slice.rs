//! Which sessions are mine: index arithmetic only.
//!
//! Worker threads, processes and machines all divide the one planned load by this mechanism:
//! slice `i` of `n` keeps session `k` where `k mod n == i`.

/// Slice `index` of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    index: u64,
    of: u64,
}

impl Slice {
    /// The whole load.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Slice `index` of `of`; `None` unless `index < of`.
    pub const fn new(index: u64, of: u64) -> Option<Self> {
        if index < of {
            Some(Self { index, of })
        } else {
            None
        }
    }

    /// This slice cut again into `of` parts, of which part `index` is returned: machines first,
    /// then their workers. The parts' union is this slice.
    pub const fn part(self, index: u64, of: u64) -> Option<Self> {
        if index < of {
            Some(Self {
                index: self.index + self.of * index,
                of: self.of * of,
            })
        } else {
            None
        }
    }

    /// Whether session `k` belongs to this slice.
    pub const fn owns(self, session: u64) -> bool {
        session % self.of == self.index
    }

    /// The session number of this slice's `n`-th session (from 0).
    pub const fn session(self, n: u64) -> u64 {
        self.index + self.of * n
    }

    /// How many of the sessions `0..total` belong to this slice.
    pub const fn count(self, total: u64) -> u64 {
        if total > self.index {
            (total - self.index - 1) / self.of + 1
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_partition_the_load(total in 0_u64..500, machines in 1_u64..5, workers in 1_u64..5) {
            let mut seen = vec![0_u32; usize::try_from(total).expect("small")];
            for m in 0..machines {
                let machine = Slice::new(m, machines).expect("m < machines");
                for w in 0..workers {
                    let slice = machine.part(w, workers).expect("w < workers");
                    for n in 0..slice.count(total) {
                        let k = slice.session(n);
                        prop_assert!(slice.owns(k) && machine.owns(k));
                        seen[usize::try_from(k).expect("small")] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
    }
}
