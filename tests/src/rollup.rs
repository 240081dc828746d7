//! Rollups of a server, and of its folder.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::Client;

/// Waits until a question about a metric is answered from a rollup.
///
/// # Panics
/// When it is not within a minute.
pub async fn until_rolled_up(client: &Client, question: &str) {
    for _ in 0..600 {
        let (_, answer) = client.get(&format!("/v1/metrics/{question}")).await;
        if answer["read"]["source"] == "rollup" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{question} is not read from a rollup");
}

/// The folder of a rollup's table.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn rollup(dir: &Path, name: &str) -> PathBuf {
    let tables = fs::read_dir(dir.join("lake"));
    let tables = tables.unwrap_or_else(|error| panic!("there are no tables: {error}"));
    let mut paths = tables.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |path: &PathBuf| {
        let table = path.file_name().map(|table| table.to_string_lossy().into_owned());
        table.is_some_and(|table| table.rsplit_once('-').is_some_and(|(found, _)| found == name))
    };
    paths.find(is_it).unwrap_or_else(|| panic!("there is no rollup {name}"))
}
