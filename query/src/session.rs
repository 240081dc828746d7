//! What a query may see and do.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use chrono::DateTime;
use datafusion::{
    common::{
        DataFusionError, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    dataframe::DataFrame,
    datasource::{MemTable, TableProvider, ViewTable, provider_as_source},
    execution::{
        FunctionRegistry, SessionStateBuilder, SessionStateDefaults, context::SQLOptions,
        runtime_env::RuntimeEnv,
    },
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, cast, ident, lit},
    optimizer::analyzer::function_rewrite::ApplyFunctionRewrites,
    prelude::{SessionConfig, SessionContext},
    sql::{
        parser::{DFParser, Statement},
        sqlparser::ast,
    },
};
use ingest::Table;
use pipeline::{
    Tables,
    correction::{LEDGERS, ledger},
    scan::{LakeScan, LatestRows},
};

use crate::{
    Author, QueryError, QueryMode, QueryOptions, Reason, Request, RowAccess, Zone,
    arithmetic::CheckedArithmetic,
    explain::{explain, explain_in},
    gate, masked, names, pushdown, rollup,
    schema::{self, CATALOG, INFORMATION_SCHEMA, SCHEMA},
    zoned_time::{ZonedCasts, ZonedComparisons},
};

/// Views that every session has, in terms of its tables.
const VIEWS: &[(&str, &str)] = &[("mrr_movements", include_str!("../views/mrr_movements.sql"))];

/// The ledger without what was taken back.
pub(crate) const NET: &str = "usage_events";

/// A planned query.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) frame: DataFrame,
    /// Columns of `*` that its author may not see.
    pub(crate) hidden: Vec<String>,
}

/// Plans a query in a session of its own.
pub(crate) async fn plan(
    request: &Request,
    tables: &Tables,
    runtime: &Arc<RuntimeEnv>,
    partitions: usize,
) -> Result<Plan, QueryError> {
    // Before anything is read.
    check(&request.sql)?;
    let context = session(tables, request, runtime, partitions)
        .await
        .map_err(|error| explain(error, &request.reach))?;
    plan_in(&context, request).await
}

/// Plans a query in a session.
async fn plan_in(context: &SessionContext, request: &Request) -> Result<Plan, QueryError> {
    let statement = check(&request.sql)?;
    let asked = Box::new(query(&statement)?.clone());
    let named = masked::named(&asked);
    if request.author == Author::Stranger {
        gate::statement(&asked)?;
    }
    let options =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let refused = |error| explain_in(error, &request.reach, &asked);
    let (logical, marked) = match context.state().statement_to_plan(statement.clone()).await {
        Ok(logical) => (logical, None),
        Err(error) if names::is_doubled(&error) => {
            let mut statement = statement;
            let marked = query_mut(&mut statement).map(names::mark);
            let mut state = context.state();
            state.register_expr_planner(Arc::new(names::Casts)).map_err(refused)?;
            (state.statement_to_plan(statement).await.map_err(refused)?, marked)
        }
        Err(error) => return Err(refused(error)),
    };
    options.verify_plan(&logical).map_err(refused)?;
    let frame = context.execute_logical_plan(logical).await.map_err(refused)?;
    let is_explained =
        matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    if is_explained && request.reach != RowAccess::Admin {
        return Err(QueryError::new(Reason::NotAllowed, "a plan names files; only admins see it"));
    }
    let frame = match request.terms.task {
        QueryMode::Rows | QueryMode::Explain => {
            request.terms.parameters.bind(frame, &request.reach)?
        }
        // Its parameters are what is asked for.
        QueryMode::Validate => frame,
    };
    let frame = match marked {
        Some(marked) if !is_explained => marked.resolve(frame).map_err(refused)?,
        _ => frame,
    };
    let (frame, hidden) = match request.terms.persons {
        true => (frame, Vec::new()),
        false => masked::cover(frame, &named)?,
    };
    if request.author == Author::Stranger {
        gate::arguments(frame.logical_plan())?;
        gate::forms(frame.logical_plan())?;
    }
    // `now()` is the time of the request, so that asking again gives the same answer.
    let (mut state, logical) = frame.into_parts();
    state.execution_props_mut().query_execution_start_time =
        DateTime::from_timestamp_micros(request.now);
    Ok(Plan { frame: DataFrame::new(state, logical), hidden })
}

/// The session: tables at a cut, as far as `reach` goes, and nothing else.
async fn session(
    tables: &Tables,
    request: &Request,
    runtime: &Arc<RuntimeEnv>,
    partitions: usize,
) -> Result<SessionContext, DataFusionError> {
    let context = context(request, runtime, partitions)?;
    let url = url::Url::parse(&tables.root.store_url())
        .map_err(|error| DataFusionError::External(error.into()))?;
    context.register_object_store(&url, Arc::clone(&tables.root.store));
    register(&context, tables, request).await?;
    Ok(context)
}

