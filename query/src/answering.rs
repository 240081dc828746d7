//! An answer while it comes, from a worker or because it was kept.

use std::{collections::VecDeque, mem};

use tokio::sync::mpsc;

use crate::{
    QuerySummary,
    cache::{CacheWriter, CachedAnswer},
    pool::WorkerMessage,
};

/// The pieces of an answer. Dropped before the last one, it stops its query.
#[derive(Debug)]
pub struct AnswerStream {
    source: AnswerSource,
    keeping: Option<CacheWriter>,
}

#[derive(Debug)]
enum AnswerSource {
    Worker(mpsc::Receiver<WorkerMessage>),
    Cached(VecDeque<WorkerMessage>),
}

impl AnswerStream {
    /// An answer that is kept for the next who asks, when it is small and there is room.
    pub(crate) fn begun(
        pieces: mpsc::Receiver<WorkerMessage>,
        keeping: Option<CacheWriter>,
    ) -> Self {
        Self { source: AnswerSource::Worker(pieces), keeping }
    }

    /// The next piece. After one that is not of rows, or of progress, there are no more.
    pub async fn recv(&mut self) -> Option<WorkerMessage> {
        let piece = match &mut self.source {
            AnswerSource::Worker(pieces) => pieces.recv().await,
            AnswerSource::Cached(pieces) => pieces.pop_front(),
        };
        match (&piece, mem::take(&mut self.keeping)) {
            (Some(WorkerMessage::Rows(rows)), Some(keeping)) => self.keeping = keeping.with(rows),
            (Some(WorkerMessage::Progress(_)), keeping) => self.keeping = keeping,
            (Some(WorkerMessage::Ended(ended)), Some(keeping)) => keeping.end(ended),
            _ => {}
        }
        piece
    }

    /// Whether nothing was computed for it.
    pub fn is_kept(&self) -> bool {
        matches!(self.source, AnswerSource::Cached(_))
    }
}

impl From<mpsc::Receiver<WorkerMessage>> for AnswerStream {
    fn from(pieces: mpsc::Receiver<WorkerMessage>) -> Self {
        Self::begun(pieces, None)
    }
}

impl From<CachedAnswer> for AnswerStream {
    fn from(kept: CachedAnswer) -> Self {
        let ended = QuerySummary { cost: kept.ended.cost.of_kept(), ..kept.ended };
        let rows = kept.rows.into_iter().map(WorkerMessage::Rows);
        let source = AnswerSource::Cached(rows.chain([WorkerMessage::Ended(ended)]).collect());
        Self { source, keeping: None }
    }
}
