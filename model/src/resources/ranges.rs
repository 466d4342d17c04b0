//! Ranges of numbers: sorted, disjoint, never touching.

use std::fmt;

/// Inclusive ranges, merged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// One range; empty when `end` lies before `begin`.
    pub fn one(begin: u64, end: u64) -> Ranges {
        Ranges::from_pairs(vec![(begin, end)])
    }

    /// From any pairs; those with the end before the begin are left out, the others merged.
    pub fn from_pairs(mut pairs: Vec<(u64, u64)>) -> Ranges {
        pairs.retain(|(begin, end)| begin <= end);
        pairs.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(pairs.len());
        for (begin, end) in pairs {
            match merged.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Ranges(merged)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, sorted.
    pub fn pairs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// All numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|&(begin, end)| begin..=end)
    }

    /// Adds the numbers of `other`.
    pub fn add(&mut self, other: &Ranges) {
        let mut pairs = std::mem::take(&mut self.0);
        pairs.extend_from_slice(&other.0);
        *self = Ranges::from_pairs(pairs);
    }

    /// Takes the numbers of `other` away, as far as they are here.
    pub fn subtract(&mut self, other: &Ranges) {
        let mut left = Vec::with_capacity(self.0.len() + other.0.len());
        let mut takes = other.0.iter().peekable();
        for &(mut begin, end) in &self.0 {
            let mut whole = true;
            while let Some(&&(cut, to)) = takes.peek() {
                if to < begin {
                    takes.next();
                    continue;
                }
                if cut > end {
                    break;
                }
                if cut > begin {
                    left.push((begin, cut - 1));
                }
                if to >= end {
                    whole = false;
                    break;
                }
                begin = to + 1;
                takes.next();
            }
            if whole {
                left.push((begin, end));
            }
        }
        self.0 = left;
    }

    /// Whether all numbers of `other` are here.
    pub fn contains(&self, other: &Ranges) -> bool {
        other.0.iter().all(|&(begin, end)| self.0.iter().any(|&(b, e)| b <= begin && end <= e))
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (begin, end)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{begin}-{end}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges() -> impl Strategy<Value = Ranges> {
        let near_end = prop_oneof![0u64..60, (u64::MAX - 60)..=u64::MAX];
        proptest::collection::vec((near_end, 0u64..8), 0..8)
            .prop_map(|v| Ranges::from_pairs(v.into_iter().map(|(b, n)| (b, b.saturating_add(n))).collect()))
    }

    fn set(r: &Ranges) -> BTreeSet<u64> {
        r.numbers().collect()
    }

    proptest! {
        #[test]
        fn like_sets_of_numbers(a in ranges(), b in ranges()) {
            let mut sum = a.clone();
            sum.add(&b);
            prop_assert_eq!(set(&sum), set(&a).union(&set(&b)).copied().collect());
            let mut rest = a.clone();
            rest.subtract(&b);
            prop_assert_eq!(set(&rest), set(&a).difference(&set(&b)).copied().collect());
            prop_assert_eq!(a.contains(&b), set(&b).is_subset(&set(&a)));
            prop_assert!(rest.0.windows(2).all(|w| w[0].1 < w[1].0));
        }
    }
}
