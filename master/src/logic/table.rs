//! An ordered map whose clone is one reference count: chunks of rows are shared until one side changes them.
//!
//! A published view clones whole tables (see `State`); the first change to a chunk after that copies only this chunk
//! (at most [`CHUNK`] keys and `Arc`s) and the list of chunks, never a row that didn't change.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Most rows of one chunk. A chunk is split in two when it would grow beyond.
pub const CHUNK: usize = 128;

type Chunk<K, V> = Vec<(K, Arc<V>)>;

/// An ordered map of `Arc` rows with a clone that costs nothing.
pub struct Table<K, V> {
    // No chunk is empty.
    chunks: Arc<Vec<Arc<Chunk<K, V>>>>,
    // For each chunk a key that is not beyond its first and is beyond the last of the chunk before: a look need not go
    // into the memory of a dozen chunks to find the one.
    starts: Arc<Vec<K>>,
    len: usize,
}

/// Where a key is, or would be.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    chunk: usize,
    row: usize,
}

/// Where the row of a key belongs that has none, until the table changes.
#[derive(Debug)]
pub struct Vacancy(Place);

impl<K, V> Table<K, V> {
    /// An empty table.
    pub fn new() -> Self {
        Table { chunks: Arc::default(), starts: Arc::default(), len: 0 }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing was changed since one was cloned from the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// All rows in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, row)| (key, row)))
    }

    /// Frees rows from the end that no other table shows, a chunk of them at most. Answers whether there are more. Nothing
    /// is looked up in the table afterwards.
    pub fn shed(&mut self) -> bool {
        let Some(chunks) = Arc::get_mut(&mut self.chunks) else {
            *self = Table::new();
            return false;
        };
        for _ in 0..CHUNK {
            let Some(chunk) = chunks.pop() else { break };
            self.len -= chunk.len();
            match Arc::get_mut(&mut self.starts) {
                Some(starts) => drop(starts.pop()),
                None => self.starts = Arc::default(),
            }
            if Arc::strong_count(&chunk) == 1 {
                break;
            }
        }
        !chunks.is_empty()
    }

    /// All keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All rows in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<V>> {
        self.iter().map(|(_, row)| row)
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    /// The row of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let place = self.find(key).ok()?;
        Some(&self.chunks[place.chunk][place.row].1)
    }

    /// The row of a key, or where to put one in without looking again.
    ///
    /// # Errors
    /// There is none.
    pub fn look_up(&self, key: &K) -> Result<&Arc<V>, Vacancy> {
        let place = self.find(key).map_err(Vacancy)?;
        Ok(&self.chunks[place.chunk][place.row].1)
    }

    /// Puts a row in where [`look_up`](Table::look_up) found none for its key. Nothing changed in between.
    pub fn fill(&mut self, vacancy: Vacancy, key: K, row: V) {
        debug_assert_eq!(self.find(&key), Err(Place { ..vacancy.0 }), "the table changed since the look");
        self.put(vacancy.0, key, Arc::new(row));
    }

    /// Whether there is a row of that key.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.find(key).is_ok()
    }

    /// Puts a row in; answers the row that was there.
    pub fn insert(&mut self, key: K, row: V) -> Option<Arc<V>> {
        self.insert_arc(key, Arc::new(row))
    }

    /// Puts a shared row in; answers the row that was there.
    pub fn insert_arc(&mut self, key: K, row: Arc<V>) -> Option<Arc<V>> {
        match self.find(&key) {
            Ok(place) => {
                let chunks = Arc::make_mut(&mut self.chunks);
                let chunk = Arc::make_mut(&mut chunks[place.chunk]);
                Some(std::mem::replace(&mut chunk[place.row].1, row))
            }
            Err(place) => {
                self.put(place, key, row);
                None
            }
        }
    }

    fn put(&mut self, place: Place, key: K, row: Arc<V>) {
        self.len += 1;
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(place.chunk) else {
            Arc::make_mut(&mut self.starts).push(key.clone());
            chunks.push(Arc::new(vec![(key, row)]));
            return;
        };
        let chunk = Arc::make_mut(chunk);
        chunk.insert(place.row, (key, row));
        if chunk.len() > CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            Arc::make_mut(&mut self.starts).insert(place.chunk + 1, upper[0].0.clone());
            chunks.insert(place.chunk + 1, Arc::new(upper));
        }
    }

    /// Takes a row out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let place = self.find(key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[place.chunk]);
        let (_, row) = chunk.remove(place.row);
        if chunk.is_empty() {
            chunks.remove(place.chunk);
            Arc::make_mut(&mut self.starts).remove(place.chunk);
        }
        self.len -= 1;
        Some(row)
    }

    /// Rows whose keys lie in a range, in order.
    pub fn range<R>(&self, range: R) -> impl Iterator<Item = (&K, &Arc<V>)>
    where
        R: RangeBounds<K>,
    {
        let start = match range.start_bound() {
            Bound::Unbounded => Place { chunk: 0, row: 0 },
            Bound::Included(key) => self.find(key).unwrap_or_else(|place| place),
            Bound::Excluded(key) => match self.find(key) {
                Ok(place) => Place { row: place.row + 1, ..place },
                Err(place) => place,
            },
        };
        let (first, rest) = match self.chunks.get(start.chunk..) {
            Some([first, rest @ ..]) => (&first[start.row.min(first.len())..], rest),
            _ => (&[][..], &[][..]),
        };
        let rows = first.iter().chain(rest.iter().flat_map(|chunk| chunk.iter()));
        rows.map(|(key, row)| (key, row)).take_while(move |(key, _)| match range.end_bound() {
            Bound::Unbounded => true,
            Bound::Included(end) => *key <= end,
            Bound::Excluded(end) => *key < end,
        })
    }

    fn find<Q>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        // The chunk before the first one that starts beyond the key.
        let chunk = self.starts.partition_point(|start| start.borrow() <= key).saturating_sub(1);
        let Some(rows) = self.chunks.get(chunk) else { return Err(Place { chunk, row: 0 }) };
        match rows.binary_search_by(|(have, _)| have.borrow().cmp(key)) {
            Ok(row) => Ok(Place { chunk, row }),
            Err(row) => Err(Place { chunk, row }),
        }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// A row to change. It is copied first if a view still shows it.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let place = self.find(key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[place.chunk]);
        Some(Arc::make_mut(&mut chunk[place.row].1))
    }
}

