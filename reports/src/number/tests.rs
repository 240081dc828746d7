use query::metric::Unit::{self, Count, Milliseconds, Money, Ratio};
use rust_decimal::Decimal;

use super::Precision::{self, Column, Exact, Short};
use super::{NO_BREAK, print, print_or_absent};
use crate::Language::{self, En, ZhCn};

#[track_caller]
fn check(value: &str, unit: Unit, precision: Precision, language: Language, expected: &str) {
    let value: Decimal = value.parse().unwrap();
    let currency = (unit == Money).then_some("USD");
    let printed = print(value, unit, currency, precision, language).replace(NO_BREAK, " ");
    assert_eq!(printed, expected);
}

#[test]
fn counts() {
    check("0", Count, Short, En, "0");
    check("12345", Count, Short, En, "12,345");
    check("99999", Count, Short, En, "99,999");
    check("100000", Count, Short, En, "100K");
    check("999960", Count, Short, En, "1M");
    check("1234567", Count, Short, En, "1.2M");
    check("123456789", Count, Short, En, "123M");
    check("9876543210", Count, Short, En, "9.9B");
    check("-1234567", Count, Short, En, "−1.2M");
    check("1234567", Count, Exact, En, "1,234,567");
    check("90566", Count, Column, En, "90.6K");
    check("9566", Count, Column, En, "9,566");
    check("2.45", Count, Short, En, "2.5");
    check("12345", Count, Short, ZhCn, "12,345");
    check("1234567", Count, Short, ZhCn, "123万");
    check("123456789", Count, Short, ZhCn, "1.2亿");
    check("99999999", Count, Short, ZhCn, "1亿");
}

#[test]
fn ratios() {
    check("0.042", Ratio, Short, En, "4.2 %");
    check("0.042", Ratio, Short, ZhCn, "4.2%");
    check("0.00423", Ratio, Short, En, "0.42 %");
    check("0", Ratio, Short, En, "0.0 %");
    check("1", Ratio, Short, En, "100.0 %");
    check("0.0421357", Ratio, Exact, En, "4.214 %");
}

#[test]
fn durations() {
    check("320", Milliseconds, Short, En, "320 ms");
    check("3.24", Milliseconds, Short, En, "3.2 ms");
    check("1320", Milliseconds, Short, En, "1,320 ms");
    check("12340", Milliseconds, Short, En, "12.3 s");
    check("12340", Milliseconds, Short, ZhCn, "12.3 秒");
    check("599999", Milliseconds, Short, En, "600.0 s");
    check("600000", Milliseconds, Short, En, "10.0 min");
    check("86687900", Milliseconds, Short, En, "24.1 h");
    check("86687900", Milliseconds, Column, ZhCn, "24.1 小时");
    check("12340", Milliseconds, Exact, En, "12,340 ms");
}

#[test]
fn amounts() {
    check("12345.67", Money, Short, En, "$12.3K");
    check("1234.5", Money, Short, En, "$1,235");
    check("12.5", Money, Short, En, "$12.50");
    check("-12345.67", Money, Short, En, "−$12.3K");
    check("-0.001", Money, Short, En, "$0.00");
    check("12345.67", Money, Exact, En, "$12,345.67");
    check("0.00042", Money, Exact, En, "$0.0004");
    check("12345.67", Money, Short, ZhCn, "US$1.2万");
    let francs = print("1234".parse().unwrap(), Money, Some("CHF"), Exact, En);
    assert_eq!(francs, "CHF\u{a0}1,234.00");
    let yen = print("1234".parse().unwrap(), Money, Some("JPY"), Exact, En);
    assert_eq!(yen, "JP¥1,234");
}

#[test]
fn nothing_is_not_zero() {
    assert_eq!(print_or_absent(None, Ratio, None, Short, En), "–");
}

#[test]
fn the_largest_numbers_print() {
    for value in [Decimal::MAX, Decimal::MIN, Decimal::new(1, 28)] {
        for unit in [Count, Ratio, Milliseconds, Money] {
            for precision in [Short, Column, Exact] {
                for language in Language::ALL {
                    assert!(!print(value, unit, Some("EUR"), precision, language).is_empty());
                }
            }
        }
    }
}
