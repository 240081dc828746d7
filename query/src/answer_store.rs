//! Answers that are kept beside the tables, to be fetched later: the rights that one was computed with, then the
//! Arrow stream as the worker wrote it.

use futures::{StreamExt, TryStreamExt};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path,
};
use pipeline::{Location, Root};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, sync::mpsc};

use crate::{QueryError, QuerySummary, Reason, Request, RowAccess, pool::WorkerMessage};

/// What decides which values an answer holds, besides its question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub reach: RowAccess,
    /// Whether what says something of persons is shown.
    pub persons: bool,
}

/// The folder of kept answers. Clones share it.
#[derive(Clone)]
pub struct AnswerStore {
    store: std::sync::Arc<dyn ObjectStore>,
    prefix: Path,
}

/// An answer that is being kept. Until it is closed, nothing is there.
pub struct AnswerWriter {
    writer: BufWriter,
    bytes: u64,
    bytes_max: u64,
}

/// Beside the folders of the tables. A name that begins so is no table to any reader of Delta.
const FOLDER: &str = "_query_results";
const EXTENSION: &str = "arrows";
/// Pieces that wait for the reader.
const PIECES: usize = 4;
/// The rights, in JSON, with blanks behind them: an organization's id has up to 64 bytes.
const HEAD: usize = 256;

impl Rights {
    pub fn of(request: &Request) -> Self {
        Self { reach: request.reach.clone(), persons: request.terms.persons }
    }

    /// Whether who has these rights may read what was computed with others.
    pub fn cover(&self, others: &Self) -> bool {
        let rows = match (&self.reach, &others.reach) {
            (RowAccess::Admin, _) => true,
            (RowAccess::Staff, others) => *others != RowAccess::Admin,
            (own, others) => own == others,
        };
        rows && (self.persons || !others.persons)
    }

    fn head(&self) -> Result<Vec<u8>, QueryError> {
        let mut head = serde_json::to_vec(self).unwrap_or_default();
        if head.is_empty() || head.len() > HEAD {
            return Err(QueryError::new(Reason::Unavailable, "the answer could not be kept"));
        }
        head.resize(HEAD, b' ');
        Ok(head)
    }
}

impl AnswerStore {
    pub fn open(location: &Location) -> Result<Self, pipeline::Error> {
        let Root { store, prefix, .. } = location.open()?;
        Ok(Self { store, prefix: prefix.join(FOLDER) })
    }

    fn path(&self, id: &str) -> Path {
        self.prefix.clone().join(format!("{id}.{EXTENSION}"))
    }

    /// Begins to keep an answer of at most `bytes_max`.
    pub async fn begin(
        &self,
        id: &str,
        rights: &Rights,
        bytes_max: u64,
    ) -> Result<AnswerWriter, QueryError> {
        let mut writer = BufWriter::new(std::sync::Arc::clone(&self.store), self.path(id));
        writer.put(rights.head()?.into()).await.map_err(unavailable)?;
        Ok(AnswerWriter { writer, bytes: 0, bytes_max })
    }

    /// Gives a kept answer piece by piece, as the worker did; `None` when it is not there any more, or was computed
    /// with rights that the reader does not have.
    ///
    /// # Errors
    /// [`Reason::Unavailable`] when the store does not answer.
    pub async fn pieces(
        &self,
        id: &str,
        reader: &Rights,
        ended: QuerySummary,
    ) -> Result<Option<mpsc::Receiver<WorkerMessage>>, QueryError> {
        let path = self.path(id);
        let head = match self.store.get_range(&path, 0..HEAD as u64).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            head => head.map_err(unavailable)?,
        };
        let covers = |rights: Rights| reader.cover(&rights);
        if !serde_json::from_slice(&head).is_ok_and(covers) {
            return Ok(None);
        }
        let rest = GetRange::Offset(HEAD as u64);
        let rest = GetOptions { range: Some(rest), ..GetOptions::default() };
        let kept = match self.store.get_opts(&path, rest).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            kept => kept.map_err(unavailable)?,
        };
        let (pieces, receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            let mut chunks = kept.into_stream();
            while let Some(chunk) = chunks.next().await {
                let piece = match chunk {
                    Ok(bytes) => WorkerMessage::Rows(bytes),
                    Err(error) => WorkerMessage::Failed(unavailable(error)),
                };
                if pieces.send(piece).await.is_err() {
                    return;
                }
            }
            let _ = pieces.send(WorkerMessage::Ended(ended)).await;
        });
        Ok(Some(receiver))
    }

    /// Removes a kept answer. That there is none is no error.
    pub async fn remove(&self, id: &str) -> Result<(), QueryError> {
        match self.store.delete(&self.path(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Removes every kept answer, and what a broken-off one left.
    pub async fn clear(&self) -> Result<(), QueryError> {
        let kept = self.store.list(Some(&self.prefix)).map_ok(|file| file.location).boxed();
        let mut removing = self.store.delete_stream(kept);
        while let Some(removed) = removing.next().await {
            match removed {
                // Its query removed it.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Ok(())
    }
}

impl AnswerWriter {
    /// Adds bytes of the stream.
    pub async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), QueryError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bytes_max {
            let message = format!("the answer has more than {} bytes", self.bytes_max);
            return Err(QueryError::new(Reason::TooLarge, message));
        }
        self.writer.put(bytes).await.map_err(unavailable)
    }

    /// Makes the answer readable.
    pub async fn close(mut self) -> Result<(), QueryError> {
        self.writer.shutdown().await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "keeping an answer");
            QueryError::new(Reason::Unavailable, "the answer could not be kept")
        })
    }

    /// Gives it up.
    pub async fn abort(mut self) {
        let _ = self.writer.abort().await;
    }
}

fn unavailable(error: object_store::Error) -> QueryError {
    tracing::error!(error = &error as &dyn std::error::Error, "a kept answer");
    QueryError::new(Reason::Unavailable, "the store of kept answers does not answer")
}

impl std::fmt::Debug for AnswerStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AnswerStore({})", self.prefix)
    }
}

impl std::fmt::Debug for AnswerWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AnswerWriter({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_cover_no_more_than_they_hold() {
        let of = |organization: &str| RowAccess::Organization(organization.into());
        let all = [RowAccess::Admin, RowAccess::Staff, of("org_a"), of("org_b")];
        let covered = |reader: &RowAccess, persons: bool| {
            let reader = Rights { reach: reader.clone(), persons };
            let kept = all.iter().flat_map(|reach| {
                [true, false].map(|persons| Rights { reach: reach.clone(), persons })
            });
            kept.map(|kept| if reader.cover(&kept) { '1' } else { '0' }).collect::<String>()
        };
        // Of each of the four with persons, and without.
        assert_eq!(covered(&RowAccess::Admin, true), "11111111");
        assert_eq!(covered(&RowAccess::Staff, true), "00111111");
        assert_eq!(covered(&RowAccess::Staff, false), "00010101");
        assert_eq!(covered(&of("org_a"), true), "00001100");
        assert_eq!(covered(&of("org_a"), false), "00000100");
    }

    #[test]
    fn the_longest_id_has_room() {
        let reach = RowAccess::Organization("x".repeat(64));
        let rights = Rights { reach, persons: false };
        let head = rights.head().unwrap();
        assert_eq!(head.len(), HEAD);
        assert_eq!(serde_json::from_slice::<Rights>(&head).unwrap(), rights);
    }
}
