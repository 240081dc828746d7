//! Dead letters taken in again, once what was wrong with them is right.

use ingest::{
    OrganizationId, Rejection, Verdict,
    decode::{self, Decoded},
    intake::Submission,
    time::Window,
};

use super::{Admission, Lakehouse, Outcome, count};
use crate::Error;

/// A rejected event as it was kept: whose it is (`None`: the platform's own), and its text.
pub type RejectedEvent = (Option<OrganizationId>, String);

impl Lakehouse {
    /// Decodes letters with today's rules and stores the good ones, each once. A letter that is rejected again
    /// is not kept a second time. `is_history`: events may be of any age.
    pub async fn replay(
        &self,
        mut admission: Admission,
        letters: Vec<RejectedEvent>,
        is_history: bool,
    ) -> Result<Outcome, Error> {
        let bytes = letters.iter().map(|(_, raw)| raw.len()).sum();
        if let Err(refused) = admission.grow(bytes) {
            count::refused(refused);
            return Ok(Outcome::Refused(refused));
        }
        let _under_way = self.under_way.read().await;
        let (lakehouse, events) = (self.clone(), letters.len());
        let decoding = move || lakehouse.decode_again(&letters, is_history);
        let (rejected, submission) = self.decoders.run(decoding).await??;
        let mut verdicts = vec![Verdict::Accepted; events];
        let settled = match self.settle(submission).await? {
            Ok(settled) => settled,
            Err(refused) => {
                count::refused(refused);
                return Ok(Outcome::Refused(refused));
            }
        };
        let rejected = rejected.into_iter().map(|(index, why)| (index, Verdict::Rejected(why)));
        for (index, verdict) in settled.into_iter().chain(rejected) {
            verdicts[index as usize] = verdict;
        }
        // A rejected one was counted when it became a letter.
        let good = verdicts.iter().filter(|verdict| !matches!(verdict, Verdict::Rejected(_)));
        count::verdicts(&good.cloned().collect::<Vec<_>>());
        Ok(Outcome::Settled(verdicts, Vec::new()))
    }

    /// What was rejected, and the rest on its way to the log.
    fn decode_again(
        &self,
        letters: &[RejectedEvent],
        is_history: bool,
    ) -> Result<(Vec<(u32, Rejection)>, Submission), Error> {
        let received_at = (self.settings.clock)();
        let window = Window::at(received_at);
        let window = if is_history { window.with_history() } else { window };
        let Decoded { batches, rejected, .. } =
            decode::again(letters, &self.settings.pseudonyms, window)?;
        let submission = self.intake.probe(batches)?;
        Ok((rejected, submission))
    }
}
