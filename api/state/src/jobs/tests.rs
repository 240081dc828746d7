use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use serde_json::json;

use super::{
    queue::{Ending, Holder, end, ensure, forget, give_back, renew, take},
    *,
};
use crate::{
    clock::Clock,
    migration::MIGRATIONS,
    scratch::{Scratch, noon},
    store::Store,
};

fn job(key: &str) -> NewJob {
    NewJob { kind: "odd", dedup_key: key.to_owned(), payload: json!({"key": key}), run_at: noon() }
}

fn holder(owner: &str) -> Holder {
    Holder { owner: owner.to_owned(), lease: TimeDelta::seconds(30) }
}

async fn add(store: &Store, job: &NewJob) -> Option<i64> {
    let write = store.write().await.unwrap();
    let id = enqueue(&write, job, noon()).await.unwrap();
    write.commit().await.unwrap();
    id
}

async fn states(store: &Store) -> Vec<JobState> {
    let jobs = list(store, &JobFilter::default(), 100).await.unwrap();
    jobs.into_iter().map(|job| job.state).rev().collect()
}

/// Waits until every job ended.
async fn all_ended(store: &Store) {
    for _ in 0..600 {
        let open = |state: &JobState| matches!(state, JobState::Queued | JobState::Running);
        if !states(store).await.iter().any(open) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("jobs do not end: {:?}", states(store).await);
}

#[tokio::test]
async fn two_processes_do_each_job_once() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let clock = Clock::fixed(noon());
    let done = Arc::new(AtomicUsize::new(0));
    for number in 0..40 {
        assert!(add(&scratch.store, &job(&number.to_string())).await.is_some());
        assert_eq!(add(&scratch.store, &job(&number.to_string())).await, None);
    }
    let later = NewJob { run_at: noon() + TimeDelta::seconds(1), ..job("later") };
    let later = add(&scratch.store, &later).await.unwrap();
    // Each opens the file by itself, as a process does.
    let mut processes = Vec::new();
    for _ in 0..2 {
        let store = scratch.opened_again(MIGRATIONS).await;
        let (jobs, done) = (Jobs::new(store, clock.clone()), Arc::clone(&done));
        jobs.handle(JobKind { parallel: 3, ..JobKind::new("odd") }, move |job| {
            let done = Arc::clone(&done);
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok(job.payload)
            }
        });
        processes.push(tokio::spawn(async move { jobs.run().await }));
    }
    let found = || async { find(&scratch.store, later).await.unwrap().unwrap() };
    for _ in 0..600 {
        if done.load(Ordering::SeqCst) == 40 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(found().await.state, JobState::Queued, "it is not due");
    clock.advance(Duration::from_secs(1));
    all_ended(&scratch.store).await;
    assert_eq!(done.load(Ordering::SeqCst), 41);
    let found = found().await;
    assert_eq!((found.state, found.attempts), (JobState::Done, 1));
    assert_eq!(found.result, Some(json!({"key": "later"})));
    processes.iter().for_each(|process| process.abort());
}

#[tokio::test]
async fn a_failure_is_tried_again_after_its_pause_and_a_permanent_one_is_not() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let clock = Clock::fixed(noon());
    let jobs = Jobs::new(scratch.store.clone(), clock.clone());
    let pause = |attempts| (attempts < 3).then(|| Duration::from_secs(60));
    let kind = JobKind { parallel: 4, backoff: pause, ..JobKind::new("odd") };
    jobs.handle(kind, |job: Job| async move {
        match job.dedup_key.as_str() {
            "panics" => panic!("odd"),
            "permanent" => Err(JobError::permanent("no such address")),
            _ if job.attempts < 2 => Err(JobError::temporary("not yet")),
            _ => Ok(Value::Null),
        }
    });
    let mut ids = Vec::new();
    for key in ["panics", "permanent", "twice"] {
        ids.push(add(&scratch.store, &job(key)).await.unwrap());
    }
    let running = tokio::spawn(async move { jobs.run().await });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        clock.advance(Duration::from_secs(60));
    }
    all_ended(&scratch.store).await;
    let mut ended = Vec::new();
    for id in &ids {
        let job = find(&scratch.store, *id).await.unwrap().unwrap();
        ended.push((job.state, job.attempts, job.error));
    }
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        (JobState::Failed, 3, text("it panicked")),
        (JobState::Failed, 1, text("no such address")),
        (JobState::Done, 2, None),
    ];
    assert_eq!(ended, expected);
    running.abort();
    let write = scratch.store.write().await.unwrap();
    assert!(retry(&write, ids[1], noon()).await.unwrap());
    assert!(!retry(&write, ids[2], noon()).await.unwrap(), "it is done");
    write.commit().await.unwrap();
    let again = find(&scratch.store, ids[1]).await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts), (JobState::Queued, 0));
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_and_its_former_holder_says_nothing_more() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let store = &scratch.store;
    let id = add(store, &job("one")).await.unwrap();
    let (first, second) = (holder("first"), holder("second"));
    let free = [("odd", 5)];
    assert_eq!(take(store, &free, &first, noon()).await.unwrap().len(), 1);
    let soon = noon() + TimeDelta::seconds(29);
    assert!(take(store, &free, &second, soon).await.unwrap().is_empty());
    assert!(renew(store, id, &first, soon).await.unwrap());
    let later = soon + TimeDelta::seconds(31);
    assert!(take(store, &free, &first, later).await.unwrap().is_empty(), "it runs there");
    let taken = take(store, &free, &second, later).await.unwrap();
    assert_eq!((taken[0].id, taken[0].attempts), (id, 2));
    assert!(!renew(store, id, &first, later).await.unwrap());
    let done = Ending::Done(json!(1));
    assert!(!end(store, id, &first, &done, Some(&job("next")), later).await.unwrap());
    assert_eq!(
        states(store).await,
        [JobState::Running],
        "what it would have followed is not there"
    );
    give_back(store, &first).await.unwrap();
    assert_eq!(states(store).await, [JobState::Running]);
    assert!(end(store, id, &second, &done, Some(&job("next")), later).await.unwrap());
    assert_eq!(states(store).await, [JobState::Done, JobState::Queued]);
    assert_eq!(take(store, &free, &first, later).await.unwrap().len(), 1);
    give_back(store, &first).await.unwrap();
    assert_eq!(states(store).await, [JobState::Done, JobState::Queued]);
}

