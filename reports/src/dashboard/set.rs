//! The dashboards that everybody has: those of the program, and those of a folder.

use std::collections::BTreeMap;

use query::metric::{Audience, Catalog};

use super::{BUILT_IN, Dashboard};
use crate::{Error, Text};

/// Dashboards in the order of their tabs: those of the program, then those of the folder by name.
#[derive(Debug, Clone)]
pub struct DashboardSet {
    dashboards: Vec<Dashboard>,
}

impl DashboardSet {
    /// Those that come with the program.
    ///
    /// # Errors
    /// Never: a test reads them all.
    pub fn built_in() -> Result<Self, Error> {
        let dashboards = BUILT_IN.iter().map(|(_, yaml)| Dashboard::parse(yaml));
        Ok(Self { dashboards: dashboards.collect::<Result<_, _>>()? })
    }

    /// Those of the program and of files, each with its name. One that is named as one of the program replaces it.
    ///
    /// # Errors
    /// When a file is not readable as a dashboard that staff can be shown; it is named.
    pub fn with_files(
        files: impl IntoIterator<Item = (String, String)>,
        catalog: &Catalog,
    ) -> Result<Self, Error> {
        let mut set = Self::built_in()?;
        let mut read: BTreeMap<String, String> = BTreeMap::new();
        for (file, text) in files {
            let fault = |reason: String| Error::File { file: file.clone(), reason };
            let dashboard = Dashboard::parse(&text).map_err(|error| fault(error.with_causes()))?;
            if let Some(unknown) = dashboard.unknown(catalog, Audience::Staff) {
                return Err(fault(unknown));
            }
            if let Some(other) = read.get(&dashboard.name) {
                return Err(fault(format!("`{}` is in {other} too", dashboard.name)));
            }
            read.insert(dashboard.name.clone(), file.clone());
            match set.dashboards.iter_mut().find(|known| known.name == dashboard.name) {
                Some(known) => *known = dashboard,
                None => set.dashboards.push(dashboard),
            }
        }
        set.dashboards[BUILT_IN.len()..].sort_by(|a, b| a.name.cmp(&b.name));
        Ok(set)
    }

    /// The dashboard of a name.
    pub fn get(&self, name: &str) -> Option<&Dashboard> {
        self.dashboards.iter().find(|dashboard| dashboard.name == name)
    }

    /// Names and titles.
    pub fn titles(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.dashboards.iter().map(|dashboard| (dashboard.name.as_str(), &dashboard.title))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<DashboardSet, String> {
        let catalog = Catalog::built_in().unwrap();
        let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
        DashboardSet::with_files(files, &catalog).map_err(|error| error.to_string())
    }

    const NOTE: &str = "name: NAME\ntitle: {en: Mine, zh-CN: 我的}\ntiles:\n  - {kind: text, \
                        title: {en: Hello, zh-CN: 你好}, note: {en: World, zh-CN: 世界}}\n";

    #[test]
    fn files_add_dashboards_and_replace_those_of_the_program() {
        let named = |name: &str| NOTE.replace("NAME", name);
        let (z, a, business) = (named("z"), named("a"), named("business"));
        let set = read(&[("1.yaml", &z), ("2.yml", &a), ("b.yaml", &business)]).unwrap();
        let names: Vec<_> = set.titles().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names[0], "business");
        assert_eq!(names[BUILT_IN.len()..], ["a", "z"]);
        assert_eq!(set.get("business").unwrap().title.en, "Mine");
        assert!(set.get("nothing").is_none());
    }

    #[test]
    fn a_file_that_cannot_be_shown_is_named() {
        let one = NOTE.replace("NAME", "one");
        let unknown = "name: u\ntitle: {en: U, zh-CN: U}\ntiles: [{kind: kpi, metric: nothing, \
                       title: {en: N, zh-CN: N}, note: {en: N, zh-CN: N}}]";
        for (files, said) in [
            (vec![("bad.yaml", "name: [")], "bad.yaml"),
            (vec![("u.yaml", unknown)], "nothing"),
            (vec![("a.yaml", one.as_str()), ("b.yaml", one.as_str())], "a.yaml too"),
        ] {
            let error = read(&files).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
