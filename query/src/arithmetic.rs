//! Arithmetic that tells when a number does not fit its type. The engine's own wraps around for whole numbers, and
//! divides decimals of money in 128 bits, where the numerator overflows soon.

use std::{hash::Hash, sync::Arc};

use arrow::{
    array::{ArrayRef, Datum},
    compute::{
        CastOptions, cast_with_options,
        kernels::numeric::{add, div, mul, neg, sub},
    },
    datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef},
    error::ArrowError,
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result, config::ConfigOptions, tree_node::Transformed},
    functions::utils::make_scalar_function,
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
        expr::{InList, ScalarFunction},
        expr_rewriter::FunctionRewrite,
    },
    physical_expr_common::datum::apply,
};

use crate::error::OutOfRange;

/// Puts exact operations in the place of the engine's, once the types are known.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl FunctionRewrite for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "exact_arithmetic"
    }

    fn rewrite(
        &self,
        expression: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        if let Expr::ScalarFunction(call) = &expression {
            return match wider_argument(call, schema)? {
                Some(call) => Ok(Transformed::yes(Expr::ScalarFunction(call))),
                None => Ok(Transformed::no(expression)),
            };
        }
        if let Expr::InList(list) = &expression
            && let Some(comparisons) = compared(list)
        {
            return Ok(Transformed::yes(comparisons));
        }
        let Some(operation) = Operation::of(&expression) else {
            return Ok(Transformed::no(expression));
        };
        let kind = expression.get_type(schema)?;
        let operands = match &expression {
            Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![left, right],
            Expr::Negative(operand) => vec![operand],
            _ => return Ok(Transformed::no(expression)),
        };
        let kinds = operands.iter().map(|operand| operand.get_type(schema));
        let kinds = kinds.collect::<Result<Vec<_>>>()?;
        let is_ours = match operation {
            Operation::Divide => {
                kinds.iter().chain([&kind]).all(|kind| matches!(kind, DataType::Decimal128(..)))
            }
            _ => kind.is_integer() && kinds.iter().all(|operand| *operand == kind),
        };
        if !is_ours {
            return Ok(Transformed::no(expression));
        }
        let arguments = operands.into_iter().map(|operand| (**operand).clone()).collect();
        let name = expression.schema_name().to_string();
        let function = Arc::new(ScalarUDF::from(CheckedOperator::new(operation, kind, name)));
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
    }
}

/// The longest list that is written out.
pub(crate) const COMPARED_MAX: usize = 100;

/// `x IN (y, 1)` as `x = y OR x = 1`. The engine takes such lists together as if they held constants only, and loses the
/// columns: of `x IN (1, 2) AND x NOT IN (y, 3)` it makes `x IN (1, 2)`.
fn compared(list: &InList) -> Option<Expr> {
    let has_column = |item: &Expr| !item.column_refs().is_empty();
    if !list.list.iter().any(has_column) || list.list.len() > COMPARED_MAX {
        return None;
    }
    let comparisons = list.list.iter().map(|item| match list.negated {
        true => list.expr.as_ref().clone().not_eq(item.clone()),
        false => list.expr.as_ref().clone().eq(item.clone()),
    });
    comparisons.reduce(if list.negated { Expr::and } else { Expr::or })
}

/// `ceil` and `floor` of the engine keep the type of their argument, and fail when the result has a digit more: 999.9
/// and 1000. They get an argument that has it.
fn wider_argument(call: &ScalarFunction, schema: &DFSchema) -> Result<Option<ScalarFunction>> {
    let [argument] = call.args.as_slice() else { return Ok(None) };
    if !matches!(call.name(), "ceil" | "floor") {
        return Ok(None);
    }
    Ok(match argument.get_type(schema)? {
        DataType::Decimal128(precision, scale) if precision < DECIMAL128_MAX_PRECISION => {
            let argument = cast(argument.clone(), DataType::Decimal128(precision + 1, scale));
            Some(ScalarFunction::new_udf(Arc::clone(&call.func), vec![argument]))
        }
        _ => None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Negate,
}

impl Operation {
    fn of(expression: &Expr) -> Option<Self> {
        Some(match expression {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Plus, .. }) => Self::Add,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Minus, .. }) => Self::Subtract,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Multiply, .. }) => Self::Multiply,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Divide, .. }) => Self::Divide,
            Expr::Negative(_) => Self::Negate,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract | Self::Negate => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

/// An operation whose result has this type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedOperator {
    operation: Operation,
    kind: DataType,
    /// What a column of it is called. Chains of operations are deep: it is not made anew at each level, each time.
    name: String,
    signature: Signature,
}

impl CheckedOperator {
    fn new(operation: Operation, kind: DataType, name: String) -> Self {
        let operands = if operation == Operation::Negate { 1 } else { 2 };
        Self { operation, kind, name, signature: Signature::any(operands, Volatility::Immutable) }
    }

    fn explained(&self, error: DataFusionError) -> DataFusionError {
        match error.find_root() {
            DataFusionError::ArrowError(arrow, _)
                if matches!(**arrow, ArrowError::ArithmeticOverflow(_)) =>
            {
                OutOfRange::operation(self.operation.name(), &self.kind).into()
            }
            _ => error,
        }
    }

    fn binary(
        &self,
        arguments: &[ColumnarValue],
        operation: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>,
    ) -> Result<ColumnarValue> {
        match arguments {
            [left, right] => apply(left, right, operation),
            _ => datafusion::common::internal_err!("an operation of two operands"),
        }
    }

    /// Divides in 128 bits, and where these do not hold the numerator in 256.
    fn divide(&self, arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
        let quotient = self.binary(arguments, div);
        match quotient.map_err(|error| self.explained(error)) {
            Err(DataFusionError::External(_)) => {}
            other => return other,
        }
        let widen = |value: &ColumnarValue| match value.data_type() {
            DataType::Decimal128(_, scale) => {
                value.cast_to(&DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale), None)
            }
            _ => Ok(value.clone()),
        };
        let wide = arguments.iter().map(widen).collect::<Result<Vec<_>>>()?;
        let quotient = self.binary(&wide, div)?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let narrow = |values: &[ArrayRef]| {
            cast_with_options(&values[0], &self.kind, &options).map_err(|_| {
                DataFusionError::from(OutOfRange::operation(self.operation.name(), &self.kind))
            })
        };
        make_scalar_function(narrow, Vec::new())(&[quotient])
    }
}

impl ScalarUDFImpl for CheckedOperator {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    /// It is null where an operand is.
    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.kind.clone(), nullable)))
    }

    fn display_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = &arguments.args;
        let result = match self.operation {
            Operation::Add => self.binary(arguments, add),
            Operation::Subtract => self.binary(arguments, sub),
            Operation::Multiply => self.binary(arguments, mul),
            Operation::Divide => self.divide(arguments),
            Operation::Negate => {
                make_scalar_function(|values| Ok(neg(&values[0])?), Vec::new())(arguments)
            }
        };
        result.map_err(|error| self.explained(error))
    }
}
