//! Counts, however they are written.

use super::*;

#[test]
fn counts_are_whole_numbers_up_to_a_trillion() {
    for (json, expected) in [
        ("0", 0),
        ("-0", 0),
        ("812.0", 812),
        ("1e3", 1_000),
        ("1.5E+1", 15),
        ("1000000000000", 1_000_000_000_000),
        ("1e12", 1_000_000_000_000),
    ] {
        let row = row(&format!("{{\"model\":\"m\",\"input_tokens\":{json}}}"));
        assert_eq!(count(&row, "input_tokens"), Some(expected), "{json}");
    }
    for (json, code) in [
        ("1000000000001", RejectionCode::InvalidValue),
        ("9223372036854775807", RejectionCode::InvalidValue),
        ("9223372036854775808", RejectionCode::WrongType),
        ("18446744073709551616", RejectionCode::WrongType),
        ("1.5", RejectionCode::WrongType),
        ("1e-3", RejectionCode::WrongType),
        ("1e13", RejectionCode::InvalidValue),
        ("1e400", RejectionCode::WrongType),
        ("\"1\"", RejectionCode::WrongType),
        ("true", RejectionCode::WrongType),
        ("-1", RejectionCode::InvalidValue),
    ] {
        let found = refusal(&format!("{{\"model\":\"m\",\"input_tokens\":{json}}}"));
        assert_eq!(found, (code, "/data/input_tokens".into()), "{json}");
    }
    // The parts of a total are added without running over.
    let parts = format!(
        "{{\"model\":\"m\",\"input_tokens\":1,\"cached_input_tokens\":{0},\"cache_write_input_tokens\":{0}}}",
        1_000_000_000_000_i64
    );
    assert_eq!(refusal(&parts).0, RejectionCode::InconsistentTokens);
}
