//! What the process's device memory is charged for, by what the program calls it.
//!
//! A block that belongs to a context is given back when the context ends. Physical memory of
//! `cuMemCreate` lives until its last handle and its last mapping are gone. A pool of
//! `cuMemAllocAsync` keeps what is freed into it, so a pool is charged for what it has reserved,
//! and never for less than what is allocated from it. Host memory is not the device's: what is pinned
//! is counted apart, and held to nothing.

use polder_driver::locks::lock;
use polder_driver::memory::Charge;
use polder_driver::state::State;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

/// Mixes what the driver calls its objects: the names are the driver's, and one who could choose them
/// would only slow its own process down.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // The high bits of a product depend on all of the low ones.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(u64::try_from(word).unwrap_or(u64::MAX));
    }
    fn write_isize(&mut self, word: isize) {
        self.write_usize(word.unsigned_abs());
    }
}

/// What names a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// A device address.
    Pointer(u64),
    /// An array or a mipmapped array.
    Array(usize),
    /// The address of pinned host memory.
    Host(usize),
    /// An executable graph, for its memory nodes.
    Graph(usize),
}

/// What a name stands for.
#[derive(Debug)]
enum Block {
    /// The charge is held until the block is.
    Own {
        _charge: Charge,
        context: usize,
        /// Bytes, of a block in the host memory behind the device; 0 for one on the device.
        behind: u64,
    },
    Pooled {
        pool: usize,
        bytes: u64,
    },
}

/// What `forget` took, for a free that the driver refuses.
#[derive(Debug)]
pub(crate) struct Taken(Block);

#[derive(Debug)]
struct Physical {
    /// Held until the memory is.
    _charge: Charge,
    handles: u32,
    mappings: u32,
}

#[derive(Debug, Default)]
struct Pool {
    /// Allocated from it, bytes.
    live: u64,
    charge: Option<Charge>,
    /// What `charge` is for.
    charged: u64,
}

#[derive(Debug, Default)]
struct Inner {
    blocks: HashMap<Name, Block, BuildHasherDefault<Mix>>,
    /// By a number of our own: a handle may be used again while mappings of the old one live.
    physical: BTreeMap<u64, Physical>,
    handles: HashMap<u64, u64>,
    /// Address to length and physical memory.
    mappings: BTreeMap<u64, (u64, u64)>,
    /// Blocks behind the device: address to length.
    behind: BTreeMap<u64, u64>,
    pools: HashMap<usize, Pool>,
    last: u64,
}

/// All of the process's device memory.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

impl Inner {
    /// Makes a block behind the device known by its addresses.
    fn link(&mut self, name: Name, block: &Block) {
        if let (Name::Pointer(address), Block::Own { behind: bytes @ 1.., .. }) = (name, block) {
            self.behind.insert(address, *bytes);
        }
    }

    fn unlink(&mut self, name: Name) {
        if let Name::Pointer(address) = name {
            self.behind.remove(&address);
        }
    }
}

impl Memory {
    /// Remembers a block of `context` (0 for none) until it is freed.
    pub(crate) fn keep(&self, name: Name, charge: Charge, context: usize) {
        let block = Block::Own { _charge: charge, context, behind: 0 };
        lock(&self.0).blocks.insert(name, block);
    }

    /// The same of a block in the host memory behind the device.
    pub(crate) fn keep_behind(&self, name: Name, charge: Charge, context: usize, bytes: u64) {
        let mut inner = lock(&self.0);
        let block = Block::Own { _charge: charge, context, behind: bytes };
        inner.link(name, &block);
        inner.blocks.insert(name, block);
    }

    /// Whether an address lies in a block behind the device.
    pub(crate) fn is_behind(&self, address: u64) -> bool {
        let inner = lock(&self.0);
        let before = inner.behind.range(..=address).next_back();
        before.is_some_and(|(start, bytes)| address - start < *bytes)
    }

    /// Takes a block out, before the driver frees it: afterwards another thread may be given its
    /// name. The charge is given back when what is returned is dropped.
    pub(crate) fn take(&self, name: Name) -> Option<Taken> {
        let mut inner = lock(&self.0);
        let block = inner.blocks.remove(&name)?;
        inner.unlink(name);
        Some(Taken(block))
    }

    /// The driver did not free it after all.
    pub(crate) fn put_back(&self, name: Name, taken: Taken) {
        let mut inner = lock(&self.0);
        inner.link(name, &taken.0);
        inner.blocks.insert(name, taken.0);
    }

    /// The driver freed it. Returns the pool that it went back into, if any.
    pub(crate) fn freed(&self, taken: Taken) -> Option<usize> {
        let Block::Pooled { pool, bytes } = taken.0 else { return None };
        if let Some(pool) = lock(&self.0).pools.get_mut(&pool) {
            pool.live = pool.live.saturating_sub(bytes);
        }
        Some(pool)
    }

    /// A context is gone, and its memory with it.
    pub(crate) fn forget_context(&self, context: usize) {
        let of_context =
            |block: &Block| matches!(block, Block::Own { context: own, .. } if *own == context);
        let mut inner = lock(&self.0);
        let gone = inner.blocks.iter().filter(|(_, block)| of_context(block));
        let gone: Vec<Name> = gone.map(|(name, _)| *name).collect();
        for name in gone {
            inner.blocks.remove(&name);
            inner.unlink(name);
        }
    }

