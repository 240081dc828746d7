//! Pairs of questions that differ by one filter or one dimension.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use tests::{Client, Server, admin_key, folder, reply, signed_in};

use super::{Act, COUNTRIES, DEVICES, FEATURES, rows, site};

/// Fewer persons are not shown.
const MIN: usize = 10;

/// A condition: the dimension, whether it has one of the values or none of them, and the values.
type Condition = (&'static str, bool, Vec<&'static str>);

#[derive(Debug, Clone)]
struct Question {
    metric: &'static str,
    by: Vec<&'static str>,
    daily: bool,
    conditions: Vec<Condition>,
    limit: Option<usize>,
}

fn value(act: &Act, dimension: &str) -> &'static str {
    match dimension {
        "country" => act.country,
        "device" => act.device,
        _ => act.feature,
    }
}

/// A bucket and a group.
type Cell = (Option<String>, Vec<String>);

impl Question {
    fn path(&self) -> String {
        let mut path = format!("/v1/metrics/{}?from=2026-02-01&to=2026-02-07", self.metric);
        if !self.by.is_empty() {
            path += &format!("&by={}", self.by.join(","));
        }
        if self.daily {
            path += "&grain=day";
        }
        if let Some(limit) = self.limit {
            path += &format!("&limit={limit}");
        }
        let conditions: Vec<_> = self
            .conditions
            .iter()
            .map(|(dimension, is, values)| {
                format!("{dimension}{}{}", if *is { "=" } else { "!=" }, values.join(","))
            })
            .collect();
        path + &match conditions.is_empty() {
            true => String::new(),
            false => format!("&filter={}", conditions.join(";")),
        }
    }

    /// Whether the question is about an act.
    fn takes(&self, act: &Act) -> bool {
        self.conditions
            .iter()
            .all(|(dimension, is, values)| values.contains(&value(act, dimension)) == *is)
            && (self.metric == "registrations") == act.signed_up
    }

    fn cell(&self, act: &Act) -> Cell {
        let day = self.daily.then(|| format!("2026-02-{:02}T00:00:00Z", act.day + 1));
        (day, self.by.iter().map(|dimension| value(act, dimension).to_owned()).collect())
    }

    /// The persons of each cell of the rows that `counts` takes.
    fn persons<'a>(
        &self,
        acts: impl Iterator<Item = &'a Act>,
    ) -> BTreeMap<Cell, BTreeSet<&'a str>> {
        let mut cells: BTreeMap<Cell, BTreeSet<&str>> = BTreeMap::new();
        for act in acts.filter(|act| self.takes(act)) {
            cells.entry(self.cell(act)).or_default().insert(&act.visitor);
        }
        cells
    }
}

/// The values that an answer shows; a cell that is not there has nobody. `other` has no group.
#[derive(Debug)]
struct Shown {
    values: BTreeMap<Cell, Option<usize>>,
    other: BTreeMap<Option<String>, Option<usize>>,
}

async fn ask(client: &Client, cookie: &str, question: &Question) -> Shown {
    let request = client.request(Method::GET, &question.path()).header("cookie", cookie);
    let answer = reply(request).await;
    assert_eq!(answer.status, 200, "{question:?}: {}", answer.text());
    let answer = answer.json();
    let (mut values, mut other) = (BTreeMap::new(), BTreeMap::new());
    for row in rows(&answer) {
        let value = row["value"].as_u64().map(|value| usize::try_from(value).expect("a count"));
        assert_eq!(value.is_none(), row["suppressed"] == true, "{row}");
        let at = row["at"].as_str().map(str::to_owned);
        if row["other"] == true {
            other.insert(at, value);
        } else {
            let group = row["group"].as_array().expect("a group").iter();
            let group = group.map(|name| name.as_str().expect("a name").to_owned()).collect();
            values.insert((at, group), value);
        }
    }
    Shown { values, other }
}

fn is_few(number: usize) -> bool {
    (1..MIN).contains(&number)
}

/// An answer is right where it shows something, and shows no few persons.
fn holds_alone(question: &Question, shown: &Shown, acts: &[Act]) {
    let persons = question.persons(acts.iter());
    for (cell, value) in &shown.values {
        let count = persons.get(cell).map_or(0, BTreeSet::len);
        if let Some(value) = value {
            assert_eq!(*value, count, "{question:?} {cell:?}");
            assert!(!is_few(count), "{question:?} shows {count} persons of {cell:?}");
        }
    }
    let names: BTreeSet<_> = shown.values.keys().map(|(_, group)| group).collect();
    for (at, value) in &shown.other {
        let others = persons.iter().filter(|((day, group), _)| day == at && !names.contains(group));
        let others: BTreeSet<_> = others.flat_map(|(_, persons)| persons).collect();
        if let Some(value) = value {
            assert_eq!(*value, others.len(), "{question:?} other {at:?}");
            assert!(!is_few(others.len()), "{question:?} other {at:?}");
        }
    }
}

