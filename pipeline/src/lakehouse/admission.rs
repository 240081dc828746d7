//! How much may be under way: who comes when too much waits is sent back, and told when to try again. Nothing
//! that was taken is ever dropped.

use std::sync::{Arc, atomic::Ordering};

use ingest::intake::Refused;

use super::{Lakehouse, Shared, count};

/// The lines that the load may not cross.
#[derive(Debug, Clone, Copy)]
pub struct Watermarks {
    /// Bytes of requests under way and of rows that wait for the tables: above the first, new requests are told
    /// to slow down; above the second nothing more is taken.
    pub waiting_bytes_soft: usize,
    pub waiting_bytes_hard: usize,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
}

/// What waits now.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntakeLoad {
    pub(super) waiting_bytes: usize,
    pub(super) log_bytes: u64,
}

impl Watermarks {
    /// Whether a new request may come in.
    pub(super) fn admit(&self, load: IntakeLoad) -> Result<(), Refused> {
        if load.log_bytes > self.log_bytes {
            return Err(Refused::LogFull);
        }
        self.hold(load)?;
        if load.waiting_bytes > self.waiting_bytes_soft { Err(Refused::Busy) } else { Ok(()) }
    }

    /// Whether a request that is in may bring more.
    fn hold(&self, load: IntakeLoad) -> Result<(), Refused> {
        if load.waiting_bytes > self.waiting_bytes_hard { Err(Refused::Overloaded) } else { Ok(()) }
    }
}

/// A request's place in the intake. Dropping it gives the place back.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<Shared>,
    watermarks: Watermarks,
    bytes: usize,
}

impl Admission {
    /// Counts bytes that came in, or that were unpacked.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        self.bytes += bytes;
        self.shared.arriving.fetch_add(bytes, Ordering::Relaxed);
        self.watermarks.hold(self.shared.load())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.arriving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn load(&self) -> IntakeLoad {
        let waiting_bytes = self.lock().bytes + self.arriving.load(Ordering::Relaxed);
        IntakeLoad { waiting_bytes, log_bytes: self.log_bytes.load(Ordering::Relaxed) }
    }
}

impl Lakehouse {
    /// Lets a request in, before its body is read.
    pub fn admit(&self) -> Result<Admission, Refused> {
        let watermarks = self.settings.watermarks;
        if let Err(refused) = watermarks.admit(self.shared.load()) {
            count::refused(refused);
            self.shared.hasten.notify_one();
            return Err(refused);
        }
        Ok(Admission { shared: Arc::clone(&self.shared), watermarks, bytes: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATERMARKS: Watermarks =
        Watermarks { waiting_bytes_soft: 10, waiting_bytes_hard: 20, log_bytes: 100 };

    #[test]
    fn the_load_decides_who_comes_in() {
        let cases = [
            (0, 0, Ok(())),
            (10, 100, Ok(())),
            (11, 100, Err(Refused::Busy)),
            (20, 0, Err(Refused::Busy)),
            (21, 0, Err(Refused::Overloaded)),
            (0, 101, Err(Refused::LogFull)),
            (21, 101, Err(Refused::LogFull)),
        ];
        for (waiting_bytes, log_bytes, expected) in cases {
            let load = IntakeLoad { waiting_bytes, log_bytes };
            assert_eq!(WATERMARKS.admit(load), expected, "{load:?}");
        }
    }

    #[test]
    fn a_place_is_given_back_with_all_that_it_held() {
        let shared = Arc::new(Shared::default());
        let place = || Admission { shared: Arc::clone(&shared), watermarks: WATERMARKS, bytes: 0 };
        let (mut one, mut other) = (place(), place());
        assert_eq!(one.grow(15), Ok(()));
        assert_eq!(other.grow(5), Ok(()));
        assert_eq!(other.grow(1), Err(Refused::Overloaded), "together they hold 21");
        drop(one);
        assert_eq!(shared.load().waiting_bytes, 6);
        drop(other);
        assert_eq!(shared.load().waiting_bytes, 0);
    }
}