/// Runs a query over tables that hold nothing: whether it is right is seen, and what its columns are.
pub(crate) async fn dry_run(request: &Request) -> Result<Schema, QueryError> {
    gate::tokens(&request.sql)?;
    let refused = |error| explain(error, &request.reach);
    let context = context(request, &Arc::default(), 1).map_err(refused)?;
    let is_own = request.reach.organization().is_some();
    let shown =
        Table::ALL.into_iter().filter(|table| schema::is_shown(table.name(), &request.reach));
    let mut tables: Vec<_> = shown.map(|table| (table.name(), table)).collect();
    tables.push((NET, Table::UsageLedger));
    for (name, table) in tables {
        let columns = table.schema();
        let columns = columns.fields().iter();
        let columns =
            columns.filter(|field| !is_own || !schema::is_for_staff(field.name())).cloned();
        let columns = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let empty = MemTable::try_new(columns, vec![Vec::new()]).map_err(refused)?;
        context.register_table(name, Arc::new(empty)).map_err(refused)?;
    }
    for (name, view) in VIEWS {
        let view = context.sql(view).await.map_err(refused)?.into_view();
        context.register_table(*name, view).map_err(refused)?;
    }
    let plan = plan_in(&context, request).await?;
    let columns = plan.frame.schema().as_arrow().clone();
    plan.frame.collect().await.map_err(refused)?;
    Ok(columns)
}

/// A session without tables.
fn context(
    request: &Request,
    runtime: &Arc<RuntimeEnv>,
    partitions: usize,
) -> Result<SessionContext, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_information_schema(false)
        .with_target_partitions(partitions)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    // An error says where in the text it is.
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some(request.terms.zone.to_string());
    options.execution.enable_recursive_ctes = false;
    options.execution.parquet.pushdown_filters = false;
    let functions = gate::offered();
    // Not the engine's own choice: table functions make rows out of nothing, without end, file formats reach
    // outside, and of the functions only some are offered.
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(runtime))
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(functions.scalar.clone())
        .with_aggregate_functions(functions.aggregate.clone())
        .with_window_functions(functions.window.clone())
        .with_physical_optimizer_rules(pushdown::rules())
        .with_analyzer_rule(Arc::new(ApplyFunctionRewrites::new(vec![
            Arc::new(CheckedArithmetic),
            Arc::new(ZonedCasts),
        ])))
        .build();
    state.register_function_rewrite(Arc::new(ZonedComparisons))?;
    Ok(SessionContext::new_with_state(state))
}

async fn register(
    context: &SessionContext,
    tables: &Tables,
    request: &Request,
) -> Result<(), DataFusionError> {
    let reach = &request.reach;
    let own = reach.organization();
    if matches!(reach, RowAccess::Organization(_)) && own.is_none() {
        // Without an organization there is nothing to see; never everything.
        return Err(DataFusionError::Plan("no organization".into()));
    }
    let own = own.as_ref();
    let mut stored: Vec<(&str, Arc<dyn TableProvider>)> = Vec::new();
    for table in Table::ALL.into_iter().filter(|table| schema::is_shown(table.name(), reach)) {
        let rows: Arc<dyn TableProvider> = if table.is_dimension() {
            Arc::new(LatestRows::new(tables, table, own))
        } else if LEDGERS.iter().any(|(net, _)| *net == table) {
            Arc::new(LakeScan::new(tables, table, own).net())
        } else {
            Arc::new(LakeScan::new(tables, table, own))
        };
        stored.push((table.name(), rows));
    }
    if request.author == Author::Ourselves {
        for (table, name) in LEDGERS {
            stored.push((name, Arc::new(LakeScan::new(tables, table, own))));
        }
        for (name, rows) in rollup::relations(&request.sql, tables, own) {
            context.register_table(name, rows)?;
        }
    }
    let net = LakeScan::new(tables, Table::UsageLedger, own).net();
    stored.push((NET, Arc::new(net)));
    // What a statement does not name need not be planned.
    let sql = request.sql.to_ascii_lowercase();
    let views: Vec<_> = VIEWS.iter().filter(|(name, _)| sql.contains(name)).collect();
    let is_placed = request.author == Author::Ourselves || own.is_none();
    let mut planned = Vec::new();
    if !views.is_empty() {
        // Ours order by places in the log, whoever asks.
        for (name, rows) in &stored {
            context.register_table(*name, shown(name, rows, &request.terms, true)?)?;
        }
        for (name, view) in views {
            planned.push((*name, context.sql(view).await?.into_view()));
        }
        for (name, _) in &stored {
            context.deregister_table(*name)?;
        }
    }
    for (name, rows) in &stored {
        context.register_table(*name, shown(name, rows, &request.terms, is_placed)?)?;
    }
    for (name, view) in planned {
        context.register_table(name, view)?;
    }
    if sql.contains(INFORMATION_SCHEMA)
        && let Some(catalog) = context.catalog(CATALOG)
    {
        catalog.register_schema(INFORMATION_SCHEMA, schema::information_schema(reach)?)?;
    }
    Ok(())
}

