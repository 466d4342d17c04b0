//! What a failing disk did not take of a run: kept, and written as soon as it does.
//!
//! The end of a task is told although it can't be written. Were it never written, another life of the agent would not
//! know of it, find no container either, and tell of another end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CheckpointError, CheckpointStore};
use crate::logic::{Run, Write};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// How much is kept. A disk that is broken for good must not fill the memory.
const MOST: usize = 20_000;

/// Writes of runs that are still to be made, in their order.
#[derive(Debug, Default)]
pub(super) struct Late {
    waiting: BTreeMap<Arc<Run>, VecDeque<Write>>,
    count: usize,
    next: Option<Instant>,
}

impl Late {
    /// How long until the next try; none when nothing waits.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Makes a write after those of the same run that wait, or keeps it.
    ///
    /// # Errors
    /// It is not on disk.
    pub(super) fn write(
        &mut self,
        store: &mut dyn CheckpointStore,
        write: &Write,
    ) -> Result<(), CheckpointError> {
        let run = run_of(write);
        let earlier = run.map_or(Ok(()), |run| self.catch_up(store, run));
        let written = earlier.and_then(|()| store.write(write));
        if let (Err(_), Some(run)) = (&written, run) {
            self.keep(run, write);
        }
        written
    }

    /// Tries everything that waits, when it is time.
    pub(super) fn write_due(&mut self, store: &mut dyn CheckpointStore) {
        if self.pause().is_none_or(|pause| !pause.is_zero()) {
            return;
        }
        self.next = Some(Instant::now() + PAUSE);
        for run in self.waiting.keys().cloned().collect::<Vec<_>>() {
            if let Err(error) = self.catch_up(store, &run) {
                tracing::debug!(task = %run.task, "still not written: {}", error.chain());
            }
        }
        if self.waiting.is_empty() {
            self.next = None;
            tracing::info!("all checkpoints that could not be written before are on disk");
        }
    }

    /// The run is deleted, with all that was to be written of it.
    pub(super) fn forget(&mut self, run: &Run) {
        self.count -= self.waiting.remove(run).map_or(0, |queue| queue.len());
    }

    fn catch_up(&mut self, store: &mut dyn CheckpointStore, run: &Arc<Run>) -> Result<(), CheckpointError> {
        let Some(queue) = self.waiting.get_mut(run) else { return Ok(()) };
        while let Some(write) = queue.front() {
            store.write(write)?;
            queue.pop_front();
            self.count -= 1;
        }
        self.waiting.remove(run);
        Ok(())
    }

    fn keep(&mut self, run: &Arc<Run>, write: &Write) {
        if self.count == MOST {
            tracing::error!("{MOST} checkpoints could not be written; no more of them are kept in memory");
            return;
        }
        self.waiting.entry(run.clone()).or_default().push_back(write.clone());
        self.count += 1;
        self.next.get_or_insert_with(|| Instant::now() + PAUSE);
    }
}

/// The run that a write belongs to that may be late. A new run is not launched without its own.
fn run_of(write: &Write) -> Option<&Arc<Run>> {
    match write {
        Write::Update { run, .. } | Write::Acknowledged { run, .. } | Write::Done { run } => Some(run),
        Write::Agent(_) | Write::Framework { .. } | Write::Task { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::Recovered;
    use bytes::Bytes;
    use model::ContainerId;

    /// Takes nothing of a task while it is broken.
    #[derive(Default)]
    struct Flaky {
        broken: bool,
        taken: Vec<Write>,
    }

    impl CheckpointStore for Flaky {
        fn load(&mut self, _: &mut dyn FnMut(String)) -> Result<Recovered, CheckpointError> {
            Ok(Recovered::default())
        }

        fn settle(&mut self) -> Result<(), CheckpointError> {
            Ok(())
        }

        fn write(&mut self, write: &Write) -> Result<(), CheckpointError> {
            if self.broken {
                let source = std::io::ErrorKind::ReadOnlyFilesystem.into();
                return Err(CheckpointError::Io { operation: "open", path: "/x".into(), source });
            }
            self.taken.push(write.clone());
            Ok(())
        }

        fn collect(&mut self, _: &Run) -> Result<(), CheckpointError> {
            Ok(())
        }

        fn forget_agent(&mut self) -> Result<(), CheckpointError> {
            Ok(())
        }
    }

    fn run(name: &str) -> Arc<Run> {
        Arc::new(Run {
            agent: "A".into(),
            framework: "F".into(),
            executor: name.into(),
            task: name.into(),
            container: ContainerId::new(name),
        })
    }

    fn acknowledged(name: &str, number: u8) -> Write {
        Write::Acknowledged { run: run(name), uuid: Bytes::from(vec![number; 16]) }
    }

    fn done(name: &str) -> Write {
        Write::Done { run: run(name) }
    }

    #[test]
    fn what_was_not_written_comes_before_what_follows() {
        let (mut late, mut store) = (Late::default(), Flaky { broken: true, ..Flaky::default() });
        late.write(&mut store, &acknowledged("a", 1)).unwrap_err();
        late.write(&mut store, &acknowledged("b", 2)).unwrap_err();
        late.write(&mut store, &done("a")).unwrap_err();
        store.broken = false;
        late.write(&mut store, &acknowledged("a", 3)).unwrap();
        let expected = [acknowledged("a", 1), done("a"), acknowledged("a", 3)];
        assert_eq!(format!("{:?}", store.taken), format!("{expected:?}"));
        assert!(late.pause().is_some(), "b still waits");
        late.forget(&run("b"));
        assert_eq!((late.waiting.len(), late.count), (0, 0));
    }

    #[test]
    fn what_waits_is_tried_again_in_its_time() {
        let (mut late, mut store) = (Late::default(), Flaky { broken: true, ..Flaky::default() });
        late.write(&mut store, &done("a")).unwrap_err();
        store.broken = false;
        late.write_due(&mut store);
        assert!(store.taken.is_empty(), "too early");
        late.next = Some(Instant::now());
        late.write_due(&mut store);
        assert_eq!((store.taken.len(), late.count, late.pause()), (1, 0, None));
    }

    #[test]
    fn memory_is_bounded_and_a_new_run_is_never_late() {
        let (mut late, mut store) = (Late::default(), Flaky { broken: true, ..Flaky::default() });
        for _ in 0..=MOST {
            late.write(&mut store, &done("a")).unwrap_err();
        }
        assert_eq!(late.count, MOST);
        let task = Write::Task { run: run("t"), framework: Arc::default(), task: Arc::default() };
        late.write(&mut store, &task).unwrap_err();
        assert!(!late.waiting.contains_key(&run("t")));
    }
}
