//! Whether the metrics of a deployment's own files can be computed.

use std::{collections::BTreeMap, fs, path::Path};

use chrono::DateTime;
use pipeline::Cut;
use semantic::{Audience, Catalog, CatalogError, Grain, Metric, MetricKind, MetricRequest, Viewer};

use super::expression;
use crate::{Author, QueryOptions, Request, RowAccess, format::type_name, session};

/// The metrics that come with the program, with those of the files of a folder (`*.yaml`), which may also replace them.
///
/// # Errors
/// When a file cannot be read, or one of its metrics not computed: with the file and the line.
pub async fn read_catalog(dir: Option<&Path>) -> Result<Catalog, CatalogError> {
    let catalog = Catalog::built_in()?;
    let Some(dir) = dir else { return Ok(catalog) };
    let unreadable =
        |error: std::io::Error| CatalogError::of(&dir.display().to_string(), None, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    add_files(catalog, &files).await
}

/// The catalog with the metrics of files.
///
/// # Errors
/// As for [`read_catalog`].
pub async fn add_files(
    mut catalog: Catalog,
    files: &[impl AsRef<Path>],
) -> Result<Catalog, CatalogError> {
    let mut added = BTreeMap::new();
    for path in files {
        let name = path.as_ref().display().to_string();
        let text =
            fs::read_to_string(path).map_err(|error| CatalogError::of(&name, None, &error))?;
        for (metric, line) in catalog.add(&name, &text, &added)? {
            added.insert(metric, (name.clone(), line));
        }
    }
    for (metric, (file, line)) in &added {
        let metric = catalog
            .metric(metric)
            .ok_or_else(|| CatalogError::of(file, Some(*line), &"it is gone"))?;
        let of_persons = catalog.is_of_persons(metric) && metric.kind != MetricKind::Derived;
        let checked = expression::check(metric).and_then(|()| match of_persons {
            true => expression::check_of_persons(metric),
            false => Ok(()),
        });
        checked.map_err(|reason| {
            let reason = format!("the metric `{}` {reason}", metric.name);
            CatalogError::of(file, Some(*line), &reason)
        })?;
        compute(&catalog, metric)
            .await
            .map_err(|error| CatalogError::of(file, Some(*line), &error))?;
    }
    Ok(catalog)
}

/// Computes a metric over nothing, with the rights of those who may ask for it, and with none to see persons.
async fn compute(catalog: &Catalog, metric: &Metric) -> Result<(), String> {
    let time = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let request = MetricRequest::new(&metric.name, time(0), time(86_400_000_000));
    let viewer = Viewer { audience: metric.audience, persons: false };
    // With a bucket a column that is no aggregate shows.
    let requests = [request.clone(), request.with_grain(Grain::Day)];
    let statements = catalog.compile(&requests, viewer).map_err(|error| error.to_string())?;
    for statement in statements {
        let request = Request {
            author: Author::Stranger,
            reach: match metric.audience {
                Audience::Staff => RowAccess::Staff,
                Audience::Organization => RowAccess::Organization("org_of_nobody".into()),
            },
            terms: QueryOptions::default(),
            ..Request::of_ourselves(statement.sql, RowAccess::Staff, Cut::default(), 0, 1_000)
        };
        let columns = session::dry_run(&request).await.map_err(|error| match error.hint {
            Some(hint) => format!("{} ({hint})", error.message),
            None => error.message,
        })?;
        let value = columns.field_with_name("value0").map_err(|error| error.to_string())?;
        if !value.data_type().is_numeric() {
            return Err(format!("`value` gives {}, not a number", type_name(value.data_type())));
        }
    }
    Ok(())
}