    /// Makes room in `pool` of a device of the lease for `bytes` more; false when there is none.
    pub(crate) fn reserve_pooled(
        &self,
        state: &'static State,
        device: usize,
        pool: usize,
        bytes: u64,
    ) -> bool {
        let mut inner = lock(&self.0);
        let pool = inner.pools.entry(pool).or_default();
        let wanted = pool.live.saturating_add(bytes);
        if wanted > pool.charged {
            let fits = match &mut pool.charge {
                Some(charge) => charge.settle(wanted),
                None => {
                    pool.charge = Charge::reserve(state, &[device], wanted);
                    pool.charge.is_some()
                }
            };
            if !fits {
                return false;
            }
            pool.charged = wanted;
        }
        pool.live = wanted;
        true
    }

    /// The driver allocated nothing from `pool` after all.
    pub(crate) fn cancel_pooled(&self, pool: usize, bytes: u64) {
        if let Some(pool) = lock(&self.0).pools.get_mut(&pool) {
            pool.live = pool.live.saturating_sub(bytes);
        }
    }

    /// Remembers what was allocated from `pool`.
    pub(crate) fn keep_pooled(&self, name: Name, pool: usize, bytes: u64) {
        lock(&self.0).blocks.insert(name, Block::Pooled { pool, bytes });
    }

    /// The driver says how many bytes `pool` has reserved.
    pub(crate) fn settle_pool(&self, pool: usize, reserved: u64) {
        let mut inner = lock(&self.0);
        let Some(pool) = inner.pools.get_mut(&pool) else { return };
        let wanted = pool.live.max(reserved);
        if wanted == 0 {
            *pool = Pool::default();
        }
        // What the lease has no room for is there all the same; the agent sees it.
        if pool.charge.as_mut().is_some_and(|charge| charge.settle(wanted)) {
            pool.charged = wanted;
        }
    }

    /// Pools that are charged for more than is allocated from them.
    pub(crate) fn slack_pools(&self) -> Vec<usize> {
        let inner = lock(&self.0);
        let slack = inner.pools.iter().filter(|(_, pool)| pool.charged > pool.live);
        slack.map(|(pool, _)| *pool).collect()
    }

    /// A pool is gone, and what was reserved with it.
    pub(crate) fn forget_pool(&self, gone: usize) {
        let mut inner = lock(&self.0);
        inner.pools.remove(&gone);
        inner
            .blocks
            .retain(|_, block| !matches!(block, Block::Pooled { pool, .. } if *pool == gone));
    }

    /// Remembers physical memory by its first handle.
    pub(crate) fn keep_physical(&self, handle: u64, charge: Charge) {
        let mut inner = lock(&self.0);
        inner.last += 1;
        let number = inner.last;
        inner.physical.insert(number, Physical { _charge: charge, handles: 1, mappings: 0 });
        inner.handles.insert(handle, number);
    }

    /// The program has one more reference to `handle`.
    pub(crate) fn retained(&self, handle: u64) {
        let mut inner = lock(&self.0);
        let number = inner.handles.get(&handle).copied();
        if let Some(physical) = number.and_then(|number| inner.physical.get_mut(&number)) {
            physical.handles += 1;
        }
    }

    /// The program has dropped a reference to `handle`.
    pub(crate) fn released(&self, handle: u64) {
        let mut inner = lock(&self.0);
        let Some(number) = inner.handles.get(&handle).copied() else { return };
        let Some(physical) = inner.physical.get_mut(&number) else { return };
        physical.handles = physical.handles.saturating_sub(1);
        let (handles, mappings) = (physical.handles, physical.mappings);
        if handles == 0 {
            inner.handles.remove(&handle);
            if mappings == 0 {
                inner.physical.remove(&number);
            }
        }
    }

    /// `bytes` of `handle` are mapped at `address`.
    pub(crate) fn mapped(&self, address: u64, bytes: u64, handle: u64) {
        let mut inner = lock(&self.0);
        let Some(number) = inner.handles.get(&handle).copied() else { return };
        if let Some(physical) = inner.physical.get_mut(&number) {
            physical.mappings += 1;
            inner.mappings.insert(address, (bytes, number));
        }
    }

    /// Nothing is mapped in `bytes` from `address` any more.
    pub(crate) fn unmapped(&self, address: u64, bytes: u64) {
        let mut inner = lock(&self.0);
        let within: Vec<_> = inner
            .mappings
            .range(address..address.saturating_add(bytes))
            .map(|(at, (_, number))| (*at, *number))
            .collect();
        for (at, number) in within {
            inner.mappings.remove(&at);
            let Some(physical) = inner.physical.get_mut(&number) else { continue };
            physical.mappings = physical.mappings.saturating_sub(1);
            if physical.handles == 0 && physical.mappings == 0 {
                inner.physical.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_driver::state;

    /// A charge of nothing.
    fn nothing() -> Charge {
        Charge::reserve(state::get(), &[], 0).unwrap()
    }

    #[test]
    fn what_lies_behind_a_device_is_known_by_each_of_its_addresses_until_it_is_freed() {
        let memory = Memory::default();
        memory.keep_behind(Name::Pointer(1000), nothing(), 1, 100);
        memory.keep_behind(Name::Pointer(2000), nothing(), 2, 10);
        memory.keep(Name::Pointer(3000), nothing(), 1);
        let is = |address| memory.is_behind(address);
        assert!(is(1000) && is(1099) && is(2009));
        assert!(!is(999) && !is(1100) && !is(2010) && !is(3000) && !is(0) && !is(u64::MAX));
        let taken = memory.take(Name::Pointer(1000)).unwrap();
        assert!(!is(1000));
        memory.put_back(Name::Pointer(1000), taken);
        assert!(is(1050));
        memory.forget_context(1);
        assert!(!is(1050) && is(2000));
    }
}
