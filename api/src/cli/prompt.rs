//! The interactive mode of `aihub query`: statements end with `;`, what begins with `\` is for the prompt.

use std::{path::PathBuf, time::Instant};

use ingest::control;
use rustyline::{
    Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use serde_json::Value;

use super::{
    query::{OutputFormat, QueryInput, QueryTarget},
    say,
};
use crate::config;

const HELP: &str = "\
statement;        runs it; it may take several lines
\\d                lists the tables
\\d TABLE          its columns
\\explain SQL;     shows how it would run
\\format FORMAT    table, json, ndjson or csv
\\q                ends; so does Ctrl-D
Tab completes names. Ctrl-C stops a query. Arrow keys go through the history.
";

const KEYWORDS: &str = "select from where group by order having limit distinct with as join left on and or not in \
    is null between like case when then else end union all over partition asc desc interval timestamp date";

/// Names that can be completed.
struct Names(Vec<String>);

/// Asks for statements until there are no more.
pub(super) async fn run(
    source: QueryTarget,
    mut asked: QueryInput,
    mut shape: OutputFormat,
) -> anyhow::Result<()> {
    let tables = source.schema().await?;
    let settings = Config::builder().auto_add_history(true).build();
    let mut editor: Editor<Names, FileHistory> = Editor::with_config(settings)?;
    editor.set_helper(Some(Names::of(&tables)));
    let history = history();
    if let Some(file) = &history {
        let _ = editor.load_history(file);
    }
    say("Statements end with ; and \\? helps.\n")?;
    loop {
        // The prompt waits for a person: not on a thread that has other work.
        let line;
        (editor, line) = tokio::task::spawn_blocking(move || {
            let line = editor.readline("aihub> ");
            (editor, line)
        })
        .await?;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        let line = line.trim();
        if line == "\\q" {
            break;
        }
        tokio::select! {
            done = step(&source, &mut asked, &mut shape, &tables, line) => {
                if let Err(error) = done {
                    say(&format!("error: {}\n", control::shown(&format!("{error:#}"))))?;
                }
            }
            _ = tokio::signal::ctrl_c() => say("stopped\n")?,
        }
    }
    if let Some(file) = &history {
        editor.save_history(file)?;
    }
    Ok(())
}

async fn step(
    source: &QueryTarget,
    asked: &mut QueryInput,
    shape: &mut OutputFormat,
    tables: &[Value],
    line: &str,
) -> anyhow::Result<()> {
    let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let sql = |text: &str| text.trim().trim_end_matches(';').to_owned();
    match command {
        "" => Ok(()),
        "\\?" => Ok(say(HELP)?),
        "\\d" => Ok(say(&describe(tables, rest.trim().trim_end_matches(';')))?),
        "\\explain" => Ok(say(&source.explain(&sql(rest), asked).await?)?),
        "\\format" => {
            *shape = match rest.trim() {
                "table" => OutputFormat::Table,
                "json" => OutputFormat::Json,
                "ndjson" => OutputFormat::Ndjson,
                "csv" => OutputFormat::Csv,
                _ => anyhow::bail!("a format is table, json, ndjson or csv"),
            };
            Ok(())
        }
        _ if command.starts_with('\\') => anyhow::bail!("there is no {command}; \\? helps"),
        _ => {
            let began = Instant::now();
            let rows = source.print(&sql(line), asked, *shape).await?;
            Ok(say(&format!("{rows} rows in {:.0?}\n", began.elapsed()))?)
        }
    }
}

/// The tables, or the columns of one.
fn describe(tables: &[Value], name: &str) -> String {
    let line = |value: &Value, kind: &str| {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        format!("{:<26} {kind:<10} {}\n", text("name"), text("description"))
    };
    if name.is_empty() {
        return tables.iter().map(|table| line(table, "")).collect();
    }
    match tables.iter().find(|table| table["name"] == name) {
        Some(table) => {
            let columns = table["columns"].as_array().map(Vec::as_slice).unwrap_or_default();
            let kind = |column: &Value| column["type"].as_str().unwrap_or_default().to_owned();
            columns.iter().map(|column| line(column, &kind(column))).collect()
        }
        None => format!("there is no table {name}\n"),
    }
}

/// What was asked before, across sessions.
fn history() -> Option<PathBuf> {
    config::home().map(|home| home.join(".aihub_history"))
}

impl Names {
    fn of(tables: &[Value]) -> Self {
        let name = |value: &Value| value["name"].as_str().map(str::to_owned);
        let columns = tables.iter().flat_map(|table| table["columns"].as_array()).flatten();
        let mut names: Vec<String> = KEYWORDS.split_whitespace().map(str::to_owned).collect();
        names.extend(tables.iter().filter_map(name));
        names.extend(columns.filter_map(name));
        names.extend(QueryTarget::functions());
        names.sort();
        names.dedup();
        Self(names)
    }
}

impl Completer for Names {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let start = before.rfind(|c| !is_name(c)).map_or(0, |place| place + 1);
        let word = before[start..].to_ascii_lowercase();
        let names = self.0.iter().filter(|name| !word.is_empty() && name.starts_with(&word));
        let pair = |name: &String| Pair { display: name.clone(), replacement: name.clone() };
        Ok((start, names.map(pair).collect()))
    }
}

impl Validator for Names {
    /// A statement goes on until its semicolon.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let whole = text.is_empty() || text.ends_with(';');
        let command = text.starts_with('\\') && !text.starts_with("\\explain");
        Ok(if whole || command {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}

impl Helper for Names {}
