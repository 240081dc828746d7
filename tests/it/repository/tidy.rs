//! The house rules that a machine can check: sizes, names, what lies at the root, what is never committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 500;
const FILE_BYTES_MAX: u64 = 200 * 1024;
const INTRODUCTION_CHARACTERS_MIN: usize = 200;

const CRATES: &[&str] =
    &["ingest", "pipeline", "query", "forecast", "reports", "api", "datasets", "tests"];

/// What lies at the root besides the crates and dotted tool configuration.
const ROOT: &[&str] = &[
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "deploy",
    "docs",
    "notebooks",
    "rust-toolchain.toml",
];

/// Names by kind say nothing: a module is named by its concept.
const MODULES_FORBIDDEN: &[&str] = &[
    "common", "handler", "handlers", "helper", "helpers", "manager", "managers", "misc", "service",
    "services", "types", "util", "utils",
];

/// Written in halves, so that this file does not find itself.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
];

/// Folders that exist on a developer's machine only.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

const SOURCE: &[&str] =
    &["rs", "toml", "py", "sql", "slt", "sh", "yml", "yaml", "html", "css", "js", "ipynb"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

/// The files of the tree, relative to its root: what git tracks or would add, or, outside a clone, what a
/// walk finds.
fn tree() -> Vec<PathBuf> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output();
    let mut files = match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).expect("UTF-8 names");
            names.split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => walk(&root, Path::new("")),
    };
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    assert!(files.len() > CRATES.len(), "found too few files to be this workspace: {files:?}");
    files
}

fn walk(root: &Path, folder: &Path) -> Vec<PathBuf> {
    const IGNORED: &[&str] =
        &[".git", ".aihub", ".ipynb_checkpoints", ".venv", "__pycache__", "target"];
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.file_type().expect("a file type").is_file() {
            files.push(path);
        } else if !IGNORED.iter().any(|ignored| name == *ignored) {
            files.extend(walk(root, &path));
        }
    }
    files
}

fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    file.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

/// The text of a file of the tree; none if it is not text.
pub(super) fn text(file: &Path) -> Option<String> {
    String::from_utf8(fs::read(root().join(file)).expect("a readable file")).ok()
}

/// Fails with all findings at once, one a line.
#[track_caller]
fn check_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// One finding for each numbered line of each of the files for which `rule` says why it is wrong.
fn findings_by_line(
    files: impl IntoIterator<Item = PathBuf>,
    rule: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let Some(text) = text(&file) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(reason) = rule(line) {
                findings.push(format!("{}:{number}: {reason}", file.display()));
            }
        }
    }
    findings
}

/// Whether `marker` stands in `line` as a word of its own.
fn has_word(line: &str, marker: &str) -> bool {
    let part_of_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(marker).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + marker.len()..].starts_with(part_of_word)
    })
}

pub(super) fn rust_files() -> impl Iterator<Item = PathBuf> {
    tree().into_iter().filter(|file| has_extension(file, &["rs"]))
}

#[test]
pub(super) fn rust_files_are_short() {
    let mut findings = Vec::new();
    for file in rust_files() {
        let lines = text(&file).unwrap().lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.display()));
        }
    }
    check_none(&findings);
}

#[test]
fn files_are_small() {
    let mut findings = Vec::new();
    for file in tree() {
        let bytes = fs::metadata(root().join(&file)).unwrap().len();
        if bytes > FILE_BYTES_MAX && file != Path::new("Cargo.lock") {
            findings.push(format!("{}: {bytes} bytes, at most {FILE_BYTES_MAX}", file.display()));
        }
    }
    check_none(&findings);
}

#[test]
fn modules_are_named_by_concept() {
    let mut findings = Vec::new();
    for file in rust_files() {
        for part in file.iter().filter_map(|part| Path::new(part).file_stem()?.to_str()) {
            if MODULES_FORBIDDEN.contains(&part) {
                findings.push(format!("{}: `{part}` names a kind, not a concept", file.display()));
            }
        }
    }
    findings.extend(findings_by_line(rust_files(), |line| {
        let (visibility, rest) = line.trim_start().split_once("mod ")?;
        let visible = visibility.is_empty() || visibility.starts_with("pub");
        let name = rest.trim_end_matches(['{', ';', ' ']);
        (visible && MODULES_FORBIDDEN.contains(&name))
            .then(|| format!("module `{name}` names a kind, not a concept"))
    }));
    check_none(&findings);
}

#[test]
fn nothing_is_left_for_later() {
    let sources = tree().into_iter().filter(|file| has_extension(file, SOURCE));
    check_none(&findings_by_line(sources, |line| {
        let marker = MARKERS.iter().find(|marker| has_word(line, marker))?;
        Some(format!("`{marker}`: do it, or write down why not"))
    }));
}

#[test]
fn no_path_of_one_machine_is_committed() {
    check_none(&findings_by_line(tree(), |line| {
        let path = MACHINE_PATHS.iter().find(|path| line.contains(**path))?;
        Some(format!("`{path}` exists on one machine only"))
    }));
}

#[test]
fn root_holds_only_what_belongs_there() {
    let entries: Vec<String> = tree()
        .iter()
        .map(|file| file.iter().next().unwrap().to_str().unwrap().to_owned())
        .collect();
    let foreign: Vec<&String> = entries
        .iter()
        .filter(|name| !name.starts_with('.'))
        .filter(|name| !CRATES.contains(&name.as_str()) && !ROOT.contains(&name.as_str()))
        .collect();
    assert!(foreign.is_empty(), "these do not belong at the root: {foreign:?}");

    let fixed = CRATES.iter().chain(&["Cargo.toml", "notebooks"]);
    let missing: Vec<&&str> =
        fixed.filter(|name| !entries.iter().any(|entry| entry == **name)).collect();
    assert!(missing.is_empty(), "the root lacks {missing:?}");
}

#[test]
fn crates_introduce_themselves() {
    let mut findings = Vec::new();
    for name in CRATES {
        let file = Path::new(name).join("src/lib.rs");
        let text = text(&file).unwrap();
        let paragraph: Vec<&str> = text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        let characters = paragraph.join(" ").chars().count();
        if characters < INTRODUCTION_CHARACTERS_MIN {
            findings.push(format!(
                "{}: opens with {characters} characters of `//!`, at least \
                 {INTRODUCTION_CHARACTERS_MIN} are needed for a newcomer",
                file.display()
            ));
        }
    }
    check_none(&findings);
}
