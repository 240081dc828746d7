//! Says of nearly every new key that the index on disk does not hold it, without looking there.
//!
//! Most keys that senders bring are new. Asking the index itself, even through a filter for each of its files, was a
//! tenth of the time of the intake.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use fastbloom::AtomicBloomFilter;
use fjall::Keyspace;

use crate::{identity::Key, priority};

/// Bloom filters that hold every key of the index, once it was read through. One cannot grow, so that the next is as
/// large as all before it.
#[derive(Debug, Default)]
pub(super) struct KeyFilter {
    layers: RwLock<Vec<Arc<AtomicBloomFilter>>>,
    /// The last layer, and how many keys more it takes.
    growing: Mutex<Option<(Arc<AtomicBloomFilter>, usize)>>,
    is_complete: AtomicBool,
    is_full: AtomicBool,
}

/// Keys that the first layer holds.
const FIRST: usize = 8 << 20;
/// Each layer that is full claims three of a thousand new keys, which are looked up in vain, for some microseconds.
const BITS_PER_KEY: usize = 12;
const HASHES: u32 = 8;
/// More keys than this would take too much memory: 384 MiB. Then the index is always asked itself.
const KEYS_MAX: usize = 256 << 20;
/// What reading the index through gives way to: merges, and questions that are asked right after the start.
const FILLING_NICE: i32 = 10;
/// Keys that are added at once while the index is read through.
const STEP: usize = 10_000;

/// Says of some keys whether the index may hold them.
pub(crate) struct Reader<'a> {
    layers: RwLockReadGuard<'a, Vec<Arc<AtomicBloomFilter>>>,
    is_complete: bool,
}

impl KeyFilter {
    /// Adds keys that are about to be in the index.
    pub(super) fn add(&self, keys: impl ExactSizeIterator<Item = Key>) {
        if let Some(layer) = self.room(keys.len()) {
            for key in keys {
                layer.insert_hash(hash(key));
            }
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        // Before the layers are looked at, since keys go there first; and after it, since they leave it then.
        let is_complete = self.is_complete.load(Ordering::Acquire);
        let layers = self.layers();
        Reader { layers, is_complete: is_complete && !self.is_full.load(Ordering::Acquire) }
    }

    /// The layer that takes so many keys more; `None` when there are too many.
    fn room(&self, keys: usize) -> Option<Arc<AtomicBloomFilter>> {
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((filter, room)) = growing.as_mut().filter(|(_, room)| *room >= keys) {
            *room -= keys;
            return Some(Arc::clone(filter));
        }
        // The new layer is made before readers wait for it.
        let held: usize = self.layers().iter().map(|layer| layer.num_bits() / BITS_PER_KEY).sum();
        let room = held.max(keys).max(FIRST);
        let is_full = self.is_full.load(Ordering::Acquire) || held + room > KEYS_MAX;
        let filter = (!is_full).then(|| Arc::new(layer(room)));
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        match &filter {
            Some(filter) => layers.push(Arc::clone(filter)),
            None => layers.clear(),
        }
        self.is_full.store(is_full, Ordering::Release);
        *growing = filter.clone().map(|filter| (filter, room - keys));
        filter
    }

    fn layers(&self) -> RwLockReadGuard<'_, Vec<Arc<AtomicBloomFilter>>> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader<'_> {
    pub(crate) fn may_hold(&self, key: Key) -> bool {
        let hash = hash(key);
        !self.is_complete || self.layers.iter().any(|layer| layer.contains_hash(hash))
    }
}

fn layer(keys: usize) -> AtomicBloomFilter {
    AtomicBloomFilter::with_num_bits(keys * BITS_PER_KEY).hashes(HASHES)
}

/// A key is a digest already.
fn hash(key: Key) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = key.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Reads the index through, on a thread of its own: seconds for each ten million keys. Until then it is asked
/// itself. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Filling {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filling {
    /// From now on `filter` must be told of new keys.
    pub(super) fn start(filter: Arc<KeyFilter>, keys: Keyspace) -> std::io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = {
            let is_over = Arc::clone(&is_over);
            let fill = move || {
                priority::lower(priority::own(), FILLING_NICE);
                fill(&filter, &keys, &is_over);
            };
            std::thread::Builder::new().name("index-filter".into()).spawn(fill)?
        };
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its keyspace keeps the index open.
            let _ = thread.join();
        }
    }
}

fn fill(filter: &KeyFilter, keys: &Keyspace, is_over: &AtomicBool) {
    let mut step = Vec::with_capacity(STEP);
    for entry in keys.iter() {
        // A key that cannot be read might be asked for: then the filter stays unused.
        let Ok(key) = entry.key() else { return };
        step.extend(<[u8; 16]>::try_from(&key[..]).map(Key));
        if step.len() == STEP {
            filter.add(step.drain(..));
            if is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
    filter.add(step.drain(..));
    filter.is_complete.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::of("o", "/s", &n.to_string())
    }

    #[test]
    fn what_is_held_is_never_denied() {
        let filter = KeyFilter::default();
        assert!(filter.reader().may_hold(key(0)), "nobody knows yet");
        filter.is_complete.store(true, Ordering::Release);
        assert!(!filter.reader().may_hold(key(0)));
        // Three layers, with room for a hundred times as many.
        let steps = 3 * FIRST / STEP;
        let keys = |step: usize| (step * STEP / 100..(step + 1) * STEP / 100).map(key);
        for step in 0..steps {
            assert!(filter.room(STEP - STEP / 100).is_some());
            filter.add(keys(step).collect::<Vec<_>>().into_iter());
        }
        let reader = filter.reader();
        let rooms = reader.layers.iter().map(|layer| layer.num_bits() / BITS_PER_KEY / FIRST);
        assert_eq!(rooms.collect::<Vec<_>>(), [1, 1, 2]);
        assert!((0..steps).flat_map(keys).all(|key| reader.may_hold(key)));
    }

    #[test]
    fn a_full_layer_claims_little_else() {
        const KEYS: usize = 100_000;
        let layer = layer(KEYS);
        for n in 0..KEYS {
            layer.insert_hash(hash(key(n)));
        }
        let claimed = (KEYS..2 * KEYS).filter(|n| layer.contains_hash(hash(key(*n)))).count();
        assert!(claimed < KEYS / 200, "{claimed} of {KEYS}");
    }

    #[test]
    fn too_many_keys_are_all_looked_up() {
        let filter = KeyFilter::default();
        filter.is_complete.store(true, Ordering::Release);
        assert!(filter.room(FIRST).is_some() && !filter.reader().may_hold(key(1)));
        assert!(filter.room(KEYS_MAX).is_none());
        assert!(filter.reader().may_hold(key(1)) && filter.reader().layers.is_empty());
        assert!(filter.room(1).is_none(), "it stays so");
    }
}
