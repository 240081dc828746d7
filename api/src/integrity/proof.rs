//! One check: the folder is read at a cut, by its files and by queries, and both are compared.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use arrow::{
    array::{Array, AsArray},
    datatypes::{Date32Type, Decimal128Type, Int64Type},
};
use ingest::{Table, dedup::Index, log, schema};
use pipeline::{
    Cut, Location,
    check::{self, CheckRequest, Difference, DifferenceKind, Proof, Sum, SumKey, Sums, summed},
    correction::ledger,
};
use query::{Engine, Request, RowAccess};
use serde::{Deserialize, Serialize};
use state::{
    clock::Clock,
    folder,
    outbox::{self, Unreadable},
    secret::Secret,
};
use tokio::io::AsyncWriteExt;

use super::{
    ServerCounts,
    rollups::{self, RollupCheck},
};
use crate::{
    config::{self, Config},
    erasure::keep_away,
    features, lake,
    metering::QuotaCheck,
};

/// A server that runs on the folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerAccess {
    pub(crate) url: String,
    pub(crate) token: String,
}

/// What a check of a folder came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    #[serde(flatten)]
    pub(crate) proof: Proof,
    /// Pairs of an organization and a day whose sums were compared, by currency.
    pub(crate) sums: u64,
    /// What of the rollups was compared with the events.
    pub(crate) rollups: RollupCheck,
    /// What the running server had counted; absent without one.
    pub(crate) accepted_events: Option<u64>,
    /// How its counters of quotas compare; absent without a server.
    pub(crate) quotas: Option<QuotaCheck>,
}

/// What the server tells the process that checks, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CheckAssignment {
    pub(super) dir: std::path::PathBuf,
    /// A configuration keeps its secrets to itself.
    pub(super) location: Location,
    pub(super) config: Config,
    pub(super) server: ServerAccess,
}

/// A check has no deadline of its own: it takes as long as the tables are large.
pub(super) const DEADLINE_MS: u64 = 24 * 3_600 * 1_000;
/// A server that says nothing for so long is given up: it reads the events of a month before it answers.
const SILENCE_MAX: Duration = Duration::from_secs(900);
/// The tables whose sums are compared.
const SUMMED: [Table; 4] =
    [Table::UsageLedger, Table::BillingEvents, Table::ActivityEvents, Table::DeadLetter];

/// Checks the folder of `config`, at one cut.
pub(crate) async fn prove(
    config: &Config,
    server: Option<&ServerAccess>,
    clock: &Clock,
) -> anyhow::Result<CheckReport> {
    let _lock = keep_away(&config.dir).await?;
    let scratch = tempfile::Builder::new()
        .prefix("check-")
        .tempdir_in(&config.dir)
        .with_context(|| format!("making room in {}", config.dir.display()))?;
    let engine = Engine::here(&lake::handshake(config, scratch.path().join("spill"))?)?;
    let entries = scratch.path().join("index");
    let standing = match server {
        Some(server) => {
            let standing = server.standing().await?;
            server.identities(&entries).await?;
            Some(standing)
        }
        None => None,
    };
    let cut = match &standing {
        Some(standing) => standing.cut.clone(),
        None => {
            write_index(config, &entries)?;
            engine.newest().await?
        }
    };
    let question = CheckRequest {
        location: lake::location(config)?,
        log_dir: folder::LOG.of(&config.dir),
        cut: cut.clone(),
        entries,
        scratch: scratch.path().to_path_buf(),
        since: standing.as_ref().map_or(0, |standing| standing.started_at_lsn),
        removed: config.retention.removes_rows(),
    };
    let mut proof = check::check(&question).await?;
    compare_sums(&engine, &cut, clock, &mut proof).await;
    let rollups = rollups::compare(&engine, &cut, clock, &mut proof).await;
    let accepted_events = standing.as_ref().map(|standing| standing.accepted_events);
    if let Some(standing) = standing
        && !config.retention.removes_rows()
    {
        let stored = proof.events_since;
        if stored < standing.accepted_events {
            proof.add(Difference {
                kind: DifferenceKind::Counter,
                table: None,
                detail: format!(
                    "the server accepted {} events since it started, {stored} are stored",
                    standing.accepted_events
                ),
            });
        }
    }
    let quotas = match server {
        Some(server) => compare_quotas(server, &mut proof).await,
        None => None,
    };
    let store = features::open_store(config).await?;
    for Unreadable { id, reason } in outbox::held_back(&store).await? {
        proof.add(Difference {
            kind: DifferenceKind::Outbox,
            table: None,
            detail: format!("the change {id} of the state is not mirrored: {reason}"),
        });
    }
    let sums = proof.sums.len() as u64;
    Ok(CheckReport { sums, proof, rollups, accepted_events, quotas })
}

/// Compares the sums of the files with those of queries.
async fn compare_sums(engine: &Engine, cut: &Cut, clock: &Clock, proof: &mut Proof) {
    for table in SUMMED {
        match queried(engine, table, cut, clock).await {
            Ok(sums) => proof.compare_sums(table, &sums),
            Err(error) => proof.add(Difference {
                kind: DifferenceKind::Sum,
                table: Some(table.name().to_owned()),
                detail: format!("queries do not answer: {error:#}"),
            }),
        }
    }
}