#[tokio::test]
async fn a_repeating_kind_has_one_open_job_whatever_happens() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let store = &scratch.store;
    let at = |seconds| NewJob { run_at: noon() + TimeDelta::seconds(seconds), ..job("") };
    for (key, seconds) in [("a", 600), ("b", 60), ("c", 900)] {
        let first = NewJob { dedup_key: key.to_owned(), ..at(seconds) };
        ensure(store, &first, noon()).await.unwrap();
    }
    let open = list(store, &JobFilter::default(), 10).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].run_at, noon() + TimeDelta::seconds(60), "the soonest of the settings");

    let clock = Clock::fixed(noon() + TimeDelta::seconds(60));
    let jobs = Jobs::new(store.clone(), clock.clone());
    let (times, every) = (Arc::new(AtomicUsize::new(0)), Duration::from_secs(60));
    let counted = Arc::clone(&times);
    jobs.repeat(JobKind::new("odd"), Repeat::Every(every), every * 10, move |_| {
        let time = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match time {
                0 => Ok(json!(1)),
                1 => Err(JobError::temporary("odd")),
                _ => Ok(Value::Null),
            }
        }
    });
    let running = tokio::spawn(async move { jobs.run().await });
    for seconds in [60, 60, 599, 1] {
        tokio::time::sleep(Duration::from_millis(800)).await;
        clock.advance(Duration::from_secs(seconds));
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    running.abort();
    // At 60, at 120 it fails, and so again only 600 later.
    assert_eq!(times.load(Ordering::SeqCst), 3);
    use JobState::{Done, Failed, Queued};
    // The third had nothing to do, and left no entry.
    assert_eq!(states(store).await, [Done, Failed, Queued]);
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let store = &scratch.store;
    let (me, free) = (holder("me"), [("odd", 9)]);
    for key in ["old", "new", "open"] {
        add(store, &job(key)).await.unwrap();
    }
    let taken = take(store, &free, &me, noon()).await.unwrap();
    let end_of = |at| (Ending::Done(Value::Null), noon() + TimeDelta::days(at));
    for (job, days) in taken.iter().zip([0, 20]) {
        let (ending, at) = end_of(days);
        assert!(end(store, job.id, &me, &ending, None, at).await.unwrap());
    }
    forget(store, &["odd"], noon() + TimeDelta::days(31)).await.unwrap();
    assert_eq!(states(store).await, [JobState::Done, JobState::Running]);
}

#[tokio::test]
async fn a_time_that_was_made_up_for_does_not_take_the_next_one_away() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let store = &scratch.store;
    let queued = JobFilter { state: Some(JobState::Queued), ..JobFilter::default() };
    // The first start makes up for a night; the second one too, with the job of the next night there already.
    for done in 1..=2 {
        let jobs = Jobs::new(store.clone(), Clock::fixed(noon()));
        let daily = Repeat::daily_at(3);
        let next = daily.next(noon());
        jobs.repeat_from(JobKind::new("odd"), daily, Duration::ZERO, noon(), |_| async {
            Ok(json!("found nothing"))
        });
        let running = tokio::spawn(async move { jobs.run().await });
        for _ in 0..100 {
            if states(store).await.iter().filter(|state| **state == JobState::Done).count() == done
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.abort();
        let waiting = list(store, &queued, 10).await.unwrap();
        let times: Vec<_> = waiting.iter().map(|job| job.run_at).collect();
        assert_eq!(times, [next], "after {done}");
    }
}
