//! `aihub billing`: prices and bills without a server, and billing on the server that runs on a folder.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use billing::{Bill, PriceList, RateRequest};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::{Folder, ReportFormat, running::OwnServer, say, say_row};

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
    /// Check, preview and store prices
    #[command(subcommand)]
    Price(Price),
    /// Bring all subscriptions up to date on the server that runs on the folder
    ///
    /// The server does it every ten minutes. Nothing is billed twice, whenever it is begun.
    Run,
    /// Show what the next invoice of an organization would be, if its period ended now
    Preview {
        /// The organization
        organization: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Price {
    /// Read a price list, and list its prices with the days on which they begin
    Check {
        /// The list in YAML; `-` is standard input
        file: PathBuf,
    },
    /// Show what the last billing periods would have cost by a list, on the server that runs on the folder
    Preview {
        /// The list in YAML; `-` is standard input
        file: PathBuf,
    },
    /// Store the plans and models of a list; versions that were used stay as they are
    Apply {
        /// The list in YAML; `-` is standard input
        file: PathBuf,
    },
}

impl Billing {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        match self {
            Self::Rate { file, format } => {
                let bill = RateRequest::parse(&text(&file)?)?.bill()?;
                match format {
                    ReportFormat::Json => Ok(say(&format!("{}\n", serde_json::to_string(&bill)?))?),
                    ReportFormat::Text => say_bill(&bill),
                }
            }
            Self::Price(Price::Check { file }) => say_prices(&PriceList::parse(&text(&file)?)?),
            Self::Price(Price::Preview { file }) => {
                let path = "/v1/admin/prices/preview";
                say_preview(&sent(folder, Method::POST, path, &file).await?)
            }
            Self::Price(Price::Apply { file }) => {
                let applied = sent(folder, Method::PUT, "/v1/admin/prices", &file).await?;
                for (what, names) in
                    [("stored", &applied["stored"]), ("removed", &applied["removed"])]
                {
                    for name in names.as_array().into_iter().flatten() {
                        say_row(&[what, name.as_str().unwrap_or_default()])?;
                    }
                }
                say_row(&["unchanged", &applied["unchanged"].to_string()])?;
                Ok(())
            }
            Self::Run => {
                let server = OwnServer::of(folder).await?;
                say_run(&server.ask(Method::POST, "/v1/billing/runs", None).await?)
            }
            Self::Preview { organization } => {
                let server = OwnServer::of(folder).await?;
                let request = server.request(Method::GET, "/v1/invoices/preview");
                say_invoice(&server.answer(request.query(&[("organization", organization)])).await?)
            }
        }
    }
}

/// Sends a price list to the server that runs on a folder.
async fn sent(folder: &Folder, method: Method, path: &str, file: &Path) -> anyhow::Result<Value> {
    let list = text(file)?;
    // What is no list is refused here, with the line.
    PriceList::parse(&list)?;
    let server = OwnServer::of(folder).await?;
    let request = server.request(method, path).header("content-type", "application/yaml");
    server.answer(request.body(list)).await
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn say_preview(preview: &Value) -> anyhow::Result<()> {
    say_row(&["organization", "from", "to", "now", "then", "currency"])?;
    for bill in preview["organizations"].as_array().into_iter().flatten() {
        let cells = ["organization_id", "from", "to", "now", "then", "currency"];
        say_row(&cells.map(|name| word(&bill[name])))?;
    }
    say_row(&["unchanged", &preview["unchanged"].to_string()])?;
    for total in preview["totals"].as_array().into_iter().flatten() {
        let [now, then, currency] = ["now", "then", "currency"].map(|name| word(&total[name]));
        say_row(&["total", "", "", now, then, currency])?;
    }
    for problem in preview["problems"].as_array().into_iter().flatten() {
        say_row(&["problem", word(problem)])?;
    }
    Ok(())
}

fn say_run(report: &Value) -> anyhow::Result<()> {
    let counts = ["subscriptions", "drafts", "invoices", "credit_notes", "rated_rows", "reminders"];
    for name in counts {
        say_row(&[name, &report[name].to_string()])?;
    }
    let failures = report["failures"].as_array().map_or(&[][..], Vec::as_slice);
    for failure in failures {
        let cells = ["organization_id", "subscription_id", "reason"];
        let [organization, subscription, reason] = cells.map(|name| word(&failure[name]));
        say_row(&["failed", organization, subscription, reason])?;
    }
    match failures.len() {
        0 => Ok(()),
        count => bail!("{count} subscriptions could not be billed"),
    }
}

fn say_invoice(invoice: &Value) -> anyhow::Result<()> {
    say_row(&["charge", "plan", "from", "to", "quantity", "amount"])?;
    for line in invoice["lines"].as_array().into_iter().flatten() {
        let cells = ["charge", "plan", "from", "to", "quantity", "amount"];
        say_row(&cells.map(|name| word(&line[name])))?;
    }
    let currency = word(&invoice["currency"]);
    for name in ["subtotal", "tax", "total", "credit", "due"] {
        say_row(&[name, &format!("{} {currency}", word(&invoice[name]))])?;
    }
    say_row(&["billed on", word(&invoice["billed_on"])])?;
    for problem in invoice["problems"].as_array().into_iter().flatten() {
        say_row(&["problem", word(problem)])?;
    }
    Ok(())
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