/// Lets the server compare its counters of quotas with the tables.
async fn compare_quotas(server: &ServerAccess, proof: &mut Proof) -> Option<QuotaCheck> {
    match server.quotas().await {
        Ok(quotas) => {
            let details = quotas.differences.iter().map(|detail| format!("quotas: {detail}"));
            for detail in details {
                proof.add(Difference { kind: DifferenceKind::Counter, table: None, detail });
            }
            Some(quotas)
        }
        // The tables are read for it: what they lack is told above.
        Err(error) => {
            tracing::warn!("the counters of quotas are not compared: {error:#}");
            None
        }
    }
}

/// What the child of a server does: one check, its order on standard input, the answer on standard output.
pub(crate) async fn worker() -> anyhow::Result<()> {
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order)?;
    let order: CheckAssignment = serde_json::from_str(&order)?;
    let options = order.location.options.into_iter();
    let lake = config::Lake {
        url: order.location.url.to_string(),
        options: options.map(|(name, value)| (name, Secret::new(value))).collect(),
    };
    let config = Config { dir: order.dir, lake, ..order.config };
    let checked = prove(&config, Some(&order.server), &Clock::system()).await?;
    let mut out = std::io::stdout().lock();
    out.write_all(&serde_json::to_vec(&checked)?)?;
    Ok(out.flush()?)
}

impl ServerAccess {
    pub(crate) async fn standing(&self) -> anyhow::Result<ServerCounts> {
        let answer = self.get("cut").await?;
        Ok(answer.json().await?)
    }

    /// How the server's counters of quotas compare with the tables.
    async fn quotas(&self) -> anyhow::Result<QuotaCheck> {
        let answer = self.get("quotas").await?;
        Ok(answer.json().await?)
    }

    /// Writes the server's index to a file.
    pub(crate) async fn identities(&self, path: &Path) -> anyhow::Result<()> {
        let mut answer = self.get("identities").await?;
        let mut file = tokio::fs::File::create(path).await?;
        while let Some(piece) = answer.chunk().await.context("reading the server's index")? {
            file.write_all(&piece).await?;
        }
        Ok(file.flush().await?)
    }

    async fn get(&self, name: &str) -> anyhow::Result<reqwest::Response> {
        let client = reqwest::Client::builder().read_timeout(SILENCE_MAX).build()?;
        let request = client.get(format!("{}/v1/integrity/{name}", self.url));
        let answer = request.bearer_auth(&self.token).send().await.context("asking the server")?;
        ensure!(answer.status().is_success(), "the server answers {}", answer.status());
        Ok(answer)
    }
}

/// Writes the index of a folder that no server runs on.
pub(crate) fn write_index(config: &Config, path: &Path) -> anyhow::Result<u64> {
    let dir = folder::INDEX.of(&config.dir);
    let log = log::describe(&folder::LOG.of(&config.dir))?;
    let Some(log) = log.filter(|_| dir.is_dir()) else {
        return Ok(check::write_entries(path, std::iter::empty())?);
    };
    let index = Index::open(&dir, log.log).context("opening the index; is a server running?")?;
    Ok(check::write_entries(path, index.entries())?)
}

/// The sums that queries come to.
async fn queried(engine: &Engine, table: Table, cut: &Cut, clock: &Clock) -> anyhow::Result<Sums> {
    let has_currency = table.columns().iter().any(|column| column.name == "currency");
    let currency = if has_currency { "currency" } else { "cast(null as varchar)" };
    // As wide as what the files are added up in.
    let is_count = |name: &str| {
        table
            .columns()
            .iter()
            .any(|column| column.name == name && column.kind == schema::ColumnType::Count)
    };
    let columns: String = summed(table)
        .iter()
        .map(|name| match is_count(name) {
            true => format!(", sum(cast({name} as decimal(38, 0))) as {name}"),
            false => format!(", sum({name}) as {name}"),
        })
        .collect();
    let sql = format!(
        "select organization_id, event_date, {currency} as currency, count(*) as n{columns} \
         from {} group by 1, 2, 3",
        ledger(table)
    );
    let now = clock.now().timestamp_micros();
    let request = Request::of_ourselves(sql, RowAccess::Admin, cut.clone(), now, DEADLINE_MS);
    let request = Request { gives_way: true, ..request };
    let answer = engine.run(request).await?;
    let mut sums = BTreeMap::new();
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let (key, sum) = read_sum(table, batch, row)?;
            sums.insert(key, sum);
        }
    }
    Ok(sums)
}

fn read_sum(
    table: Table,
    rows: &arrow::record_batch::RecordBatch,
    row: usize,
) -> anyhow::Result<(SumKey, Sum)> {
    let text = |at: usize| {
        let column = rows.column(at);
        let texts = column.as_string_opt::<i32>().filter(|_| column.is_valid(row))?;
        Some(texts.value(row).to_owned())
    };
    let date = rows.column(1).as_primitive_opt::<Date32Type>().context("a date")?.value(row);
    let counts = rows.column(3).as_primitive_opt::<Int64Type>().context("a count")?;
    let mut amounts = Vec::new();
    for column in &rows.columns()[4..] {
        if column.is_null(row) {
            amounts.push(0);
        } else if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
            amounts.push(i128::from(counts.value(row)));
        } else if let Some(money) = column.as_primitive_opt::<Decimal128Type>() {
            amounts.push(money.value(row));
        } else {
            bail!("a sum is {}", column.data_type());
        }
    }
    let key = SumKey { table, organization: text(0), date, currency: text(2) };
    Ok((key, Sum { rows: counts.value(row).unsigned_abs(), amounts }))
}
