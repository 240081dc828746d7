//! A dashboard is data: a list of tiles (figures, lines over time, rankings, tables), declared in
//! YAML by the names of metrics. This crate reads such a definition, says which metric questions
//! must be asked for it, and turns the answers into one page of HTML. It does nothing else: it
//! asks no database, reads no clock and writes no file, so the live page, the scheduled report
//! and a test all come from the same call and look the same.
//!
//! ```text
//! Dashboard::parse ─▶ Dashboard::requests(window) ─▶ (someone answers) ─▶ render(…) ─▶ HTML
//! ```
//!
//! The page needs no script, no font and no image from elsewhere; a small script of ours adds to it. It follows the reader's light
//! or dark theme, is readable on a phone and on paper, and speaks English and Chinese.
//!
//! In the order of reading: [`dashboard`] is the definition, `tile` has one room per kind of tile
//! (its definition, its questions, its picture), [`window`] is the period shown, `chart` draws,
//! [`number`] prints numbers, and [`page`] puts it all together.

mod address;
pub mod alert;
mod annotation;
pub mod anomaly;
mod answer;
mod axis;
mod band;
mod catalog;
mod chart;
pub mod churn;
mod comparison;
mod csv;
pub mod dashboard;
mod editor;
mod error;
mod mail;
pub mod metric_forecast;
pub mod number;
pub mod page;
pub mod schedule;
mod selection;
mod spark;
mod summary;
pub mod tile;
pub mod why;
pub mod window;
mod words;
mod workbench;

pub use address::Address;
pub use annotation::{Annotation, AnomalyMark};
pub use answer::{DashboardAnswers, MetricResult};
pub use band::{Band, Forecasts};
pub use catalog::{CATALOG_DAYS, Definition, catalog_page, metric_dashboard};
pub use comparison::{DesiredDirection, is_usual_change};
pub use csv::csv;
pub use dashboard::{Dashboard, DashboardSet, ForecastRequest};
pub use editor::{EDITOR_SCRIPT, EditedTile, EditorPage, EditorVersion, NEW_KINDS, editor_page};
pub use error::Error;
pub use mail::{DashboardMail, MailFrame, mail};
pub use page::{DASHBOARD_SCRIPT, Page, chart_files, render};
pub use pages::{Language, Text};
pub use schedule::{Period, Recurrence, RecurrenceText};
pub use selection::Selection;
pub use tile::{
    AnalysisName, AnalysisRequest, AnalysisResult, ChartFormat, QueryDraw, QueryResult,
    QueryResults, SystemName, SystemTable, SystemTables, SystemTopic, SystemValue, Tile,
    TileFailure, query_chart, query_values,
};
pub use window::Window;
pub use workbench::{WORKBENCH_SCRIPT, Workbench, workbench_page};
