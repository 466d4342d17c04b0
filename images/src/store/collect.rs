//! What may go: the choice alone, of what is known to be there.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;

/// A name and what it needs.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) used_at: u64,
    /// Never to be forgotten.
    pub(super) kept: bool,
    pub(super) layers: BTreeSet<Digest>,
}

/// Everything in the store that matters for the choice.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) names: Vec<Named>,
    /// With their bytes.
    pub(super) layers: BTreeMap<Digest, u64>,
    /// Layers that belong together because one root file system, or this moment's leases, need them.
    pub(super) uses: Vec<BTreeSet<Digest>>,
}

/// When names are forgotten.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    /// Seconds since the last use after which a name goes.
    pub(super) unused_for: Option<u64>,
    /// Bytes to be freed; the names that were not used for longest go until that is reached.
    pub(super) bytes: u64,
}

/// What goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) names: Vec<String>,
    pub(super) layers: BTreeSet<Digest>,
    pub(super) bytes: u64,
    /// Names that would go if nothing used them.
    pub(super) in_use: Vec<String>,
}

/// Marks what names, root file systems and leases need; the rest goes.
pub(super) fn choose(known: &Known, wish: Wish, now: u64) -> Chosen {
    let mut count = Counting::new(known);
    let mut chosen = Chosen::default();
    let mut candidates: Vec<&Named> = known.names.iter().filter(|named| !named.kept).collect();
    candidates.sort_by_key(|named| (named.used_at, &named.name));
    for named in candidates {
        let old = wish.unused_for.is_some_and(|least| now.saturating_sub(named.used_at) >= least);
        if !old && count.freed >= wish.bytes {
            continue;
        }
        let held = !named.layers.is_empty() && known.uses.iter().any(|uses| named.layers.is_subset(uses));
        if held {
            chosen.in_use.push(named.name.clone());
        } else {
            count.forget(named);
            chosen.names.push(named.name.clone());
        }
    }
    (chosen.layers, chosen.bytes) = (count.gone, count.freed);
    chosen
}

/// How many names need each layer.
struct Counting<'a> {
    known: &'a Known,
    needed: BTreeMap<&'a Digest, usize>,
    used: BTreeSet<&'a Digest>,
    gone: BTreeSet<Digest>,
    freed: u64,
}

impl<'a> Counting<'a> {
    fn new(known: &'a Known) -> Self {
        let mut needed: BTreeMap<&Digest, usize> = known.layers.keys().map(|layer| (layer, 0)).collect();
        for layer in known.names.iter().flat_map(|named| &named.layers) {
            *needed.entry(layer).or_default() += 1;
        }
        let used = known.uses.iter().flatten().collect();
        let mut own = Self { known, needed, used, gone: BTreeSet::new(), freed: 0 };
        let orphans: Vec<&Digest> =
            own.needed.iter().filter(|(_, n)| **n == 0).map(|(layer, _)| *layer).collect();
        orphans.into_iter().for_each(|layer| own.drop_layer(layer));
        own
    }

    fn forget(&mut self, named: &'a Named) {
        for layer in &named.layers {
            let left = self.needed.get_mut(layer).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 {
                self.drop_layer(layer);
            }
        }
    }

    fn drop_layer(&mut self, layer: &Digest) {
        if let Some(bytes) = self.known.layers.get(layer).filter(|_| !self.used.contains(layer)) {
            self.gone.insert(layer.clone());
            self.freed += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Algorithm;

    fn layer(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    fn set(layers: &[u8]) -> BTreeSet<Digest> {
        layers.iter().map(|n| layer(*n)).collect()
    }

    fn named(name: &str, used_at: u64, kept: bool, layers: &[u8]) -> Named {
        Named { name: name.into(), used_at, kept, layers: set(layers) }
    }

    fn world() -> Known {
        Known {
            names: vec![
                named("old", 10, false, &[1, 2]),
                named("pinned", 5, true, &[1, 3]),
                named("running", 1, false, &[1, 4]),
                named("new", 90, false, &[5]),
                named("empty", 20, false, &[]),
            ],
            layers: (1..=6).map(|n| (layer(n), 100)).collect(),
            uses: vec![set(&[1, 4])],
        }
    }

    #[test]
    fn without_a_wish_only_orphans_go() {
        let chosen = choose(&world(), Wish::default(), 100);
        assert_eq!(chosen, Chosen { layers: set(&[6]), bytes: 100, ..Chosen::default() });
    }

    #[test]
    fn old_names_go_with_what_nobody_else_needs() {
        let chosen = choose(&world(), Wish { unused_for: Some(50), bytes: 0 }, 100);
        assert_eq!(chosen.names, ["old", "empty"]);
        assert_eq!((chosen.layers, chosen.bytes), (set(&[2, 6]), 200));
        assert_eq!(chosen.in_use, ["running"]);
        let all = choose(&world(), Wish { unused_for: Some(0), bytes: 0 }, 100);
        assert_eq!(all.names, ["old", "empty", "new"]);
    }

    #[test]
    fn for_space_the_longest_unused_go_first_and_no_more_than_needed() {
        let names = |bytes| choose(&world(), Wish { unused_for: None, bytes }, 100).names;
        assert!(names(100).is_empty(), "the orphan is enough");
        assert_eq!(names(150), ["old"]);
        assert_eq!(names(201), ["old", "empty", "new"]);
        assert_eq!(names(u64::MAX), ["old", "empty", "new"]);
    }

    proptest! {
        #[test]
        fn what_is_needed_never_goes(
            names in prop::collection::vec((0u64..100, any::<bool>(), prop::collection::vec(0u8..12, 0..5)), 0..8),
            uses in prop::collection::vec(prop::collection::vec(0u8..12, 0..5), 0..4),
            unused_for in prop::option::of(0u64..100),
            bytes in 0u64..1500,
        ) {
            let names: Vec<Named> = names
                .iter()
                .enumerate()
                .map(|(n, (used_at, kept, layers))| named(&n.to_string(), *used_at, *kept, layers))
                .collect();
            let uses = uses.iter().map(|layers| set(layers)).collect();
            let known = Known { names, layers: (0..12).map(|n| (layer(n), 100)).collect(), uses };
            let chosen = choose(&known, Wish { unused_for, bytes }, 100);
            for used in known.uses.iter().flatten() {
                prop_assert!(!chosen.layers.contains(used));
            }
            for named in &known.names {
                let goes = chosen.names.contains(&named.name);
                prop_assert!(!(goes && named.kept));
                prop_assert!(goes || named.layers.is_disjoint(&chosen.layers), "{} lost a layer", named.name);
            }
            prop_assert_eq!(chosen.bytes, chosen.layers.len() as u64 * 100);
        }
    }
}
