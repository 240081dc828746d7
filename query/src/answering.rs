//! An answer while it comes, from a worker or because it was kept.

use std::{collections::VecDeque, mem};

use tokio::sync::mpsc;

use crate::{
    Ended,
    cache::{Keeping, Kept},
    pool::Piece,
};

/// The pieces of an answer. Dropped before the last one, it stops its query.
#[derive(Debug)]
pub struct Answering {
    source: Source,
    keeping: Option<Keeping>,
}

#[derive(Debug)]
enum Source {
    Worker(mpsc::Receiver<Piece>),
    Kept(VecDeque<Piece>),
}

impl Answering {
    /// An answer that is kept for the next who asks, when it is small and there is room.
    pub(crate) fn begun(pieces: mpsc::Receiver<Piece>, keeping: Option<Keeping>) -> Self {
        Self { source: Source::Worker(pieces), keeping }
    }

    /// The next piece. After one that is not of rows, or of progress, there are no more.
    pub async fn recv(&mut self) -> Option<Piece> {
        let piece = match &mut self.source {
            Source::Worker(pieces) => pieces.recv().await,
            Source::Kept(pieces) => pieces.pop_front(),
        };
        match (&piece, mem::take(&mut self.keeping)) {
            (Some(Piece::Rows(rows)), Some(keeping)) => self.keeping = keeping.with(rows),
            (Some(Piece::Progress(_)), keeping) => self.keeping = keeping,
            (Some(Piece::Ended(ended)), Some(keeping)) => keeping.end(ended),
            _ => {}
        }
        piece
    }

    /// Whether nothing was computed for it.
    pub fn is_kept(&self) -> bool {
        matches!(self.source, Source::Kept(_))
    }
}

impl From<mpsc::Receiver<Piece>> for Answering {
    fn from(pieces: mpsc::Receiver<Piece>) -> Self {
        Self::begun(pieces, None)
    }
}

impl From<Kept> for Answering {
    fn from(kept: Kept) -> Self {
        let ended = Ended { cost: kept.ended.cost.of_kept(), ..kept.ended };
        let rows = kept.rows.into_iter().map(Piece::Rows);
        let source = Source::Kept(rows.chain([Piece::Ended(ended)]).collect());
        Self { source, keeping: None }
    }
}
