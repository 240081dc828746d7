//! Whatever is accepted, voided, corrected and moved to the tables: the net is what a simple model says, at
//! every cut.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arrow::{array::Array, datatypes::Decimal128Type};
use bytes::Bytes;
use datafusion::prelude::SessionContext;

use super::*;
use crate::{Cut, Delivery, Location, Outcome, Reader, Settings, Tables, scan::LakeScan};

const DAY: i64 = 86_400_000_000;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000_000;
const ORGANIZATIONS: [&str; 2] = ["org_a", "org_b"];

fn clock() -> i64 {
    static NOW: AtomicI64 = AtomicI64::new(START + 20 * DAY);
    NOW.fetch_add(1_000_000, Ordering::Relaxed)
}

async fn open(dir: &Path) -> Lakehouse {
    let settings =
        Settings { flush_age: Duration::from_secs(3600), clock, ..Settings::sample(dir) };
    Lakehouse::open(settings).await.unwrap()
}

fn reader(dir: &Path) -> Reader {
    Reader::open(&Location::folder(&dir.join("lake")).unwrap(), &dir.join("log")).unwrap()
}

/// The same numbers each time.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: i64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % n
    }
}

/// What counts of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fact {
    day: i64,
    tokens: i64,
    cost: i64,
}

type Model = BTreeMap<(usize, String), Fact>;

fn name((organization, id): &(usize, String)) -> EventName {
    EventName {
        organization: OrganizationId::parse(ORGANIZATIONS[*organization]),
        source: "/s".into(),
        id: id.clone(),
    }
}

fn line(key: &(usize, String), fact: Fact) -> String {
    let time = ingest::time::to_rfc3339(START + fact.day * DAY + 7);
    format!(
        "{{\"id\":\"{}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"{}\",\"time\":\"{time}\",\
         \"data\":{{\"model\":\"m\",\"input_tokens\":{},\"cost\":{},\"currency\":\"USD\"}}}}\n",
        key.1, ORGANIZATIONS[key.0], fact.tokens, fact.cost
    )
}

async fn send(lakehouse: &Lakehouse, lines: String) {
    let delivery = Delivery::of_history(Bytes::from(lines));
    let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
    let Outcome::Settled(verdicts, _) = outcome else { panic!("{outcome:?}") };
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted), "{verdicts:?}");
}

fn context(tables: &Tables, organization: Option<&OrganizationId>) -> SessionContext {
    let context = SessionContext::new();
    let url = url::Url::parse(&tables.root.store_url()).unwrap();
    context.register_object_store(&url, Arc::clone(&tables.root.store));
    let ledger = || LakeScan::new(tables, Table::UsageLedger, organization);
    context.register_table("usage_ledger", Arc::new(ledger())).unwrap();
    context.register_table("usage_events", Arc::new(ledger().net())).unwrap();
    context
}

