//! Pruning never changes an answer, and nothing passes the barrier.

use std::{collections::BTreeMap, path::Path};

use arrow::{
    array::AsArray,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use datafusion::{
    common::Statistics,
    physical_plan::{
        ExecutionPlanProperties,
        statistics::{StatisticsArgs, StatisticsContext},
    },
    prelude::SessionContext,
};
use ingest::{
    decode::{
        EventFormat, Sender,
        correction::{Amendment, LedgerRow},
        decode,
    },
    identity::Pseudonyms,
    log::{LogId, LogWriter, Lsn, Record},
    time::Window,
};

use super::*;
use crate::{Cut, LakeTable, Location, Reader, Root, TableVersion, threads::Threads};

const LOG: LogId = LogId(4);
const DAY: i64 = 86_400_000_000;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000_000;
const ORGANIZATIONS: [&str; 4] = ["org_a", "org_b", "org_c", "z"];

/// The same numbers each time.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: i64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % n
    }
}

/// The rows that a filter lets through, by another way.
type Wanted<'a> = Box<dyn Fn(&Fact) -> bool + 'a>;

#[derive(Debug, Clone)]
struct Fact {
    organization: &'static str,
    at: i64,
    tokens: i64,
}

/// Times cluster around milliseconds and midnights, where rounding would show.
fn facts(seeded: &mut Seeded, count: usize) -> Vec<Fact> {
    let near = [0, 1, 999, 1_000, DAY - 1, DAY - 999];
    (0..count)
        .map(|_| Fact {
            organization: ORGANIZATIONS[seeded.below(4) as usize],
            at: START
                + seeded.below(6) * DAY
                + near[seeded.below(6) as usize]
                + seeded.below(3) * 500,
            tokens: seeded.below(50),
        })
        .collect()
}

fn record(first_lsn: Lsn, facts: &[Fact]) -> Record {
    let lines: String = facts
        .iter()
        .enumerate()
        .map(|(row, Fact { organization, at, tokens })| {
            let time = ingest::time::to_rfc3339(*at);
            format!(
                "{{\"id\":\"{first_lsn}-{row}\",\"source\":\"/s\",\"type\":\"usage.request\",\
                 \"subject\":\"{organization}\",\"time\":\"{time}\",\
                 \"data\":{{\"model\":\"a model of {organization}\",\"input_tokens\":{tokens}}}}}\n"
            )
        })
        .collect();
    let sender = Sender {
        organization: None,
        grant: &ingest::Grant::ALL,
        pseudonyms: &Pseudonyms::new([1; 32]),
        window: Window::ANY,
        is_strict: false,
    };
    let mut decoded = decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 0).unwrap().unwrap();
    let rows = decoded.batches.remove(0).rows;
    Record { table: Table::UsageLedger, first_lsn, ingested_at: START, rows }
}

fn root(dir: &Path) -> Root {
    Location::folder(&dir.join("lake")).unwrap().open().unwrap()
}

/// Puts all groups but the last `fresh` ones into the table, each in a commit of its own, and the others into
/// the log only.
async fn lake(dir: &Path, records: &[Record], fresh: usize) -> Tables {
    let log = dir.join("log");
    let (mut writer, _) = LogWriter::open(&log, LOG).unwrap();
    writer.append(records).unwrap();
    let mut table = LakeTable::open_or_create(&root(dir), Table::UsageLedger).await.unwrap();
    let threads = Threads::flushing(false).unwrap();
    let mut mark = TableVersion { version: table.version(), txn: 0 };
    for record in &records[..records.len() - fresh] {
        let record = std::slice::from_ref(record);
        mark = table.append(&threads, LOG, record, record[0].last_lsn(), 0).await.unwrap();
    }
    let cut = Cut {
        log: LOG.0,
        lsn: records[records.len() - 1].last_lsn(),
        floor: mark.txn,
        tables: BTreeMap::from([(Table::UsageLedger.name().to_owned(), mark)]),
        ..Cut::default()
    };
    at(dir, &cut).await
}

async fn at(dir: &Path, cut: &Cut) -> Tables {
    let location = Location::folder(&dir.join("lake")).unwrap();
    Reader::open(&location, &dir.join("log")).unwrap().at(cut).await.unwrap()
}

