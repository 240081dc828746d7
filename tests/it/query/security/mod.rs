//! What somebody who means harm can do over HTTP: with no key at all, with the key of one organization, and with
//! an account. Each test attacks a server, measures what it takes, and lets another organization ask meanwhile.

mod accounts;
mod answers;
mod bodies;
mod files;
mod floods;
mod gate;
mod grants;
mod masks;
mod oracles;
mod queues;
mod verification;

use std::fs;

use tests::Server;

/// How often an attack is tried: `tests/run --long` asks for more.
fn times(few: usize) -> usize {
    let factor = std::env::vars().find(|(name, _)| name == "AIHUB_TEST_ATTACKS");
    few * factor.map_or(1, |(_, factor)| factor.parse().unwrap_or(1))
}

/// The most memory that the server held since the last call, its workers not included.
fn peak_bytes(server: &Server) -> u64 {
    let process = format!("/proc/{}", server.process_id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 =
        peak.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or_default();
    // Lets the peak begin anew.
    let _ = fs::write(format!("{process}/clear_refs"), "5");
    kib << 10
}
