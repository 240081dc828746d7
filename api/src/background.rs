//! Child processes that work beside the server, and give way to it.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::allocator;

/// Where the program is that makes a process give way. At equal priority, compaction on the same two cores made
/// half of the acknowledgements take 366 ms; now it is 11.
const NICE: &str = "/usr/bin/nice";

/// This program with `argument`, spoken to by pipes, without the environment, and at a low priority.
pub(crate) fn command(program: &Path, argument: &str) -> Command {
    let mut command = match Path::new(NICE).exists() {
        true => {
            let mut command = Command::new(NICE);
            command.args(["-n", "15"]).arg(program);
            command
        }
        false => Command::new(program),
    };
    command
        .arg(argument)
        .env_clear()
        .envs(allocator::LEAN)
        // Where a build that measures coverage writes what ran.
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // Ctrl-C in a terminal is for the server, which ends this process by closing its input.
        .process_group(0)
        .kill_on_drop(true);
    command
}
