//! Notices of runs that reached a status, for callbacks.

use super::super::rows::{Noted, State};
use crate::limits::{NOTICE_CLAIM_MS, NOTICE_KEPT_MS};
use crate::model::Status;
use crate::store::{ClaimNotices, ClaimNoticesAnswer, Notice, ReturnNotice, RunKey};

impl State {
    pub(super) fn note(&mut self, run: RunKey, status: Status, at: u64) {
        self.noticed += 1;
        self.notices.insert(self.noticed, Noted { run, status, holder: 0, until: at, tries: 0 });
    }

    fn notice(&self, sequence: u64, noted: &Noted) -> Option<Notice> {
        let run = self.runs.get(&noted.run)?.view();
        Some(Notice { sequence, status: noted.status, tries: noted.tries, run })
    }

    pub(in crate::store::memory) fn notices(&self, statuses: &[Status], after: u64, limit: usize) -> Vec<Notice> {
        let of_these = self.notices.range(after + 1..).filter(|(_, noted)| statuses.contains(&noted.status));
        of_these.filter_map(|(sequence, noted)| self.notice(*sequence, noted)).take(limit).collect()
    }

    pub(super) fn claim_notices(&mut self, claim: &ClaimNotices) -> ClaimNoticesAnswer {
        let ClaimNotices { owner, now, statuses, limit } = claim;
        if *owner != self.executing {
            return ClaimNoticesAnswer::Fenced;
        }
        let claimed_until = now + NOTICE_CLAIM_MS;
        let can_be_claimed = |noted: &Noted| {
            let again = noted.holder == *owner && noted.until == claimed_until;
            statuses.contains(&noted.status) && (noted.until <= *now || again)
        };
        let free = self.notices.iter().filter(|(_, noted)| can_be_claimed(noted));
        let mut free: Vec<(u64, u64)> = free.map(|(sequence, noted)| (noted.until, *sequence)).collect();
        free.sort_unstable();
        free.truncate(*limit);
        let mut claimed = Vec::with_capacity(free.len());
        for (_, sequence) in free {
            if let Some(noted) = self.notices.get_mut(&sequence) {
                (noted.holder, noted.until, noted.tries) = (*owner, claimed_until, noted.tries + 1);
            }
            claimed.extend(self.notices.get(&sequence).and_then(|noted| self.notice(sequence, noted)));
        }
        ClaimNoticesAnswer::Claimed(claimed)
    }

    pub(super) fn return_notice(&mut self, returned: &ReturnNotice) {
        if let Some(noted) = self.notices.get_mut(&returned.sequence)
            && noted.holder == returned.owner
        {
            (noted.holder, noted.until) = (0, returned.until);
        }
    }

    /// Frees the notices that another engine has claimed: they can be claimed from the time of that claim on.
    pub(super) fn free_notices(&mut self, owner: u64) {
        for noted in self.notices.values_mut().filter(|noted| ![0, owner].contains(&noted.holder)) {
            (noted.holder, noted.until) = (0, noted.until.saturating_sub(NOTICE_CLAIM_MS));
        }
    }

    /// Drops notices that no engine has claimed for too long.
    pub(super) fn drop_notices(&mut self, now: u64) {
        let before = self.notices.len();
        let kept_since = now.saturating_sub(NOTICE_KEPT_MS);
        self.notices.retain(|_, noted| noted.until >= kept_since);
        crate::store::log_dropped_notices(before - self.notices.len());
    }
}