fn context(tables: &Tables) -> SessionContext {
    let context = SessionContext::new();
    let url = url::Url::parse(&tables.root.store_url()).unwrap();
    context.register_object_store(&url, Arc::clone(&tables.root.store));
    context
}

fn registered(tables: &Tables, scan: LakeScan) -> SessionContext {
    let context = context(tables);
    context.register_table("t", Arc::new(scan)).unwrap();
    context
}

async fn rows(context: &SessionContext, sql: &str) -> Result<RecordBatch> {
    let frame = context.sql(sql).await?;
    let schema = Arc::clone(frame.schema().inner());
    Ok(arrow::compute::concat_batches(&schema, &frame.collect().await?)?)
}

async fn number(context: &SessionContext, sql: &str) -> i64 {
    let rows = rows(context, sql).await.unwrap();
    rows.column(0).as_primitive::<Int64Type>().value(0)
}

fn moment(at: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())))
}

#[tokio::test]
async fn pruning_changes_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut seeded = Seeded(5);
    let (mut records, mut everything) = (Vec::new(), Vec::new());
    for group in 0..7 {
        let mut facts = facts(&mut seeded, 40);
        // Some commits are of one organization or of one day, so that there is something to leave out.
        match group {
            0 => facts.iter_mut().for_each(|fact| fact.organization = "org_b"),
            1 | 2 => facts.iter_mut().for_each(|fact| fact.at = START + (fact.at - START) % DAY),
            _ => {}
        }
        records.push(record(everything.len() as Lsn + 1, &facts));
        everything.extend(facts);
    }
    let tables = lake(dir.path(), &records, 2).await;
    let context = context(&tables);
    let all = tables.contents(Table::UsageLedger).files.len();
    let mut pruned = 0;
    for _ in 0..150 {
        let near = everything[seeded.below(everything.len() as i64) as usize].at;
        let from = near + [-1_000, -1, 0, 1, 999][seeded.below(5) as usize];
        let to = from + [0, 1, 999, 1_000, DAY, 3 * DAY][seeded.below(6) as usize];
        let own = ORGANIZATIONS[seeded.below(4) as usize];
        let time = || col("occurred_at");
        let (filter, wanted): (Expr, Wanted<'_>) = match seeded.below(5) {
            0 => (
                time().gt_eq(moment(from)).and(time().lt(moment(to))),
                Box::new(|f| f.at >= from && f.at < to),
            ),
            1 => (time().eq(moment(from)), Box::new(|f| f.at == from)),
            2 => (time().gt(moment(from)), Box::new(|f| f.at > from)),
            3 => (
                col("organization_id").eq(lit(own)).and(time().lt_eq(moment(to))),
                Box::new(|f| f.organization == own && f.at <= to),
            ),
            _ => (
                col("organization_id").not_eq(lit(own)).or(time().lt(moment(from))),
                Box::new(|f| f.organization != own || f.at < from),
            ),
        };
        let scan = LakeScan::new(&tables, Table::UsageLedger, None);
        pruned += all - scan.files(&context.state(), std::slice::from_ref(&filter)).unwrap().len();
        let frame = context.read_table(Arc::new(scan)).unwrap().filter(filter.clone()).unwrap();
        let found = frame.select_columns(&["input_tokens"]).unwrap().collect().await.unwrap();
        let found: (usize, i64) = found.iter().fold((0, 0), |(count, sum), rows| {
            let tokens = rows.column(0).as_primitive::<Int64Type>();
            (count + rows.num_rows(), sum + tokens.values().iter().sum::<i64>())
        });
        let expected = everything.iter().filter(|fact| wanted(fact)).collect::<Vec<_>>();
        let expected = (expected.len(), expected.iter().map(|fact| fact.tokens).sum());
        assert_eq!(found, expected, "{filter}");
    }
    assert!(pruned > all * 20, "only {pruned} of {} files were left out", all * 150);
}

