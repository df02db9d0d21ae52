//! The tokens that are paid for.

/// How many tokens of each kind are paid for: disjoint, whatever the endpoint's own accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantities {
    /// Input that no cache had a part in.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache for five minutes.
    pub cache_write_5m: u64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Output; without the reasoning where that is priced apart.
    pub output: u64,
    /// Reasoning, where it is priced apart or counted beside the output.
    pub reasoning: u64,
}

impl Quantities {
    /// The tokens of the whole prompt, cached ones included. A count beyond reason stays beyond reason.
    pub fn prompt(&self) -> u64 {
        [self.cache_read, self.cache_write_1h, self.cache_write_5m]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// The tokens of the prompt behind the first `from` up to the first `to` (`None`: to its end), and
    /// no output.
    pub(super) fn between(&self, from: u64, to: Option<u64>) -> Self {
        let (from, to) = (u128::from(from), to.map(u128::from));
        let mut begin = 0_u128;
        let mut cut = |count: u64| {
            let end = begin + u128::from(count);
            let inside = to
                .map_or(end, |to| to.min(end))
                .saturating_sub(from.max(begin));
            begin = end;
            u64::try_from(inside).expect("a part of a count")
        };
        Self {
            cache_read: cut(self.cache_read),
            cache_write_1h: cut(self.cache_write_1h),
            cache_write_5m: cut(self.cache_write_5m),
            input: cut(self.input),
            output: 0,
            reasoning: 0,
        }
    }
}
