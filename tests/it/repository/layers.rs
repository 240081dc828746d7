//! The layers, as an executable table: a crate may depend only on what its row names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate, and the crates of this workspace that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("ingest", &[]),
    ("forecast", &[]),
    ("pipeline", &["ingest"]),
    ("datasets", &["ingest"]),
    ("semantic", &["ingest"]),
    ("query", &["ingest", "pipeline", "semantic"]),
    ("pages", &[]),
    ("reports", &["ingest", "query", "forecast", "pages"]),
    ("state", &["ingest"]),
    ("rest", &["ingest", "state", "pages"]),
    ("delivery", &["ingest", "state", "pages", "rest"]),
    ("accounts", &["ingest", "state", "pages", "rest", "delivery"]),
    (
        "analytics",
        &[
            "ingest", "pipeline", "query", "forecast", "pages", "reports", "state", "rest",
            "delivery",
        ],
    ),
    ("billing", &["ingest", "state", "pages", "rest", "delivery", "accounts"]),
    ("portal", &["ingest", "state", "pages", "rest", "delivery", "accounts", "billing"]),
    (
        "api",
        &[
            "ingest",
            "pipeline",
            "query",
            "forecast",
            "reports",
            "datasets",
            "pages",
            "state",
            "rest",
            "delivery",
            "accounts",
            "analytics",
            "billing",
            "portal",
        ],
    ),
    ("tests", &["ingest", "pipeline", "query", "forecast", "reports", "datasets", "api", "portal"]),
];

/// The intake must stay free of an async runtime and of the engine.
const FORBIDDEN_IN_INGEST: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "actix-web",
    "reqwest",
    "hyper",
    "datafusion",
    "deltalake-core",
];

/// Forecasting takes numbers and gives numbers: it has nothing to wait for, to read or to call.
const FORBIDDEN_IN_FORECAST: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "reqwest",
    "hyper",
    "ureq",
    "object_store",
    "sea-orm",
    "sqlx",
    "fjall",
    "memmap2",
    "tempfile",
    "walkdir",
    "fs-err",
    "rustix",
    "chrono",
];

/// A dependency that decides the build time or the design, and the only crates that may name it.
const CONFINED: &[(&str, &[&str])] = &[
    ("deltalake-core", &["pipeline"]),
    ("deltalake", &[]),
    ("datafusion", &["pipeline", "query"]),
    ("actix-web", &["rest", "accounts", "billing", "portal", "analytics", "api"]),
    ("sea-orm", &["state", "delivery", "accounts", "billing", "analytics"]),
];

struct Dependency {
    name: String,
    /// Not a development or build dependency.
    normal: bool,
}

type Dependencies = BTreeMap<String, Vec<Dependency>>;

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {complaint}");
    output.stdout
}

/// The packages of the workspace, as Cargo describes them.
fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let metadata: Value = serde_json::from_slice(&metadata).expect("metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The folder of each crate.
fn folders() -> BTreeMap<String, PathBuf> {
    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        (package["name"].as_str().expect("a name").to_owned(), manifest.with_file_name(""))
    };
    packages().iter().map(folder).collect()
}

/// What each crate of the workspace names in its manifest.
fn manifests() -> Dependencies {
    packages()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let dependencies = dependencies.iter().map(|dependency| Dependency {
                name: dependency["name"].as_str().expect("a name").to_owned(),
                normal: dependency["kind"].is_null(),
            });
            (package["name"].as_str().expect("a name").to_owned(), dependencies.collect())
        })
        .collect()
}

#[track_caller]
fn check_absent(dependencies: &Dependencies, package: &str, forbidden: &[&str]) {
    let found: Vec<&str> = dependencies[package]
        .iter()
        .filter(|dependency| dependency.normal)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| forbidden.contains(name))
        .collect();
    assert!(found.is_empty(), "{package} must not depend on {found:?}");
}

#[test]
fn crates_are_the_ones_in_the_table() {
    let actual: BTreeSet<String> = manifests().into_keys().collect();
    let expected: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(actual, expected, "a new crate needs a row in LAYERS");
}

#[test]
fn crates_use_only_what_their_row_names() {
    let manifests = manifests();
    for (package, allowed) in LAYERS {
        for dependency in &manifests[*package] {
            let name = dependency.name.as_str();
            let ours = LAYERS.iter().any(|(layer, _)| *layer == name);
            assert!(
                !ours || allowed.contains(&name),
                "{package} must not depend on {name}: its row names only {allowed:?}"
            );
        }
    }
}

#[test]
fn rows_name_only_rows_above_them() {
    for (position, (package, allowed)) in LAYERS.iter().enumerate() {
        for name in *allowed {
            let below = LAYERS[..position].iter().any(|(layer, _)| layer == name);
            assert!(below, "{package} names {name}, which is not a lower layer");
        }
    }
}

#[test]
fn ingest_has_no_async_runtime_and_no_engine() {
    check_absent(&manifests(), "ingest", FORBIDDEN_IN_INGEST);

    let tree = ["tree", "--package", "ingest", "--edges", "normal", "--prefix", "none"];
    let tree = cargo(&[&tree[..], &["--format", "{p}", "--offline"]].concat());
    for line in String::from_utf8(tree).unwrap().lines() {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(!FORBIDDEN_IN_INGEST.contains(&name), "ingest depends on {line} by another crate");
    }
}

#[test]
fn forecast_does_no_io() {
    check_absent(&manifests(), "forecast", FORBIDDEN_IN_FORECAST);
}

#[test]
fn heavy_dependencies_stay_where_they_belong() {
    for (package, dependencies) in manifests() {
        for (name, allowed) in CONFINED {
            let found = dependencies.iter().any(|dependency| dependency.name == *name);
            assert!(
                !found || allowed.contains(&package.as_str()),
                "{package} must not depend on {name}: only {allowed:?} may"
            );
        }
    }
}

/// All Rust text of a crate.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.join("Cargo.toml").exists() {
            // A package inside this one's folder.
        } else if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn every_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (folders, mut used) = (folders(), BTreeSet::new());
    for (package, dependencies) in manifests() {
        let mut text = String::new();
        sources(&folders[&package], &mut text);
        for Dependency { name, .. } in dependencies {
            let module = name.replace('-', "_");
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(words.into_iter().any(|word| word == module), "{package} does not use {name}");
            used.insert(name);
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the workspace's manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    for name in manifest["workspace"]["dependencies"].as_table().expect("dependencies").keys() {
        assert!(used.contains(name), "no crate uses {name}");
    }
}