#[tokio::test]
async fn an_organization_sees_its_own_rows_and_no_statistics_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let everything = facts(&mut Seeded(9), 200);
    let records = [record(1, &everything[..150]), record(151, &everything[150..])];
    // In files and in the log, only in files, only in the log.
    for fresh in [1, 0, 2] {
        let dir = dir.path().join(fresh.to_string());
        let tables = lake(&dir, &records, fresh).await;
        for own in ORGANIZATIONS {
            let id = OrganizationId::parse(own).unwrap();
            let scan = LakeScan::new(&tables, Table::UsageLedger, Some(&id));
            let context = registered(&tables, scan);
            let mine: Vec<_> = everything.iter().filter(|f| f.organization == own).collect();
            assert_eq!(number(&context, "select count(*) from t").await, mine.len() as i64);
            let bounds =
                rows(&context, "select min(occurred_at), max(occurred_at) from t").await.unwrap();
            let bound = |n| bounds.column(n).as_primitive::<TimestampMicrosecondType>().value(0);
            let times = || mine.iter().map(|fact| fact.at);
            assert_eq!((bound(0), bound(1)), (times().min().unwrap(), times().max().unwrap()));
            let others = format!("select count(*) from t where organization_id <> '{own}'");
            assert_eq!(number(&context, &others).await, 0);
            // An error would tell a hidden value, so an expression must not meet hidden rows.
            let hidden = (0..50).find(|n| {
                mine.iter().all(|fact| fact.tokens != *n)
                    && everything.iter().any(|f| f.tokens == *n)
            });
            let hidden = hidden.expect("a number that only others have");
            let probe = format!("select count(*) from t where 1 / (input_tokens - {hidden}) < 9");
            assert_eq!(number(&context, &probe).await, mine.len() as i64);
            let scan = LakeScan::new(&tables, Table::UsageLedger, Some(&id));
            let plan = scan.scan(&context.state(), None, &[], None).await.unwrap();
            let partitions = plan.output_partitioning().partition_count();
            for partition in (0..partitions).map(Some).chain([None]) {
                let arguments = StatisticsArgs::new().with_partition(partition);
                let known = StatisticsContext::new().compute(plan.as_ref(), &arguments).unwrap();
                assert_eq!(*known, Statistics::new_unknown(&plan.schema()));
            }
        }
        let nobody = OrganizationId::parse("org_nobody").unwrap();
        let scan = LakeScan::new(&tables, Table::UsageLedger, Some(&nobody));
        assert_eq!(number(&registered(&tables, scan), "select count(*) from t").await, 0);
    }
}

