//! Which files are rewritten together, and which days are over. Rules only: the time is a parameter.

use std::collections::BTreeMap;

use ingest::{log::Lsn, time::Micros};

use crate::DataFile;

const DAY: Micros = 86_400_000_000;
const HOUR: Micros = DAY / 24;

/// When a date's files count as written: some rows still wait in the log at midnight, or are on their way.
const MARGIN: Micros = HOUR;

/// A smaller file is always worth rewriting.
const TINY_BYTES: u64 = 8 << 20;

/// Otherwise a file waits until the smaller ones are together a tenth of it. So late rows that trickle in do not
/// make a large file be written again each time.
const LATE_SHARE: u64 = 10;

/// What compaction is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompactionRules {
    /// Files of half of it stay as they are.
    pub(crate) file_bytes: u64,
    /// What was written this hour, too.
    pub(crate) all: bool,
    /// The LSN that all rollups hold.
    pub(crate) rolled_up: Option<Lsn>,
}

/// Groups of files of one date that become few. With `all` a date may still be written to.
///
/// On a day that is over, every small file is taken; on other days those of the hours before this one. Files that rollups
/// hold and others stay apart.
pub(crate) fn compaction(
    files: &[DataFile],
    rules: CompactionRules,
    now: Micros,
) -> Vec<Vec<DataFile>> {
    let CompactionRules { file_bytes, all, rolled_up } = rules;
    let is_held = |file: &DataFile| rolled_up.is_none_or(|lsn| file.max_lsn <= lsn);
    let hour_ms = now.div_euclid(HOUR) * (HOUR / 1_000);
    let is_over = |date: i32| (i64::from(date) + 1) * DAY + MARGIN <= now;
    let mut dates: BTreeMap<(Option<i32>, bool), Vec<DataFile>> = BTreeMap::new();
    for file in files {
        let is_closed = file.event_date.is_some_and(is_over) || file.modified_ms < hour_ms;
        if (all || is_closed) && file.size_bytes < file_bytes / 2 {
            dates.entry((file.event_date, is_held(file))).or_default().push(file.clone());
        }
    }
    dates.into_values().map(worthwhile).filter(|group| group.len() > 1).collect()
}

fn worthwhile(mut files: Vec<DataFile>) -> Vec<DataFile> {
    files.sort_by(|a, b| a.size_bytes.cmp(&b.size_bytes).then_with(|| a.path.cmp(&b.path)));
    let mut smaller = 0;
    let mut taken = 0;
    for (position, file) in files.iter().enumerate() {
        if file.size_bytes <= TINY_BYTES || file.size_bytes <= smaller * LATE_SHARE {
            taken = position + 1;
        }
        smaller += file.size_bytes;
    }
    files.truncate(taken);
    files
}

/// The files of days before the last `days` whole ones.
pub(crate) fn expired(files: &[DataFile], days: u32, now: Micros) -> Vec<DataFile> {
    let today = now.div_euclid(DAY);
    let is_expired = |file: &&DataFile| {
        file.event_date.is_some_and(|date| i64::from(date) < today - i64::from(days))
    };
    files.iter().filter(is_expired).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    /// 2026-01-10, 05:30.
    const NOW: Micros = 20_463 * DAY + 5 * HOUR + HOUR / 2;
    const TODAY: i32 = 20_463;

    fn file(name: &str, date: Option<i32>, size_bytes: u64, minutes_ago: i64) -> DataFile {
        let modified_ms = NOW / 1_000 - minutes_ago * 60_000;
        DataFile::new(ingest::Table::UsageLedger, name.into(), size_bytes, modified_ms, date, None)
    }

    fn rules(all: bool) -> CompactionRules {
        CompactionRules { file_bytes: 256 * MIB, all, rolled_up: None }
    }

    fn planned(files: &[DataFile], all: bool) -> Vec<String> {
        let groups = compaction(files, rules(all), NOW);
        groups.iter().map(|group| group.iter().map(|file| file.path.as_str()).collect()).collect()
    }

    #[test]
    fn a_day_that_is_over_is_taken_whole_and_today_by_the_hour() {
        let files = [
            file("a", Some(TODAY - 1), MIB, 400),
            file("b", Some(TODAY - 1), MIB, 1),
            file("c", Some(TODAY), MIB, 90),
            file("d", Some(TODAY), MIB, 31),
            file("e", Some(TODAY), MIB, 29),
            file("f", Some(TODAY), MIB, 1),
            file("g", Some(TODAY - 2), MIB, 1),
            file("h", None, MIB, 90),
            file("i", None, MIB, 31),
        ];
        assert_eq!(planned(&files, false), ["hi", "ab", "cd"]);
        assert_eq!(planned(&files, true), ["hi", "ab", "cdef"]);
        // At half past midnight rows of yesterday may still be on their way.
        let early = i64::from(TODAY) * DAY + HOUR / 2;
        assert!(compaction(&files[1..2], rules(false), early).is_empty());
        let young = [files[0].clone(), file("z", Some(TODAY - 1), MIB, 1)];
        assert_eq!(compaction(&young, rules(false), early + HOUR).len(), 1);
    }

    #[test]
    fn a_large_file_waits_for_company_and_a_full_one_is_left_alone() {
        let day = Some(TODAY - 3);
        let large = file("z", day, 100 * MIB, 900);
        let late = |n: u64| (0..n).map(|n| file(&n.to_string(), day, MIB, 1)).collect::<Vec<_>>();
        let with = |n: u64, file: &DataFile| [late(n), vec![file.clone()]].concat();
        assert_eq!(planned(&with(3, &large), false), ["012"]);
        assert_eq!(planned(&with(10, &large), false), ["0123456789z"]);
        let full = file("z", day, 128 * MIB, 900);
        assert_eq!(planned(&with(5, &full), false), ["01234"]);
        assert!(planned(&with(1, &full), false).is_empty());
        assert_eq!(planned(&[large, file("y", day, 90 * MIB, 900)], false), ["yz"]);
    }

    #[test]
    fn what_rollups_hold_and_what_not_stay_apart() {
        let files: Vec<_> = [(10, "a"), (30, "b"), (20, "c"), (21, "d")]
            .map(|(max_lsn, name)| DataFile { max_lsn, ..file(name, Some(TODAY - 1), MIB, 400) })
            .into();
        let with = |rolled_up| {
            let groups = compaction(&files, CompactionRules { rolled_up, ..rules(false) }, NOW);
            let mut names: Vec<String> = groups
                .iter()
                .map(|group| group.iter().map(|file| file.path.as_str()).collect())
                .collect();
            names.sort();
            names
        };
        assert_eq!(with(None), ["abcd"]);
        assert_eq!(with(Some(20)), ["ac", "bd"]);
        assert_eq!(with(Some(29)), ["acd"]);
    }

    #[test]
    fn whole_days_expire() {
        let files: Vec<_> =
            (-3..=1).map(|day| file(&day.to_string(), Some(TODAY + day), 1, 1)).collect();
        let gone = |days| expired(&files, days, NOW).len();
        assert_eq!([gone(0), gone(1), gone(2), gone(3)], [3, 2, 1, 0]);
        assert!(expired(&[file("x", None, 1, 1)], 0, NOW).is_empty());
    }
}
