//! Views that are lent to readers come back to the loop, which frees them bit by bit.
//!
//! Rows that changed while a view was read are its alone, a hundred thousand of them maybe. Freed all at once by whoever
//! is done last, they'd hold up the loop: it made them, and its allocator takes back what other threads freed when it
//! next needs memory, however much that is.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc;

use crate::view::View;

/// Old views for each of which the loop frees as much again in one turn, so that they don't pile up.
const PILE: usize = 4;

/// A view, until its last reader is done.
#[derive(Debug)]
pub struct Lent {
    view: Option<View>,
    home: mpsc::UnboundedSender<View>,
}

impl Deref for Lent {
    type Target = View;

    fn deref(&self) -> &View {
        self.view.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(view) = self.view.take() {
            // Without a loop it goes here.
            let _ = self.home.send(view);
        }
    }
}

/// Where views are lent, and what came back.
#[derive(Debug)]
pub struct Lending {
    home: mpsc::UnboundedSender<View>,
    back: mpsc::UnboundedReceiver<View>,
    old: VecDeque<View>,
}

impl Lending {
    /// Nothing is lent yet.
    pub fn new() -> Lending {
        let (home, back) = mpsc::unbounded_channel();
        Lending { home, back, old: VecDeque::new() }
    }

    /// Lends a view.
    pub fn lend(&self, view: View) -> Arc<Lent> {
        Arc::new(Lent { view: Some(view), home: self.home.clone() })
    }

    /// Waits for something to free.
    pub async fn due(&mut self) {
        if self.old.is_empty()
            && let Some(view) = self.back.recv().await
        {
            self.old.push_back(view);
        }
    }

    /// Frees some of what came back.
    pub fn shed(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(view)) = self.back.poll_recv(&mut context) {
            self.old.push_back(view);
        }
        for _ in 0..self.old.len().div_ceil(PILE) {
            if self.old.front_mut().is_some_and(|view| !view.shed()) {
                self.old.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::Table;
    use model::AgentId;
    use wire::v1::AgentInfo;

    fn agents(count: usize) -> Table<AgentId, AgentInfo> {
        (0..count).map(|n| (AgentId::new(format!("{n:06}")), Arc::default())).collect()
    }

    fn view(recovered: &Table<AgentId, AgentInfo>) -> View {
        View { recovered: recovered.clone(), ..View::default() }
    }

    #[tokio::test]
    async fn a_view_comes_back_when_its_last_reader_is_done_and_is_freed_bit_by_bit() {
        let mut lending = Lending::new();
        let agents = agents(5_000);
        let row = Arc::downgrade(agents.get("000007").unwrap());
        let lent = lending.lend(view(&agents));
        let reader = lent.clone();
        drop((agents, lent));
        lending.shed();
        assert!(lending.old.is_empty() && reader.recovered.len() == 5_000);
        std::thread::spawn(move || drop(reader)).join().unwrap();
        lending.due().await;
        let mut turns = 0;
        while !lending.old.is_empty() {
            lending.shed();
            turns += 1;
        }
        assert!(turns > 30 && row.strong_count() == 0, "{turns}");
    }

    #[test]
    fn without_a_loop_a_view_goes_with_its_reader() {
        let lending = Lending::new();
        let agents = agents(1);
        let lent = lending.lend(view(&agents));
        let row = Arc::downgrade(agents.get("000000").unwrap());
        drop((agents, lending));
        assert_eq!(row.strong_count(), 1);
        drop(lent);
        assert_eq!(row.strong_count(), 0);
    }
}
