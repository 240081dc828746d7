//! Forms of statements whose rows the engine gets wrong (DataFusion 55.2): they are refused, with the way to write what
//! is meant.

use datafusion::{
    common::{
        Column, Result, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        BinaryExpr, Expr, JoinType, LogicalPlan, Operator, Subquery, WindowFrameBound,
        WindowFrameUnits,
        expr::{InSubquery, NullTreatment, WindowFunction},
    },
    sql::sqlparser::ast::{Query, SetExpr, SetOperator, SetQuantifier},
};

use super::{unwalked, walked};
use crate::{QueryError, Reason, arithmetic::COMPARED_MAX};

fn refused(message: &str, hint: &str) -> QueryError {
    QueryError {
        reason: Reason::Invalid,
        message: message.to_owned(),
        position: None,
        hint: Some(hint.to_owned()),
    }
}

/// Looks at the set operations of a query.
///
/// # Errors
/// [`Reason::Invalid`] for one that loses duplicates.
pub(super) fn set_operations(query: &Query) -> Result<(), QueryError> {
    let mut rest = vec![query.body.as_ref()];
    while let Some(part) = rest.pop() {
        let SetExpr::SetOperation { op, set_quantifier, left, right } = part else { continue };
        let is_all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
        let name = match op {
            SetOperator::Except | SetOperator::Minus => "EXCEPT ALL",
            SetOperator::Intersect => "INTERSECT ALL",
            SetOperator::Union => "",
        };
        if is_all && !name.is_empty() {
            return Err(refused(
                &format!("{name} is not offered: duplicates would be counted wrongly"),
                "number the rows on both sides with row_number() over (partition by the columns), and leave out ALL",
            ));
        }
        rest.extend([left.as_ref(), right.as_ref()]);
    }
    Ok(())
}

/// Looks at a plan that nothing has rewritten yet.
///
/// # Errors
/// [`Reason::Invalid`] for a form whose rows would be wrong.
pub(crate) fn forms(plan: &LogicalPlan) -> Result<(), QueryError> {
    walked(|check| plan.apply_with_subqueries(|node| check(of_node(node))))
}

fn of_node(node: &LogicalPlan) -> Result<(), QueryError> {
    match node {
        LogicalPlan::Filter(filter) => {
            return condition(&filter.predicate, ExpressionPosition::Conjunct(&filter.input));
        }
        // A lateral one.
        LogicalPlan::Subquery(subquery) => correlated(subquery, Use::Rows)?,
        _ => {}
    }
    walked(|check| node.apply_expressions(|part| check(condition(part, ExpressionPosition::Value))))
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
enum ExpressionPosition<'p> {
    /// One of the conditions that must all hold for the rows of a plan.
    Conjunct(&'p LogicalPlan),
    /// Unknown is taken as false.
    Condition,
    /// Unknown is not the same as false.
    Value,
}

fn condition(expression: &Expr, place: ExpressionPosition<'_>) -> Result<(), QueryError> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right })
            if !matches!(place, ExpressionPosition::Value) =>
        {
            condition(left, place)?;
            condition(right, place)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right })
            if !matches!(place, ExpressionPosition::Value) =>
        {
            condition(left, ExpressionPosition::Condition)?;
            condition(right, ExpressionPosition::Condition)
        }
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(inside) => in_subquery(inside, !inside.negated, place),
            _ => parts(expression),
        },
        Expr::InSubquery(inside) => in_subquery(inside, inside.negated, place),
        Expr::Exists(exists) => correlated(&exists.subquery, Use::Existence),
        Expr::ScalarSubquery(subquery) => correlated(subquery, Use::Value),
        Expr::SetComparison(_) => Err(refused(
            "ANY and ALL with a subquery are not offered",
            "write IN (SELECT …), or compare with (SELECT min(…) …) or (SELECT max(…) …)",
        )),
        Expr::Case(case) if case.expr.is_none() => {
            for (when, then) in &case.when_then_expr {
                condition(when, ExpressionPosition::Condition)?;
                condition(then, ExpressionPosition::Value)?;
            }
            case.else_expr
                .as_ref()
                .map_or(Ok(()), |other| condition(other, ExpressionPosition::Value))
        }
        Expr::InList(list)
            if list.list.len() > COMPARED_MAX
                && list.list.iter().any(|item| !item.column_refs().is_empty()) =>
        {
            Err(refused(
                &format!("a list of more than {COMPARED_MAX} items has a column among them"),
                "compare with the column beside the list: x IN (1, 2) OR x = y",
            ))
        }
        Expr::WindowFunction(call) => window(call).and_then(|()| parts(expression)),
        _ => parts(expression),
    }
}