/// Two questions, of which the second takes a part of what the first one does: nothing that both show differs by a few.
fn filters_reveal_no_few(wide: &Question, narrow: &Question, all: (&Shown, &Shown), acts: &[Act]) {
    let (of_wide, of_narrow) = (wide.persons(acts.iter()), narrow.persons(acts.iter()));
    let left_out = wide.persons(acts.iter().filter(|act| !narrow.takes(act)));
    let empty = BTreeSet::new();
    for (cell, value) in &all.0.values {
        let narrowed = all.1.values.get(cell).copied();
        // A cell that is not there is one of nobody only where no group is folded.
        let narrowed = narrowed.or_else(|| narrow.by.is_empty().then_some(Some(0)));
        if let (Some(_), Some(Some(_))) = (value, narrowed) {
            let count =
                |cells: &BTreeMap<Cell, BTreeSet<&str>>| cells.get(cell).map_or(0, BTreeSet::len);
            let difference = count(&of_wide) - count(&of_narrow);
            assert!(!is_few(difference), "{difference} persons: {wide:?} {narrow:?} {cell:?}");
            let rows = left_out.get(cell).unwrap_or(&empty).len();
            assert!(!is_few(rows), "rows of {rows} persons: {wide:?} {narrow:?} {cell:?}");
        }
    }
}

/// A question and the same one split by one dimension more: what a total has beside the groups that are shown is no few.
fn groups_reveal_no_few(whole: &Question, split: &Question, all: (&Shown, &Shown), acts: &[Act]) {
    let persons = split.persons(acts.iter());
    for ((at, group), value) in &all.0.values {
        if value.is_none() {
            continue;
        }
        let is_part = |(day, parts): &&Cell| day == at && parts.starts_with(group);
        let is_shown = |cell: &&Cell| all.1.values.get(*cell).is_some_and(Option::is_some);
        // Without a group, `other` is a part of the total as well.
        let other = all.1.other.get(at).copied().flatten().is_some() && group.is_empty();
        let is_in_other = |cell: &&Cell| other && !all.1.values.keys().any(|(_, g)| *g == cell.1);
        let hidden = persons
            .iter()
            .filter(|(cell, _)| is_part(cell) && !is_shown(cell) && !is_in_other(cell));
        let hidden: BTreeSet<_> = hidden.flat_map(|(_, persons)| persons).collect();
        assert!(!is_few(hidden.len()), "{} persons: {whole:?} {split:?} {at:?}", hidden.len());
    }
}

const DIMENSIONS: [(&str, &[&str]); 3] =
    [("country", &COUNTRIES), ("device", &DEVICES), ("feature", &FEATURES)];

fn condition(random: &mut StdRng) -> Condition {
    let (dimension, values) = DIMENSIONS[random.random_range(0..3)];
    let mut chosen: Vec<&str> = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let value = values[random.random_range(0..values.len())];
        if !chosen.contains(&value) {
            chosen.push(value);
        }
    }
    (dimension, random.random_range(0..3) > 0, chosen)
}

fn question(random: &mut StdRng) -> Question {
    let by: Vec<_> = match random.random_range(0..4) {
        0 | 1 => vec![],
        2 => vec![DIMENSIONS[random.random_range(0..3)].0],
        _ => vec!["country", "device"],
    };
    let limit =
        (!by.is_empty() && random.random_range(0..3) == 0).then(|| random.random_range(1..4));
    let conditions = (0..random.random_range(0..2)).map(|_| condition(random)).collect();
    let metric = if random.random_range(0..3) == 0 { "registrations" } else { "visitors" };
    Question { metric, by, daily: random.random_range(0..2) == 0, conditions, limit }
}

/// 40 pairs of questions; `AIHUB_TEST_PAIRS=1000` is the long form.
#[tokio::test]
async fn no_pair_of_questions_reveals_a_few_persons() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let acts = site(&Client::new(&server, &admin_key(dir.path()))).await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let pairs = env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_PAIRS")
        .map_or(40, |(_, pairs)| pairs.parse().expect("AIHUB_TEST_PAIRS is a number"));
    let mut random = StdRng::seed_from_u64(2026);
    let mut shown = 0;
    for pair in 0..pairs {
        let first = question(&mut random);
        let mut second = first.clone();
        let is_split = pair % 3 == 0 && first.by.len() < 2;
        if is_split {
            let new = ["device", "feature", "country"].into_iter().find(|d| !first.by.contains(d));
            second.by.extend(new);
        } else if pair % 3 == 1
            && let Some((_, _, values)) = second.conditions.first_mut()
            && values.len() > 1
        {
            values.pop();
        } else {
            second.conditions.push(condition(&mut random));
        }
        let answers = (ask(&manager, &cookie, &first).await, ask(&manager, &cookie, &second).await);
        holds_alone(&first, &answers.0, &acts);
        holds_alone(&second, &answers.1, &acts);
        shown += answers.0.values.values().chain(answers.1.values.values()).flatten().count();
        if is_split {
            groups_reveal_no_few(&first, &second, (&answers.0, &answers.1), &acts);
            continue;
        }
        // One value less of a list that is left out takes more.
        let is_wider = acts.iter().any(|act| second.takes(act) && !first.takes(act));
        match is_wider {
            true => filters_reveal_no_few(&second, &first, (&answers.1, &answers.0), &acts),
            false => filters_reveal_no_few(&first, &second, (&answers.0, &answers.1), &acts),
        }
    }
    assert!(shown > pairs, "only {shown} values are shown in {pairs} pairs");
}