impl<K: Ord + Clone, V> FromIterator<(K, Arc<V>)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, Arc<V>)>>(rows: I) -> Self {
        let mut table = Table::new();
        for (key, row) in rows {
            table.insert_arc(key, row);
        }
        table
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Table { chunks: self.chunks.clone(), starts: self.starts.clone(), len: self.len }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u16, u32),
        Fill(u16, u32),
        Remove(u16),
        Change(u16, u32),
        Snapshot,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u16..700, any::<u32>()).prop_map(|(k, v)| Op::Insert(k, v)),
            2 => (0u16..700, any::<u32>()).prop_map(|(k, v)| Op::Fill(k, v)),
            2 => (0u16..700).prop_map(Op::Remove),
            2 => (0u16..700, any::<u32>()).prop_map(|(k, v)| Op::Change(k, v)),
            1 => Just(Op::Snapshot),
        ]
    }

    fn rows(table: &Table<u16, u32>) -> Vec<(u16, u32)> {
        table.iter().map(|(k, v)| (*k, **v)).collect()
    }

    proptest! {
        #[test]
        fn like_a_btree_map_and_snapshots_stay(ops in proptest::collection::vec(op(), 0..1500), at in 0u16..700) {
            let (mut table, mut model) = (Table::new(), BTreeMap::new());
            let mut snapshots = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(k, v) => {
                        let old = table.insert(k, v).map(|row| *row);
                        prop_assert_eq!(old, model.insert(k, v));
                    }
                    Op::Fill(k, v) => match table.look_up(&k) {
                        Ok(row) => prop_assert_eq!(Some(&**row), model.get(&k)),
                        Err(vacancy) => {
                            table.fill(vacancy, k, v);
                            prop_assert_eq!(model.insert(k, v), None);
                        }
                    },
                    Op::Remove(k) => prop_assert_eq!(table.remove(&k).map(|row| *row), model.remove(&k)),
                    Op::Change(k, v) => {
                        prop_assert_eq!(table.get_mut(&k).map(|row| *row = v), model.get_mut(&k).map(|row| *row = v));
                    }
                    Op::Snapshot => snapshots.push((table.clone(), rows(&table))),
                }
                prop_assert_eq!(table.len(), model.len());
                let bounds = table.starts.iter().zip(table.chunks.iter()).map(|(start, chunk)| (start, chunk[0].0));
                prop_assert!(bounds.skip(1).all(|(start, first)| *start <= first), "{:?}", table.starts);
                prop_assert_eq!(table.starts.len(), table.chunks.len());
            }
            prop_assert_eq!(rows(&table), model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            let got: Vec<u16> = table.range(at..at + 90).map(|(k, _)| *k).collect();
            prop_assert_eq!(got, model.range(at..at + 90).map(|(k, _)| *k).collect::<Vec<_>>());
            let beyond = (Bound::Excluded(at), Bound::Unbounded);
            prop_assert_eq!(table.range(beyond).count(), model.range(beyond).count());
            for (snapshot, rows_then) in snapshots {
                prop_assert_eq!(rows(&snapshot), rows_then);
            }
        }
    }

    #[test]
    fn a_table_is_shed_chunk_by_chunk_and_others_keep_what_they_show() {
        let mut table: Table<usize, Arc<()>> = Table::new();
        let row = Arc::new(());
        (0..CHUNK * 20).for_each(|key| drop(table.insert(key, row.clone())));
        let mut old = table.clone();
        let mut alone = table.clone();
        assert!(!alone.shed() && alone.is_empty(), "all of it is shown elsewhere");
        (0..CHUNK * 10).for_each(|key| drop(table.remove(&key)));
        let (mut held, mut steps) = (Arc::strong_count(&row), 1);
        while old.shed() {
            let before = std::mem::replace(&mut held, Arc::strong_count(&row));
            assert!(before - held <= CHUNK, "{before} to {held}");
            assert_eq!(old.iter().count(), old.len());
            steps += 1;
        }
        assert!(old.is_empty() && steps > 10, "{steps}");
        assert_eq!((table.len(), Arc::strong_count(&row)), (CHUNK * 10, CHUNK * 10 + 1));
    }

    #[test]
    fn rows_are_found_by_borrowed_keys() {
        let mut table = Table::new();
        table.insert(model::AgentId::from("a"), 1);
        assert_eq!(table.get("a").map(|row| **row), Some(1));
        assert!(!table.contains("b") && table.get("").is_none());
    }
}