/// The parts of an expression, each of them a value.
fn parts(expression: &Expr) -> Result<(), QueryError> {
    walked(|check| {
        expression.apply_children(|part| check(condition(part, ExpressionPosition::Value)))
    })
}

fn in_subquery(
    inside: &InSubquery,
    negated: bool,
    place: ExpressionPosition<'_>,
) -> Result<(), QueryError> {
    if matches!(place, ExpressionPosition::Value) {
        return Err(refused(
            "IN (SELECT …) stands in WHERE or HAVING only, and there not within another expression than AND and OR",
            "write EXISTS (SELECT 1 FROM … WHERE …), or join the tables",
        ));
    }
    let is_plain = match (place, inside.expr.as_ref()) {
        (ExpressionPosition::Conjunct(rows), Expr::Column(column)) => is_stored(rows, column),
        _ => false,
    };
    if negated && !(is_plain && inside.subquery.outer_ref_columns.is_empty()) {
        return Err(refused(
            "NOT IN (SELECT …) is offered for a column of a table, without names of the outer query in it, and joined \
             by AND only: elsewhere NULLs would be taken wrongly",
            "write NOT EXISTS (SELECT 1 FROM … WHERE …)",
        ));
    }
    condition(&inside.expr, ExpressionPosition::Value)?;
    correlated(&inside.subquery, Use::Membership)
}

/// Whether a column is one of a table, or an aggregate, under whatever name: of another expression a constant may be left.
fn is_stored(plan: &LogicalPlan, column: &Column) -> bool {
    let Some(place) = plan.schema().maybe_index_of_column(column) else { return false };
    let of_input = |input: &LogicalPlan, place: usize| {
        input.schema().columns().get(place).is_some_and(|column| is_stored(input, column))
    };
    match plan {
        LogicalPlan::TableScan(_) | LogicalPlan::Values(_) => true,
        LogicalPlan::Projection(projection) => {
            let mut item = projection.expr.get(place);
            while let Some(Expr::Alias(alias)) = item {
                item = Some(&alias.expr);
            }
            matches!(item, Some(Expr::Column(inner)) if is_stored(&projection.input, inner))
        }
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(place) {
            Some(Expr::Column(inner)) => is_stored(&aggregate.input, inner),
            Some(_) => false,
            None => true,
        },
        LogicalPlan::SubqueryAlias(alias) => of_input(&alias.input, place),
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| of_input(input, place)),
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Window(_) => {
            let inputs = plan.inputs();
            let owner = inputs.iter().find(|i| i.schema().maybe_index_of_column(column).is_some());
            owner.is_some_and(|input| is_stored(input, column))
        }
        _ => false,
    }
}

/// What a subquery is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Existence,
    Membership,
    Value,
    Rows,
}

/// A subquery that names columns of the outer query is turned into a join, which means the same only for some shapes.
fn correlated(subquery: &Subquery, used: Use) -> Result<(), QueryError> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    let shape = Shape::of(&subquery.subquery).map_err(|error| unwalked(&error))?;
    let hint = "join the tables instead, or compute the rows in a common table (WITH) first";
    if used == Use::Value && !shape.is_one {
        return Err(refused(
            "a subquery that names a column of the outer query and gives a value must be an aggregate without GROUP BY: \
             it could have several rows",
            "write (SELECT max(…) FROM … WHERE …)",
        ));
    }
    if shape.is_one && matches!(used, Use::Existence | Use::Membership) {
        return Err(refused(
            "an aggregate without GROUP BY has a row always: in EXISTS or IN, with names of the outer query, it would \
             be lost",
            "compare its value: (SELECT count(*) FROM … WHERE …) > 0",
        ));
    }
    match shape.unsound {
        Some(what) => Err(refused(
            &format!("{what} in a subquery that names a column of the outer query is not offered"),
            hint,
        )),
        None => Ok(()),
    }
}