#[tokio::test]
async fn nothing_of_another_organization_prunes_a_file_or_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let everything = facts(&mut Seeded(9), 200);
    let records = [record(1, &everything[..150]), record(151, &everything[150..])];
    let tables = lake(dir.path(), &records, 1).await;
    for own in ORGANIZATIONS {
        let id = OrganizationId::parse(own).unwrap();
        let scan = || LakeScan::new(&tables, Table::UsageLedger, Some(&id));
        let context = registered(&tables, scan());
        let state = context.state();
        let files = |filter: Expr| scan().files(&state, &[filter]).unwrap().len();
        let all = files(lit(true));
        assert!(all > 0 && files(col("occurred_at").lt(moment(START))) == 0);
        // Of a day all files or none: when others were there on it is not told.
        for day in 0..6 {
            let from = START + day * DAY;
            let on_it = files(col("occurred_at").gt_eq(moment(from)));
            assert_eq!(files(col("occurred_at").gt_eq(moment(from + DAY - 1))), on_it);
            assert!(day == 0 || on_it < all);
        }
        for (column, value) in [
            ("organization_id", lit("org_b")),
            ("event_id", lit("1-1")),
            ("lsn", lit(1_000_000_i64)),
            ("input_tokens", lit(1_000_000_i64)),
        ] {
            let filter = col(column).gt(value);
            assert_eq!(files(filter.clone()), all, "{filter}");
            let mixed = filter.clone().or(col("occurred_at").lt(moment(START)));
            assert_eq!(files(mixed.clone()), all, "{mixed}");
            let plan =
                scan().scan(&state, None, std::slice::from_ref(&filter), None).await.unwrap();
            let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(true);
            let plan = plan.to_string();
            let ours = format!(" predicate=organization_id@0 = CAST({own} AS Utf8View), ");
            assert!(plan.contains(&ours) && !plan.contains("> 1000000"), "{plan}");
        }
        // What a sort or a join learns while it runs is not for the files either.
        for sql in [
            "select input_tokens from t order by input_tokens desc limit 1",
            "select a.lsn from t a join t b on a.event_id = b.event_id where b.input_tokens = 7",
        ] {
            let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(true);
            let plan = plan.to_string();
            let mut scans = plan.lines().filter(|line| line.contains("file_type=parquet"));
            assert!(scans.all(|scan| !scan.contains("DynamicFilter")), "{plan}");
        }
        let frame = context.sql("select model, event_id from t").await.unwrap();
        for rows in frame.collect().await.unwrap() {
            for column in rows.columns().iter().filter(|column| !column.is_empty()) {
                for bytes in column.as_string_view().data_buffers() {
                    let text = String::from_utf8_lossy(bytes);
                    for other in ORGANIZATIONS.iter().filter(|other| **other != own) {
                        assert!(!text.contains(&format!("model of {other}")), "{own}: {text}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn an_older_cut_counts_exactly_and_not_from_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let everything = facts(&mut Seeded(2), 60);
    let tables =
        lake(dir.path(), &[record(1, &everything[..40]), record(41, &everything[40..])], 1).await;
    let newest = tables.cut.clone();
    for lsn in [1, 17, 39, 40, 41, 59, 60] {
        let cut =
            newest.clone().back_to_token(&Cut { lsn, ..newest.clone() }.plain_token()).unwrap();
        let tables = at(dir.path(), &cut).await;
        let context = registered(&tables, LakeScan::new(&tables, Table::UsageLedger, None));
        assert_eq!(number(&context, "select count(*) from t").await, lsn as i64);
        assert_eq!(number(&context, "select max(lsn) from t").await, lsn as i64);
        let sum: i64 = everything[..lsn as usize].iter().map(|fact| fact.tokens).sum();
        assert_eq!(number(&context, "select sum(input_tokens) from t").await, sum);
    }
}

#[tokio::test]
async fn a_net_view_leaves_corrections_out_of_bare_counts_too() {
    let dir = tempfile::tempdir().unwrap();
    let everything = facts(&mut Seeded(3), 20);
    let plain = record(1, &everything);
    // Two rows are taken back, and one of them is entered again.
    let row = |lsn: u64| {
        LedgerRow::new(Table::UsageLedger, LOG, lsn, plain.rows.slice(lsn as usize - 1, 1))
    };
    let changes: &serde_json::value::RawValue =
        serde_json::from_str("{\"input_tokens\":1000}").unwrap();
    let amendment = Amendment { occurred_at: None, data: Some(changes) };
    let names = Pseudonyms::new([1; 32]);
    let void = row(3).void("1-2").unwrap().rows;
    let correct = row(11).correct("1-10", &amendment, &names).unwrap().unwrap().unwrap().rows;
    let correcting = |first_lsn, rows| Record { rows, first_lsn, ..plain.clone() };
    let records = [plain.clone(), correcting(21, void), correcting(22, correct)];
    let kept = everything.iter().enumerate().filter(|(row, _)| ![2, 10].contains(row));
    let sum = kept.map(|(_, fact)| fact.tokens).sum::<i64>() + 1000;
    for fresh in [0, 1, 2, 3] {
        let dir = dir.path().join(fresh.to_string());
        let tables = lake(&dir, &records, fresh).await;
        let scan = LakeScan::new(&tables, Table::UsageLedger, None).net();
        let context = registered(&tables, scan);
        assert_eq!(number(&context, "select count(*) from t").await, 19);
        assert_eq!(number(&context, "select max(lsn) from t").await, 23);
        assert_eq!(number(&context, "select count(corrects_id) from t").await, 1);
        assert_eq!(number(&context, "select sum(input_tokens) from t").await, sum);
        let ledger = registered(&tables, LakeScan::new(&tables, Table::UsageLedger, None));
        assert_eq!(number(&ledger, "select count(*) from t").await, 23);
        assert_eq!(number(&ledger, "select sum(input_tokens) from t").await, sum);
    }
}
