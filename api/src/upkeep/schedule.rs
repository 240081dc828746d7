//! What is due, and when it was last done.

use std::{collections::BTreeMap, fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use pipeline::upkeep::{Job, Report};
use serde::{Deserialize, Serialize};
use state::folder::{self, write_private};

use crate::config::Config;

/// When each job last succeeded for every table, as `maintain.json` of the data folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record(pub(crate) BTreeMap<Job, DateTime<Utc>>);

impl Record {
    /// An unreadable record is as good as none: everything is due.
    pub(crate) fn read(dir: &Path) -> Self {
        let text = fs::read(folder::UPKEEP.of(dir)).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Notes what succeeded.
    pub(crate) fn note(
        dir: &Path,
        jobs: &[Job],
        report: &Report,
        at: DateTime<Utc>,
    ) -> std::io::Result<()> {
        let mut record = Self::read(dir);
        let done = jobs.iter().filter(|job| report.is_done(**job));
        record.0.extend(done.map(|job| (*job, at)));
        write_private(&folder::UPKEEP.of(dir), &serde_json::to_vec_pretty(&record)?)
    }
}

/// The jobs whose time has come.
pub(crate) fn due(now: DateTime<Utc>, record: &Record, config: &Config, commits: u64) -> Vec<Job> {
    let settings = &config.maintain;
    let minutes = |n: u64| TimeDelta::minutes(i64::try_from(n).unwrap_or(i64::MAX / 60_000));
    let is_due = |job: &Job| {
        let every = match job {
            Job::Retention if config.retention.days().is_empty() => return false,
            Job::Checkpoint => return settings.enabled && commits >= settings.checkpoint_commits,
            Job::Compaction => minutes(settings.compact_minutes),
            Job::Retention | Job::Vacuum => TimeDelta::days(1),
            Job::FullVacuum => TimeDelta::days(7),
        };
        // A clock that was set back does not stop it for long.
        let since = record.0.get(job).map(|last| (now - *last).abs());
        settings.enabled && since.is_none_or(|since| since >= every)
    };
    Job::ALL.into_iter().filter(is_due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Job; 3] = [Job::Compaction, Job::Vacuum, Job::FullVacuum];

    #[test]
    fn each_job_has_its_time() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut config = Config::default();
        let record = |minutes_ago: i64| {
            Record(Job::ALL.map(|job| (job, now - TimeDelta::minutes(minutes_ago))).into())
        };
        let due =
            |minutes: i64, config: &Config, commits| due(now, &record(minutes), config, commits);
        assert_eq!(super::due(now, &Record::default(), &config, 0), ALL);
        assert!(due(59, &config, 49).is_empty());
        assert_eq!(due(60, &config, 49), [Job::Compaction]);
        assert_eq!(due(59, &config, 50), [Job::Checkpoint]);
        assert_eq!(due(24 * 60, &config, 0), [Job::Compaction, Job::Vacuum]);
        assert_eq!(due(7 * 24 * 60, &config, 0), ALL);
        assert_eq!(due(-60, &config, 0), [Job::Compaction]);
        config.retention.dead_letter = 30;
        assert_eq!(due(24 * 60, &config, 0), [Job::Retention, Job::Compaction, Job::Vacuum]);
        config.maintain.enabled = false;
        assert!(due(7 * 24 * 60, &config, 1_000).is_empty());
    }

    #[test]
    fn what_failed_is_due_again() {
        let dir = tempfile::tempdir().unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert_eq!(Record::read(dir.path()), Record::default());
        let failure =
            pipeline::upkeep::Failure { job: Job::Compaction, reason: "the disk is full".into() };
        let table = pipeline::upkeep::TableReport { failures: vec![failure], ..Default::default() };
        let report = Report { dry_run: false, tables: vec![table] };
        Record::note(dir.path(), &[Job::Compaction, Job::Vacuum], &report, now).unwrap();
        let record = Record::read(dir.path());
        assert_eq!(record, Record([(Job::Vacuum, now)].into()));
        Record::note(dir.path(), &[Job::Compaction], &Report::default(), now).unwrap();
        assert_eq!(Record::read(dir.path()).0.len(), 2);
        fs::write(dir.path().join("maintain.json"), "{").unwrap();
        assert_eq!(Record::read(dir.path()), Record::default());
    }
}
