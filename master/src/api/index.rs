//! Sums over a view that several answers need, made once for each answer.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use model::{FrameworkId, Resources, TaskId};

use crate::logic::{Offer, Table, Task};
use crate::view::View;

/// What frameworks use and are offered.
#[derive(Debug, Default)]
pub struct Index<'a> {
    used: BTreeMap<&'a FrameworkId, Resources>,
    offered: BTreeMap<&'a FrameworkId, Resources>,
    offers: BTreeMap<&'a FrameworkId, Vec<&'a Offer>>,
}

impl<'a> Index<'a> {
    /// Sums up a view.
    pub fn of(view: &'a View) -> Index<'a> {
        let mut index = Index::default();
        for agent in view.agents.values() {
            for (framework, used) in &agent.used {
                index.used.entry(framework).or_default().add(used);
            }
        }
        for offer in view.offers.values() {
            index.offered.entry(&offer.framework).or_default().add(&offer.resources);
            index.offers.entry(&offer.framework).or_default().push(offer);
        }
        index
    }

    /// What a framework's tasks use.
    pub fn used(&self, framework: &FrameworkId) -> Resources {
        self.used.get(framework).cloned().unwrap_or_default()
    }

    /// What a framework is offered.
    pub fn offered(&self, framework: &FrameworkId) -> Resources {
        self.offered.get(framework).cloned().unwrap_or_default()
    }

    /// The outstanding offers of a framework.
    pub fn offers(&self, framework: &FrameworkId) -> &[&'a Offer] {
        self.offers.get(framework).map_or(&[], Vec::as_slice)
    }
}

/// A framework's rows of a table of tasks.
pub fn tasks_of<'a>(
    table: &'a Table<(FrameworkId, TaskId), Task>,
    framework: &'a FrameworkId,
) -> impl Iterator<Item = &'a Arc<Task>> {
    // The empty id sorts before all others.
    let from = Bound::Included((framework.clone(), TaskId::from("")));
    let rows = table.range((from, Bound::Unbounded));
    rows.take_while(move |((of, _), _)| of == framework).map(|(_, task)| task)
}
