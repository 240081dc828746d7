use serde_json::json;

use super::{
    AuditAction, AuditFilter, AuditOrigin, ChainHead, ChainState, head, list, recent, record,
    verify, verify_against,
};
use crate::{
    migration::MIGRATIONS,
    scratch::{Scratch, noon},
};

async fn log_of(rows: usize) -> Scratch {
    let scratch = Scratch::new(MIGRATIONS).await;
    for row in 0..rows {
        let origin = AuditOrigin {
            actor: format!("user_{row}"),
            organization_id: None,
            request_id: (row % 2 == 0).then(|| format!("request-{row}")),
            ip: (row % 3 == 0).then(|| "192.0.2.1".parse().unwrap()),
        };
        let act = AuditAction {
            action: "key.created",
            target: format!("key_{row}"),
            detail: json!({"row": row}),
        };
        record(&scratch.store, &origin, act, noon()).await.unwrap();
    }
    scratch
}

#[tokio::test]
async fn an_untouched_log_is_intact() {
    assert_eq!(verify(&log_of(0).await.store).await.unwrap(), ChainState::Intact { rows: 0 });
    let scratch = log_of(5).await;
    assert_eq!(verify(&scratch.store).await.unwrap(), ChainState::Intact { rows: 5 });
    let newest = recent(&scratch.store, 2).await.unwrap();
    assert_eq!(newest.iter().map(|record| record.seq).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(newest[0].target, "key_4");
    assert_eq!(newest[0].detail, r#"{"row":4}"#);
}

#[tokio::test]
async fn the_first_touched_row_is_found() {
    let cases = [
        ("edited actor", "UPDATE audit_log SET actor = 'x' WHERE seq = 3", 3),
        ("edited time", "UPDATE audit_log SET at = at + 1 WHERE seq = 2", 2),
        ("edited detail", "UPDATE audit_log SET detail = '{}' WHERE seq = 5", 5),
        (
            "text moved between fields",
            "UPDATE audit_log SET actor = actor || 'k', action = 'ey.created' WHERE seq = 4",
            4,
        ),
        ("null to empty", "UPDATE audit_log SET request_id = '' WHERE seq = 2", 2),
        ("edited hash", "UPDATE audit_log SET hash = prev_hash WHERE seq = 1", 1),
        ("before the first", "UPDATE audit_log SET seq = 0 WHERE seq = 1", 0),
        (
            "one more, far before",
            "INSERT INTO audit_log SELECT -9, at, actor, action, target, detail, request_id, ip, prev_hash, hash FROM audit_log WHERE seq = 1",
            -9,
        ),
        ("no address", "UPDATE audit_log SET ip = 'x' WHERE seq = 5", 5),
        ("no hash", "UPDATE audit_log SET hash = substr(hash, 2) WHERE seq = 5", 5),
        ("no time", "UPDATE audit_log SET at = 9223372036854775807 WHERE seq = 5", 5),
        ("deleted", "DELETE FROM audit_log WHERE seq = 3", 3),
        ("deleted first", "DELETE FROM audit_log WHERE seq = 1", 1),
        (
            "swapped",
            "UPDATE audit_log SET seq = 99 WHERE seq = 2; UPDATE audit_log SET seq = 2 WHERE seq = 3; \
             UPDATE audit_log SET seq = 3 WHERE seq = 99",
            2,
        ),
        (
            "deleted and renumbered",
            "DELETE FROM audit_log WHERE seq = 2; UPDATE audit_log SET seq = seq - 1 WHERE seq > 2",
            2,
        ),
    ];
    // A column of SQLite takes values of any type.
    let of_other_types = [
        ("no number", "UPDATE audit_log SET at = 'x' WHERE seq = 4", 4),
        ("no text", "UPDATE audit_log SET actor = x'ff' WHERE seq = 5", 5),
    ];
    let any_type = log_of(0).await.store.is_file();
    for (name, sql, seq) in cases.into_iter().chain(of_other_types.into_iter().filter(|_| any_type))
    {
        let scratch = log_of(5).await;
        scratch.tamper(sql).await;
        assert_eq!(verify(&scratch.store).await.unwrap(), ChainState::Broken { seq }, "{name}");
        // What is left can be read, whatever it says.
        head(&scratch.store).await.unwrap();
        assert!(recent(&scratch.store, 9).await.unwrap().len() >= 4, "{name}");
    }
}

#[tokio::test]
async fn a_kept_head_shows_a_cut_end() {
    let scratch = log_of(5).await;
    let kept = head(&scratch.store).await.unwrap();
    scratch.tamper("DELETE FROM audit_log WHERE seq = 5").await;
    assert_eq!(verify(&scratch.store).await.unwrap(), ChainState::Intact { rows: 4 });
    assert_ne!(head(&scratch.store).await.unwrap(), kept);
    assert_eq!(verify_against(&scratch.store, kept).await.unwrap(), ChainState::Broken { seq: 5 });
    let other = head(&log_of(4).await.store).await.unwrap();
    assert_eq!(
        verify_against(&scratch.store, other).await.unwrap(),
        ChainState::Intact { rows: 4 }
    );
    let other = other.map(|head| ChainHead { seq: 3, ..head });
    assert_eq!(verify_against(&scratch.store, other).await.unwrap(), ChainState::Broken { seq: 3 });
}

#[tokio::test]
async fn a_head_is_read_as_it_is_written() {
    let kept = head(&log_of(2).await.store).await.unwrap().unwrap();
    assert_eq!(ChainHead::parse(&kept.to_string()), Some(kept));
    let digits = "0".repeat(64);
    for wrong in ["", "2", "2:", "2:00", &format!("0:{digits}"), &format!("2:{}é", "0".repeat(62))]
    {
        assert_eq!(ChainHead::parse(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn rows_are_found_by_what_they_say() {
    let scratch = log_of(5).await;
    let seqs = async |filter: AuditFilter, limit| -> Vec<i64> {
        let found = list(&scratch.store, &filter, limit).await.unwrap();
        found.iter().map(|record| record.seq).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let all = AuditFilter::default();
    assert_eq!(seqs(AuditFilter { before: Some(4), ..all.clone() }, 2).await, [3, 2]);
    assert_eq!(seqs(AuditFilter { actor: text("user_2"), ..all.clone() }, 9).await, [3]);
    assert_eq!(seqs(AuditFilter { target: text("key_0"), ..all.clone() }, 9).await, [1]);
    assert_eq!(seqs(AuditFilter { action: text("key.created"), ..all.clone() }, 9).await.len(), 5);
    assert!(seqs(AuditFilter { action: text("key.revoked"), ..all }, 9).await.is_empty());
}