/// The tables that a statement may read: those that its text names, or a view that it names.
pub(crate) fn tables_of(sql: &str) -> Vec<Table> {
    let sql = sql.to_lowercase();
    let views = VIEWS.iter().filter(|(name, _)| sql.contains(name)).map(|(_, view)| *view);
    let text = views.fold(sql.clone(), |text, view| text + view);
    let names = |table: &Table| {
        text.contains(table.name())
            || text.contains(ledger(*table))
            || *table == Table::UsageLedger && text.contains(NET)
    };
    Table::ALL.into_iter().filter(names).collect()
}

/// Whether a plan gives the same at any time. `now()` is the time of the request.
pub(crate) fn is_repeatable(plan: &LogicalPlan) -> bool {
    let changes = |expression: &Expr| {
        let function = match expression {
            Expr::ScalarFunction(call) => Some(call.func.signature().volatility),
            _ => None,
        };
        Ok(function.is_some_and(|volatility| volatility != Volatility::Immutable))
    };
    let mut repeatable = true;
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            repeatable &= !expression.exists(changes)?;
            Ok(TreeNodeRecursion::Continue)
        })
    });
    visited.is_ok() && repeatable
}

/// A table as its reader sees it: times in the reader's zone, so that truncating one gives a day of the zone.
/// `is_placed`: with the rows' places in the log, which numbers everybody's, and with what only staff sees.
fn shown(
    name: &str,
    rows: &Arc<dyn TableProvider>,
    terms: &QueryOptions,
    is_placed: bool,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let hides = |name: &str| !is_placed && matches!(name, "log" | "lsn");
    let lacks = |name: &str| !is_placed && schema::is_for_staff(name);
    let zoned = terms.zone != Zone::default();
    let columns = rows.schema();
    if !zoned && !columns.fields().iter().any(|field| hides(field.name()) || lacks(field.name())) {
        return Ok(Arc::clone(rows));
    }
    let columns = columns.fields().iter().filter(|field| !lacks(field.name()));
    let columns = columns.map(|field| match field.data_type() {
        kind if hides(field.name()) => {
            cast(lit(ScalarValue::Null), kind.clone()).alias(field.name())
        }
        DataType::Timestamp(unit, Some(_)) if zoned => {
            let kind = DataType::Timestamp(*unit, Some(terms.zone.to_string().into()));
            cast(ident(field.name()), kind).alias(field.name())
        }
        _ => ident(field.name()),
    });
    let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(rows)), None)?;
    Ok(Arc::new(ViewTable::new(scan.project(columns)?.build()?, None)))
}

/// The one statement of a text. Anything but a query, which may be explained, is refused before it is planned.
fn check(sql: &str) -> Result<Statement, QueryError> {
    let mut statements =
        DFParser::parse_sql(sql).map_err(|error| explain(error, &RowAccess::Staff))?;
    let (Some(statement), 0) = (statements.pop_front(), statements.len()) else {
        return Err(QueryError::new(Reason::Invalid, "expected one statement"));
    };
    query(&statement)?;
    Ok(statement)
}

/// The query of a statement, to be changed.
fn query_mut(statement: &mut Statement) -> Option<&mut ast::Statement> {
    let statement = match statement {
        Statement::Explain(explain) => &mut explain.statement,
        statement => statement,
    };
    match statement {
        Statement::Statement(query) => Some(query),
        _ => None,
    }
}

fn not_a_query(hint: &str) -> QueryError {
    QueryError {
        hint: Some(hint.into()),
        ..QueryError::new(Reason::NotAllowed, "only queries are allowed: SELECT, WITH, VALUES")
    }
}

/// The query of a statement.
fn query(statement: &Statement) -> Result<&ast::Statement, QueryError> {
    let statement = match statement {
        Statement::Explain(explain) => &explain.statement,
        statement => statement,
    };
    match statement {
        Statement::Statement(query) if matches!(**query, ast::Statement::Query(_)) => Ok(query),
        Statement::Statement(other) if matches!(**other, ast::Statement::ShowTables { .. }) => {
            Err(not_a_query(
                "in a terminal \\d lists the tables; select table_name from information_schema.tables does everywhere",
            ))
        }
        Statement::Statement(other)
            if matches!(
                **other,
                ast::Statement::ExplainTable { .. } | ast::Statement::ShowColumns { .. }
            ) =>
        {
            Err(not_a_query(
                "in a terminal \\d TABLE lists the columns; select column_name, data_type from information_schema.columns where table_name = '…' does everywhere",
            ))
        }
        _ => Err(not_a_query("the tables are written by sending events")),
    }
}