#[derive(Debug, Default)]
struct Shape {
    /// An aggregate without groups stands above what is correlated.
    is_one: bool,
    unsound: Option<&'static str>,
}

impl Shape {
    fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut shape = Self::default();
        shape.add(plan)?;
        Ok(shape)
    }

    /// Goes down to where columns of the outer query are named.
    fn add(&mut self, plan: &LogicalPlan) -> Result<()> {
        let names_outer = |expressions: &[Expr]| {
            expressions.iter().any(|e| e.exists(|e| Ok(is_outer(e))).unwrap_or(true))
        };
        if !names_outer_below(plan)? {
            return Ok(());
        }
        let mut refuse = |what| {
            self.unsound.get_or_insert(what);
        };
        match plan {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Values(_) => {}
            LogicalPlan::Limit(limit) => {
                let is_none = |rows: &Option<Box<Expr>>| {
                    rows.as_ref().is_none_or(|rows| {
                        matches!(&**rows, Expr::Literal(ScalarValue::Int64(Some(0)), _))
                    })
                };
                if !is_none(&limit.skip) {
                    refuse("OFFSET");
                }
            }
            LogicalPlan::Aggregate(aggregate) => {
                if names_outer(&aggregate.aggr_expr) || names_outer(&aggregate.group_expr) {
                    refuse("an aggregate over a column of the outer query");
                }
                self.is_one |= aggregate.group_expr.is_empty();
            }
            LogicalPlan::Join(join) => {
                if join.join_type != JoinType::Inner {
                    refuse("an outer join");
                } else if join
                    .filter
                    .as_ref()
                    .is_some_and(|on| names_outer(std::slice::from_ref(on)))
                {
                    refuse("ON with a column of the outer query");
                }
            }
            LogicalPlan::Window(_) => refuse("a window function"),
            LogicalPlan::Union(_) => refuse("UNION"),
            _ => refuse("this operation"),
        }
        plan.inputs().into_iter().try_for_each(|input| self.add(input))
    }
}

fn is_outer(expression: &Expr) -> bool {
    matches!(expression, Expr::OuterReferenceColumn(..))
}

fn names_outer_below(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expression| {
            found |= expression.exists(|e| Ok(is_outer(e)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

fn window(call: &WindowFunction) -> Result<(), QueryError> {
    let name = call.fun.name();
    if !matches!(name, "lead" | "lag") {
        return Ok(());
    }
    let params = &call.params;
    let offset = match params.args.get(1) {
        None => 1,
        Some(Expr::Literal(value, _)) => match value.cast_to(&arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(Some(offset))) => offset,
            _ => 1,
        },
        // A parameter has a value when the statement runs.
        Some(Expr::Placeholder(_)) => 1,
        Some(_) => {
            return Err(refused(
                &format!("the offset of {name} is a whole number, not an expression"),
                "write the number",
            ));
        }
    };
    let other = if name == "lead" { "lag" } else { "lead" };
    if offset < 0 {
        return Err(refused(
            &format!("{name} with an offset below zero would read the wrong rows"),
            &format!("write {other} with the offset above zero"),
        ));
    }
    if offset != 1 && params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return Err(refused(
            &format!(
                "{name} with IGNORE NULLS and another offset than 1 would read the wrong rows"
            ),
            "leave out the rows with NULL in a common table (WITH) first",
        ));
    }
    let frame = &params.window_frame;
    let is_null = |bound: &ScalarValue| bound.is_null();
    let starts = matches!(&frame.start_bound, WindowFrameBound::Preceding(n) if is_null(n));
    let ends = match frame.units {
        WindowFrameUnits::Range => frame.end_bound == WindowFrameBound::CurrentRow,
        WindowFrameUnits::Rows => {
            params.order_by.is_empty()
                && matches!(&frame.end_bound, WindowFrameBound::Following(n) if is_null(n))
        }
        WindowFrameUnits::Groups => false,
    };
    if !(starts && ends) {
        return Err(refused(
            &format!("{name} knows no frame: it looks at all rows of the partition"),
            "leave out ROWS, RANGE or GROUPS",
        ));
    }
    Ok(())
}