async fn rows(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

async fn chain(reader: &mut Reader, cut: &Cut, key: &(usize, String)) -> Option<Chain> {
    let tables = reader.at(cut).await.unwrap();
    let event = name(key);
    let context = context(&tables, event.organization.as_ref());
    Chain::read(
        &event,
        Table::UsageLedger,
        &rows(&context, &Chain::question(&event, Table::UsageLedger)).await,
    )
    .unwrap()
}

async fn change(
    lakehouse: &Lakehouse,
    chain: &Chain,
    change: &Change,
    window: Window,
) -> ChangeOutcome {
    match lakehouse.prepare(chain, change, window).unwrap() {
        Ok(prepared) => lakehouse.append(prepared).await.unwrap(),
        Err(outcome) => outcome,
    }
}

fn correction(fact: Fact) -> Change {
    let data = format!("{{\"input_tokens\":{},\"cost\":{}}}", fact.tokens, fact.cost);
    let occurred_at = Some(START + fact.day * DAY + 7);
    Change::Correct { occurred_at, data: Some(RawValue::from_string(data).unwrap()) }
}

/// Rows, tokens and costs of a table by day, and the bare count.
async fn totals(context: &SessionContext, table: &str) -> (i64, BTreeMap<i64, (i64, i64, i128)>) {
    let sql = format!(
        "select cast(event_date as int) as day, count(*), sum(input_tokens), sum(cost) from {table} group by 1"
    );
    let mut days = BTreeMap::new();
    for rows in rows(context, &sql).await {
        let number = |n: usize, row| rows.column(n).as_primitive::<Int64Type>().value(row);
        let days_of = rows.column(0).as_primitive::<arrow::datatypes::Int32Type>();
        for row in 0..rows.num_rows() {
            let cost = rows.column(3).as_primitive::<Decimal128Type>().value(row);
            let day = i64::from(days_of.value(row)) - START / DAY;
            days.insert(day, (number(1, row), number(2, row), cost));
        }
    }
    let bare = rows(context, &format!("select count(*) from {table}")).await;
    (bare[0].column(0).as_primitive::<Int64Type>().value(0), days)
}

fn expected(model: &Model, organization: Option<usize>) -> (i64, BTreeMap<i64, (i64, i64, i128)>) {
    let mut days: BTreeMap<i64, (i64, i64, i128)> = BTreeMap::new();
    let mut bare = 0;
    for (key, fact) in model {
        if organization.is_none_or(|own| own == key.0) {
            let day = days.entry(fact.day).or_default();
            day.0 += 1;
            day.1 += fact.tokens;
            day.2 += i128::from(fact.cost) * 1_000_000_000_000;
            bare += 1;
        }
    }
    (bare, days)
}

/// The net is the model, and the ledger's sums are the net's: for everybody, or for one organization.
async fn check(reader: &mut Reader, cut: &Cut, model: &Model, own: Option<usize>) {
    let tables = reader.at(cut).await.unwrap();
    let id = own.map(|own| OrganizationId::parse(ORGANIZATIONS[own]).unwrap());
    let context = context(&tables, id.as_ref());
    let net = totals(&context, "usage_events").await;
    assert_eq!(net, expected(model, own), "{own:?} at {}", cut.lsn);
    let (_, ledger) = totals(&context, "usage_ledger").await;
    for (day, (_, tokens, cost)) in ledger {
        let net = net.1.get(&day).copied().unwrap_or_default();
        assert_eq!((tokens, cost), (net.1, net.2), "day {day}, {own:?} at {}", cut.lsn);
    }
}

/// A lake on which things happen, and what should be in it.
struct History {
    lakehouse: Lakehouse,
    reader: Reader,
    seeded: Seeded,
    model: Model,
    ids: Vec<(usize, String)>,
    changed: usize,
}

impl History {
    fn fact(&mut self) -> Fact {
        let mut below = |n| self.seeded.below(n);
        Fact { day: below(4), tokens: below(100), cost: below(9) }
    }

    async fn chain(&mut self, key: &(usize, String)) -> Chain {
        chain(&mut self.reader, &self.lakehouse.cut(), key).await.unwrap()
    }

    async fn accept(&mut self, step: usize) {
        let mut lines = String::new();
        for n in 0..=self.seeded.below(5) {
            let key = (self.seeded.below(2) as usize, format!("e{step}-{n}"));
            let fact = self.fact();
            lines += &line(&key, fact);
            self.model.insert(key.clone(), fact);
            self.ids.push(key);
        }
        send(&self.lakehouse, lines).await;
    }

    async fn void(&mut self, key: &(usize, String)) {
        let chain = self.chain(key).await;
        let done = change(&self.lakehouse, &chain, &Change::Void, Window::ANY).await;
        let was = self.model.remove(key);
        assert_eq!(done, if was.is_some() { ChangeOutcome::Done } else { ChangeOutcome::Already });
        self.changed += 1;
    }

    async fn correct(&mut self, key: &(usize, String)) {
        let chain = self.chain(key).await;
        let better = self.fact();
        let done = change(&self.lakehouse, &chain, &correction(better), Window::ANY).await;
        let expected = match self.model.get_mut(key) {
            None => ChangeOutcome::IsVoid,
            Some(was) if *was == better => ChangeOutcome::Already,
            Some(was) => {
                *was = better;
                ChangeOutcome::Done
            }
        };
        assert_eq!(done, expected);
        self.changed += usize::from(done == ChangeOutcome::Done);
    }

    /// Two changes of what both have read: the log takes the first.
    async fn race(&mut self, key: &(usize, String)) {
        let chain = self.chain(key).await;
        let Some(was) = self.model.get_mut(key) else { return };
        let better = Fact { tokens: was.tokens + 1, ..*was };
        let (void, correct) = (Change::Void, correction(better));
        let is_void_first = self.seeded.below(2) == 0;
        let (first, second) = if is_void_first { (&void, &correct) } else { (&correct, &void) };
        let first = change(&self.lakehouse, &chain, first, Window::ANY).await;
        let second = change(&self.lakehouse, &chain, second, Window::ANY).await;
        assert_eq!((first, second), (ChangeOutcome::Done, ChangeOutcome::Meanwhile));
        if is_void_first {
            self.model.remove(key);
        } else {
            *was = better;
        }
        self.changed += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_net_is_what_a_simple_model_says_at_every_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History {
        lakehouse: open(dir.path()).await,
        reader: reader(dir.path()),
        seeded: Seeded(1),
        model: Model::new(),
        ids: Vec::new(),
        changed: 0,
    };
    let mut cuts = Vec::new();
    for step in 0..40 {
        let kind = history.seeded.below(8);
        let any = history.seeded.below(history.ids.len().max(1) as i64) as usize;
        match (kind, history.ids.get(any).cloned()) {
            (0 | 1, _) | (_, None) => history.accept(step).await,
            (2, _) => {
                history.lakehouse.flush().await.unwrap();
            }
            (3, Some(key)) => history.void(&key).await,
            (4, Some(key)) => history.race(&key).await,
            (_, Some(key)) => history.correct(&key).await,
        }
        let own = [None, Some(0), Some(1)][step % 3];
        let cut = history.lakehouse.cut();
        check(&mut history.reader, &cut, &history.model, own).await;
        cuts.push((cut, own, history.model.clone()));
    }
    let History { lakehouse, mut reader, model, changed, .. } = history;
    assert!(changed > 10, "{changed} changes");
    lakehouse.flush().await.unwrap();
    // Each cut again, in what the tables are by now.
    let now = lakehouse.cut();
    for (cut, own, model) in &cuts {
        check(&mut reader, &now.clone().back_to_token(&cut.plain_token()).unwrap(), model, *own)
            .await;
    }
    lakehouse.close().await.unwrap();
    drop(lakehouse);
    let again = open(dir.path()).await;
    check(&mut self::reader(dir.path()), &again.cut(), &model, None).await;
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_done_once_and_noted_on_its_days() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = open(dir.path()).await;
    let key = (0, "it's".to_owned());
    let fact = Fact { day: 1, tokens: 5, cost: 1 };
    send(&lakehouse, line(&key, fact)).await;
    let mut reader = reader(dir.path());
    assert!(chain(&mut reader, &lakehouse.cut(), &(1, "it's".into())).await.is_none(), "another's");
    let before = lakehouse.cut();
    let read = chain(&mut reader, &before, &key).await.unwrap();
    assert_eq!((read.generation(), read.standing().unwrap().lsn()), (0, 1));
    let late = Window::at(START + 60 * DAY);
    let refused = change(&lakehouse, &read, &Change::Void, late).await;
    assert!(
        matches!(refused, ChangeOutcome::Rejected(why) if why.code == ingest::RejectionCode::TimeTooOld)
    );
    let moved = correction(Fact { day: 3, ..fact });
    for outcome in [ChangeOutcome::Done, ChangeOutcome::Already] {
        assert_eq!(change(&lakehouse, &read, &moved, Window::ANY).await, outcome);
    }
    let changes = lakehouse.changes();
    let last = |day: i64| {
        changes.last(Table::UsageLedger, Some(START + day * DAY), START + (day + 1) * DAY)
    };
    assert_eq!([last(1), last(2), last(3)], [3, 0, 3], "the old day and the new one");
    let read = chain(&mut reader, &lakehouse.cut(), &key).await.unwrap();
    assert_eq!((read.generation(), read.standing().unwrap().lsn()), (1, 3));
    for outcome in [ChangeOutcome::Done, ChangeOutcome::Already] {
        assert_eq!(change(&lakehouse, &read, &Change::Void, Window::ANY).await, outcome);
    }
    let read = chain(&mut reader, &lakehouse.cut(), &key).await.unwrap();
    assert_eq!((read.generation(), read.standing().is_none()), (2, true));
    let done = change(&lakehouse, &read, &moved, Window::ANY).await;
    assert_eq!(done, ChangeOutcome::IsVoid);
    assert_eq!(chain(&mut reader, &before, &key).await.unwrap().generation(), 0);
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_with_hidden_rows_are_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = open(dir.path()).await;
    let fact = |day| Fact { day, tokens: 1, cost: 0 };
    for round in 0..2 {
        let lines = (0..3).map(|day| line(&(0, format!("{round}-{day}")), fact(day)));
        send(&lakehouse, lines.collect()).await;
        lakehouse.flush().await.unwrap();
    }
    let mut reader = reader(dir.path());
    let barriers = async |reader: &mut Reader, sql: &str| {
        let tables = reader.at(&lakehouse.cut()).await.unwrap();
        let plan =
            context(&tables, None).sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string();
        (text.matches("BarrierExec").count(), text.matches(".zstd.parquet").count())
    };
    let bare = "select count(*) from usage_events";
    assert_eq!(barriers(&mut reader, bare).await, (0, 6), "nothing was corrected");
    let read = chain(&mut reader, &lakehouse.cut(), &(0, "0-1".into())).await.unwrap();
    change(&lakehouse, &read, &Change::Void, Window::ANY).await;
    lakehouse.flush().await.unwrap();
    assert_eq!(barriers(&mut reader, bare).await.0, 1);
    let day = |day: i64| {
        let from = ingest::time::to_rfc3339(START + day * DAY);
        let to = ingest::time::to_rfc3339(START + (day + 1) * DAY);
        format!(
            "select sum(input_tokens) from usage_events where occurred_at >= '{from}' and occurred_at < '{to}'"
        )
    };
    assert_eq!(barriers(&mut reader, &day(0)).await, (0, 2), "a day without corrections");
    assert_eq!(barriers(&mut reader, &day(1)).await, (1, 3));
    let tables = reader.at(&lakehouse.cut()).await.unwrap();
    let sum = rows(&context(&tables, None), &day(1)).await;
    assert_eq!(sum[0].column(0).as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(sum[0].column(0).null_count(), 0);
    lakehouse.close().await.unwrap();
}
