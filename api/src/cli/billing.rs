//! `aihub billing`: prices and bills, without a server.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use billing::{Bill, PriceList, RateRequest};
use clap::Subcommand;

use super::{ReportFormat, say, say_row};

#[derive(Debug, Subcommand)]
pub(super) enum Billing {
    /// Rate the charges and quantities of a file: lines, discounts, tax and what is due
    Rate {
        /// The request in YAML; `-` is standard input
        file: PathBuf,
        /// How to say it
        #[arg(long, value_enum, default_value = "text")]
        format: ReportFormat,
    },
    /// Check a price list
    #[command(subcommand)]
    Price(Price),
}

#[derive(Debug, Subcommand)]
pub(super) enum Price {
    /// Read a price list, and list its prices with the days on which they begin
    Check {
        /// The list in YAML; `-` is standard input
        file: PathBuf,
    },
}

impl Billing {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Rate { file, format } => {
                let bill = RateRequest::parse(&text(&file)?)?.bill()?;
                match format {
                    ReportFormat::Json => Ok(say(&format!("{}\n", serde_json::to_string(&bill)?))?),
                    ReportFormat::Text => say_bill(&bill),
                }
            }
            Self::Price(Price::Check { file }) => say_prices(&PriceList::parse(&text(&file)?)?),
        }
    }
}

fn text(file: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", file.display());
    if file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).with_context(reading)?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(reading)
}

fn say_bill(bill: &Bill) -> anyhow::Result<()> {
    say_row(&["charge", "kind", "quantity", "unit", "gross", "discount", "capped", "amount"])?;
    for line in &bill.lines {
        let kind = serde_json::to_value(line.kind)?;
        let unit = line.unit.map(|unit| unit.to_string()).unwrap_or_default();
        say_row(&[
            &line.charge,
            kind.as_str().unwrap_or_default(),
            &line.quantity.to_string(),
            &unit,
            &line.gross.to_string(),
            &line.discount.to_string(),
            &line.capped.to_string(),
            &line.amount.to_string(),
        ])?;
    }
    let tax = format!("tax ({} %)", bill.tax_percent);
    for (name, amount) in [
        ("subtotal", bill.subtotal),
        ("coupon", -bill.coupon),
        (tax.as_str(), bill.tax),
        ("total", bill.total),
        ("credit", -bill.credit),
        ("due", bill.due),
    ] {
        say_row(&[name, &format!("{amount} {}", bill.currency.as_str())])?;
    }
    Ok(())
}

fn say_prices(list: &PriceList) -> anyhow::Result<()> {
    say_row(&["kind", "name", "version", "from", "currency", "price"])?;
    for prices in &list.plans {
        for (number, version) in (1_usize..).zip(&prices.versions) {
            let charges: Vec<_> = version.charges.iter().map(|one| one.name.as_str()).collect();
            let (number, from) = (number.to_string(), version.from.to_string());
            let currency = version.currency.as_str();
            say_row(&["plan", &prices.plan, &number, &from, currency, &charges.join(", ")])?;
        }
    }
    for prices in &list.models {
        for (number, version) in (1_usize..).zip(&prices.versions) {
            let (input, output) = (version.tokens.input, version.tokens.output);
            let (number, from) = (number.to_string(), version.from.to_string());
            let price = format!("{input} in, {output} out per million tokens");
            let currency = version.currency.as_str();
            say_row(&["model", &prices.model, &number, &from, currency, &price])?;
        }
    }
    Ok(())
}
