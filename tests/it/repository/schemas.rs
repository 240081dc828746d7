//! The names of schemas: the second of a name would replace the first in the contract, unseen.

use std::collections::BTreeMap;

use super::tidy::{rust_files, text};

/// The text between two others.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// The names of the schemas that a file derives.
fn schemas(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split("#[derive(").skip(1) {
        let derived = part.split(")]").next().unwrap_or_default();
        let is_schema = derived.split([',', ' ', '\n']).any(|name| name == "ToSchema");
        let item = part.lines().find_map(|line| {
            let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            let line = line.trim_start_matches("pub ");
            line.strip_prefix("struct ")
                .or_else(|| line.strip_prefix("enum "))
                .map(|name| (line, name))
        });
        let Some((line, name)) = item.filter(|_| is_schema) else { continue };
        let attributes = part.split(line).next().unwrap_or_default();
        let name = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
        let said =
            between(attributes, "as = ", ")").map(|name| name.split(',').next().unwrap_or(name));
        found.push(said.unwrap_or(name).to_owned());
    }
    found
}

#[test]
fn no_two_schemas_have_one_name() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for file in rust_files().filter(|file| !file.starts_with("tests")) {
        for name in schemas(&text(&file).unwrap_or_default()) {
            places.entry(name).or_default().push(file.display().to_string());
        }
    }
    assert!(places.len() > 250, "{} schemas are found", places.len());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "rename one of each with `#[schema(as = …)]`: {places:#?}");
}
