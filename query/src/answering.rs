//! An answer while it comes, from a worker or because it was kept.

use std::{collections::VecDeque, mem};

use arrow::{array::RecordBatch, buffer::Buffer, ipc::reader::StreamDecoder};
use tokio::sync::mpsc;

use crate::{
    QueryError, QuerySummary, Reason,
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

/// The rows of an answer, batch by batch.
#[derive(Debug)]
pub struct BatchStream {
    pieces: AnswerStream,
    decoder: StreamDecoder,
    /// What came and is not read yet.
    bytes: Buffer,
}

impl BatchStream {
    pub(crate) fn new(pieces: AnswerStream) -> Self {
        Self { pieces, decoder: StreamDecoder::new(), bytes: Buffer::from(Vec::<u8>::new()) }
    }

    /// The next rows; nothing when the answer is complete.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        let lost = || QueryError::new(Reason::Lost, "the answer of the worker is cut off");
        loop {
            if !self.bytes.is_empty()
                && let Some(rows) = self.decoder.decode(&mut self.bytes).map_err(|_| lost())?
            {
                return Ok(Some(rows));
            }
            match self.pieces.recv().await.ok_or_else(lost)? {
                WorkerMessage::Rows(piece) => self.bytes = Buffer::from(piece),
                WorkerMessage::Progress(_) => {}
                WorkerMessage::Failed(error) => return Err(error),
                WorkerMessage::Ended(_) => return Ok(None),
            }
        }
    }
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
