//! The processes that a server started, by what Linux says.

use std::{process::Command, time::Duration};

use crate::Server;

/// What a process has computed, in hundredths of a second.
fn ticks(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let numbers = after_name.split_whitespace().skip(11).take(2);
    numbers.filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// Sends a signal to a process.
///
/// # Panics
/// When it cannot be sent.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

impl Server {
    /// The processes that it started, by what Linux says.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.into_iter().flatten().flatten();
        let lists =
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let ids = lists.flat_map(|ids| ids.split(' ').map(str::to_owned).collect::<Vec<_>>());
        ids.filter_map(|id| id.parse().ok()).collect()
    }

    /// The process of those that it started that computes, once one has begun to.
    pub async fn busy_child(&self, spare: Option<u32>) -> u32 {
        self.child_that_computes(40, spare).await
    }

    /// The first of the processes that it started that has computed so long from now on, in hundredths of a second.
    ///
    /// # Panics
    /// When none has within a minute.
    pub async fn child_that_computes(&self, long: u64, spare: Option<u32>) -> u32 {
        let before: Vec<_> = self.children().into_iter().map(|id| (id, ticks(id))).collect();
        for _ in 0..3_000 {
            let had = |id| before.iter().find(|(other, _)| *other == id).map_or(0, |(_, n)| *n);
            let busy = self.children().into_iter().filter(|id| Some(*id) != spare);
            // A worker that starts computes as well, but less.
            let enough = |id| if had(id) == 0 { long + 160 } else { long };
            if let Some(id) = busy.into_iter().find(|id| ticks(*id) >= had(*id) + enough(*id)) {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no worker computes");
    }
}
