//! What was parsed: common tables and relations. What has a name is compared as the planner does it, whatever its
//! quotes.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    self, Expr, ObjectName, Query, Select, TableFactor, Visit, Visitor, visit_relations,
};

use super::{JOINS_MAX, forms, functions::is_withheld, too_complex};
use crate::{QueryError, Reason};

const COMMON_TABLES_MAX: usize = 20;
/// Tables that are read once every common table is put in the places that name it. Twenty that each name the one
/// before twice are a million.
const REFERENCES_MAX: u64 = 200;

/// Measures a parsed statement.
///
/// # Errors
/// [`Reason::TooComplex`] or [`Reason::NotAllowed`].
pub(crate) fn statement(statement: &ast::Statement) -> Result<(), QueryError> {
    match statement.visit(&mut Walk::default()) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct Walk {
    common_tables: usize,
    /// How many tables are read where a common table is named.
    weights: HashMap<String, u64>,
}

impl Visitor for Walk {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        flow(forms::set_operations(query).and_then(|()| self.common_tables(query)))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        let relations: usize = select.from.iter().map(|table| 1 + table.joins.len()).sum();
        if relations > JOINS_MAX + 1 {
            let message = format!("{relations} tables are joined; {} are the most", JOINS_MAX + 1);
            return ControlFlow::Break(too_complex(message));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<QueryError> {
        let refusal = match table {
            TableFactor::Table { sample: Some(_), .. } => {
                Some("a sample of a table is not offered")
            }
            TableFactor::Table { name, args: None, .. } if !is_place(name) => None,
            TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => None,
            TableFactor::UNNEST { .. } => None,
            TableFactor::Table { args: None, .. } => Some("files and URLs are not tables here"),
            _ => Some("functions that give tables are not offered"),
        };
        match refusal {
            Some(refusal) => ControlFlow::Break(QueryError::new(Reason::NotAllowed, refusal)),
            None => ControlFlow::Continue(()),
        }
    }

    /// The session has no such function either. Here its name gets the better answer.
    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<QueryError> {
        let Expr::Function(function) = expression else { return ControlFlow::Continue(()) };
        let name = last_part(&function.name);
        if is_withheld(&name) {
            let message = format!("the function `{name}` is not offered; see /v1/functions");
            return ControlFlow::Break(QueryError::new(Reason::NotAllowed, message));
        }
        ControlFlow::Continue(())
    }
}

impl Walk {
    fn common_tables(&mut self, query: &Query) -> Result<(), QueryError> {
        let Some(with) = &query.with else { return Ok(()) };
        if with.recursive {
            let message = "recursive common tables are not offered";
            return Err(QueryError::new(Reason::NotAllowed, message));
        }
        self.common_tables += with.cte_tables.len();
        if self.common_tables > COMMON_TABLES_MAX {
            let message = format!("more than {COMMON_TABLES_MAX} common tables (WITH)");
            return Err(too_complex(message));
        }
        for table in &with.cte_tables {
            // One that reads no table is planned as well.
            let weight = self.weight(table.query.as_ref()).max(1);
            self.weights.insert(table.alias.name.value.to_lowercase(), weight);
        }
        let all = self.weight(query.body.as_ref());
        if all.max(self.weights.values().copied().max().unwrap_or(0)) > REFERENCES_MAX {
            let message =
                format!("common tables are named so often that over {REFERENCES_MAX} are read");
            return Err(too_complex(message));
        }
        Ok(())
    }

    fn weight(&self, part: &impl Visit) -> u64 {
        let mut sum = 0_u64;
        let _ = visit_relations(part, |name| {
            let weight = self.weights.get(&last_part(name)).copied();
            sum = sum.saturating_add(weight.unwrap_or(1));
            ControlFlow::<()>::Continue(())
        });
        sum
    }
}

fn flow(result: Result<(), QueryError>) -> ControlFlow<QueryError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// Whether a name is that of a file or a URL.
fn is_place(name: &ObjectName) -> bool {
    let text = name.to_string();
    text.contains(['/', '\\', '\''])
}

/// A name without its quotes. Two that differ only in case may be two to the planner; here they count as one.
fn last_part(name: &ObjectName) -> String {
    let ident = name.0.last().and_then(|part| part.as_ident());
    ident.map_or_else(|| name.to_string(), |ident| ident.value.clone()).to_lowercase()
}
