//! What a stranger's statement may look like. Planning cannot be canceled, and a short text can be planned for
//! minutes or overflow the stack; so a statement is measured before anything is done with it.
//!
//! [`tokens`] looks at the flat list of tokens, before the parser: it takes linear time and no stack. [`statement`]
//! walks what was parsed: references to common tables, and relations. [`arguments`] walks what was planned, before
//! anything rewrites it: lengths and patterns. [`forms`] refuses what the engine would answer wrongly. Which functions
//! there are is not decided by their names: a session has those that are [`offered`], and no others. Statements that we
//! compile ourselves are not measured.

mod arguments;
mod forms;
mod functions;
mod pattern;
mod walk;

use datafusion::{
    common::{DataFusionError, Result as DataFusionResult, tree_node::TreeNodeRecursion},
    sql::sqlparser::{
        dialect::GenericDialect,
        keywords::Keyword,
        tokenizer::{Token, TokenWithSpan, Tokenizer},
    },
};

pub(crate) use arguments::arguments;
pub(crate) use forms::forms;
pub use functions::{Function, functions};
pub(crate) use functions::{is_offered, offered};
pub(crate) use walk::statement;

use crate::{QueryError, Reason};

/// The bytes of a statement.
pub(crate) const SQL_BYTES_MAX: usize = 64 * 1024;
/// Chains of operators become deep trees: two thousand overflow a stack of 2 MiB.
const OPERATORS_MAX: usize = 300;
const SET_OPERATIONS_MAX: usize = 50;
const JOINS_MAX: usize = 8;
const LIST_ITEMS_MAX: usize = 5_000;
/// Each column more doubles the groups.
const CUBE_COLUMNS_MAX: usize = 4;
const GROUPING_SETS_MAX: usize = 16;

/// Walks a tree until a part of it is refused.
fn walked(
    walk: impl FnOnce(
        &mut dyn FnMut(Result<(), QueryError>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion>,
) -> Result<(), QueryError> {
    let mut found = Ok(());
    let visited = walk(&mut |checked| {
        found = checked;
        Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    visited.map_err(|error| unwalked(&error)).and(found)
}

fn unwalked(error: &DataFusionError) -> QueryError {
    tracing::error!(%error, "a plan could not be walked");
    too_complex("the statement could not be checked")
}

fn too_complex(message: impl Into<String>) -> QueryError {
    QueryError::new(Reason::TooComplex, message)
}

/// Measures the tokens of a statement.
///
/// # Errors
/// [`Reason::TooComplex`], or [`Reason::Syntax`] where the text has no tokens.
pub(crate) fn tokens(sql: &str) -> Result<(), QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(too_complex(format!("the statement is longer than {SQL_BYTES_MAX} bytes")));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| QueryError {
        reason: Reason::Syntax,
        message: error.message,
        position: Some((error.location.line, error.location.column)),
        hint: None,
    })?;
    let seen: Vec<_> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    let mut counts = Counts::default();
    for (place, token) in seen.iter().enumerate() {
        let before = place.checked_sub(1).map(|place| &seen[place].token);
        counts.count(&token.token, before);
        if let Token::Word(word) = &token.token {
            lists(word.keyword, &seen[place + 1..])?;
        }
    }
    let limits = [
        (counts.operators, OPERATORS_MAX, "operators and casts"),
        (counts.set_operations, SET_OPERATIONS_MAX, "UNION, INTERSECT and EXCEPT"),
        (counts.joins, JOINS_MAX, "JOINs"),
    ];
    match limits.into_iter().find(|(found, most, _)| found > most) {
        Some((found, most, what)) => {
            Err(too_complex(format!("the statement has {found} {what}; {most} are the most")))
        }
        None => Ok(()),
    }
}

#[derive(Debug, Default)]
struct Counts {
    operators: usize,
    set_operations: usize,
    joins: usize,
}

impl Counts {
    fn count(&mut self, token: &Token, before: Option<&Token>) {
        match token {
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => self.set_operations += 1,
                Keyword::JOIN => self.joins += 1,
                // Words that a chain can be made of, without parentheses.
                Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::OVERLAPS
                | Keyword::AT
                | Keyword::COLLATE
                | Keyword::DIV
                | Keyword::CAST
                | Keyword::TRY_CAST
                | Keyword::WHEN => self.operators += 1,
                _ => {}
            },
            // A sign of a number, or all columns.
            Token::Plus | Token::Minus | Token::Mul if starts_operand(before) => {}
            Token::Comma
            | Token::LParen
            | Token::RParen
            | Token::RBracket
            | Token::LBrace
            | Token::RBrace
            | Token::Period
            | Token::SemiColon
            | Token::Placeholder(_) => {}
            literal if is_literal(literal) => {}
            // Whatever else there is works on operands.
            _ => self.operators += 1,
        }
    }
}

fn is_literal(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::DollarQuotedString(_)
    )
}

fn starts_operand(before: Option<&Token>) -> bool {
    match before {
        None | Some(Token::LParen | Token::Comma) => true,
        Some(Token::Word(word)) => word.keyword == Keyword::SELECT,
        _ => false,
    }
}

/// The lists in parentheses that some words begin.
fn lists(word: Keyword, rest: &[TokenWithSpan]) -> Result<(), QueryError> {
    let rest = match (word, rest) {
        (Keyword::GROUPING, [sets, rest @ ..]) if is_word(&sets.token, Keyword::SETS) => rest,
        _ => rest,
    };
    let (most, what) = match word {
        Keyword::IN => (LIST_ITEMS_MAX, "items of IN"),
        Keyword::CUBE | Keyword::ROLLUP => (CUBE_COLUMNS_MAX, "columns of CUBE or ROLLUP"),
        Keyword::GROUPING => (GROUPING_SETS_MAX, "grouping sets"),
        _ => return Ok(()),
    };
    let items = items(rest);
    if items > most {
        return Err(too_complex(format!("the statement has {items} {what}; {most} are the most")));
    }
    Ok(())
}

fn is_word(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

/// The items of the list that begins here, none where none begins.
fn items(tokens: &[TokenWithSpan]) -> usize {
    if tokens.first().is_none_or(|token| token.token != Token::LParen) {
        return 0;
    }
    let (mut depth, mut items) = (0_usize, 1);
    for token in tokens {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 1 => items += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    items
}

#[cfg(test)]
mod tests;
