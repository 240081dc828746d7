//! Answers that are kept beside the tables, to be fetched later: the Arrow stream as the worker wrote it.

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use pipeline::{Location, Root};
use tokio::{io::AsyncWriteExt, sync::mpsc};

use crate::{Ended, QueryError, Reason, pool::Piece};

/// The folder of kept answers. Clones share it.
#[derive(Clone)]
pub struct Stored {
    store: std::sync::Arc<dyn ObjectStore>,
    prefix: Path,
}

/// An answer that is being kept. Until it is closed, nothing is there.
pub struct Keeping {
    writer: BufWriter,
    bytes: u64,
    bytes_max: u64,
}

/// Beside the folders of the tables. A name that begins so is no table to any reader of Delta.
const FOLDER: &str = "_query_results";
const EXTENSION: &str = "arrows";
/// Pieces that wait for the reader.
const PIECES: usize = 4;

impl Stored {
    pub fn open(location: &Location) -> Result<Self, pipeline::Error> {
        let Root { store, prefix, .. } = location.open()?;
        Ok(Self { store, prefix: prefix.join(FOLDER) })
    }

    fn path(&self, id: &str) -> Path {
        self.prefix.clone().join(format!("{id}.{EXTENSION}"))
    }

    /// Begins to keep an answer of at most `bytes_max`.
    pub fn begin(&self, id: &str, bytes_max: u64) -> Keeping {
        let writer = BufWriter::new(std::sync::Arc::clone(&self.store), self.path(id));
        Keeping { writer, bytes: 0, bytes_max }
    }

    /// Gives a kept answer piece by piece, as the worker did; `None` when it is not there any more.
    ///
    /// # Errors
    /// [`Reason::Unavailable`] when the store does not answer.
    pub async fn pieces(
        &self,
        id: &str,
        ended: Ended,
    ) -> Result<Option<mpsc::Receiver<Piece>>, QueryError> {
        let kept = match self.store.get(&self.path(id)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            kept => kept.map_err(unavailable)?,
        };
        let (pieces, receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            let mut chunks = kept.into_stream();
            while let Some(chunk) = chunks.next().await {
                let piece = match chunk {
                    Ok(bytes) => Piece::Rows(bytes),
                    Err(error) => Piece::Failed(unavailable(error)),
                };
                if pieces.send(piece).await.is_err() {
                    return;
                }
            }
            let _ = pieces.send(Piece::Ended(ended)).await;
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

impl Keeping {
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

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stored({})", self.prefix)
    }
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeping({} bytes)", self.bytes)
    }
}
