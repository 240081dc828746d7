//! Which threads wait for which others, where there are too few cores.

#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(not(target_os = "linux"))]
pub use others::*;

#[cfg(target_os = "linux")]
mod linux {
    use rustix::{process, thread};

    /// A thread of this process.
    pub type Id = thread::Pid;

    /// The thread that asks.
    pub fn own() -> Id {
        thread::gettid()
    }

    /// Lets a thread give way, by its nice value: Linux knows one for each thread, and one that it starts begins with
    /// it. One that is higher already stays.
    pub fn lower(id: Id, nice: i32) {
        let now = process::getpriority_process(Some(id)).unwrap_or(0);
        if now < nice {
            let _ = process::setpriority_process(Some(id), nice);
        }
    }
}

/// Elsewhere all threads are alike.
#[cfg(not(target_os = "linux"))]
mod others {
    pub type Id = ();

    pub fn own() -> Id {}

    pub fn lower((): Id, _: i32) {}
}
