//! What follows from the answers to one conditional replace, as a function of the answers alone.

/// What is known of a replace from the answers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Doubt {
    /// Whether to send the replace, at first or again, before asking what became of it.
    is_due: bool,
    /// Whether a replace may still be on its way: its answer never came, or it was refused, perhaps because of a copy of itself.
    is_uncertain: bool,
    /// Whether the store rejected the replace that was sent last.
    is_rejected: bool,
}

/// The answer to a replace that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Answered {
    /// It happened.
    Done,
    /// It was not sent. Waiting helps only where nothing has waited already, as for a lock.
    NotSent {
        /// Whether to try again after a pause.
        may_wait: bool,
    },
    /// The register has another version, perhaps because of a copy of this replace.
    Refused,
    /// The store did not carry it out.
    Rejected,
    /// Nothing is known.
    Unanswered,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AfterAnswer {
    /// The replace happened.
    Won,
    /// The register is read to find out.
    Ask,
    /// It is sent again after a pause.
    SendAgain,
    /// It did not happen and cannot any more.
    Failed,
}

impl Doubt {
    /// Nothing was sent yet.
    pub(crate) const fn new() -> Self {
        Self { is_due: true, is_uncertain: false, is_rejected: false }
    }

    /// Whether to send the replace before asking what became of it.
    pub(crate) const fn is_due(self) -> bool {
        self.is_due
    }

    /// Notes an answer.
    pub(crate) fn answered(&mut self, answer: Answered) -> AfterAnswer {
        match answer {
            Answered::Done => return AfterAnswer::Won,
            Answered::NotSent { .. } if self.is_uncertain => {}
            // Nothing of this change is on its way.
            Answered::NotSent { may_wait: true } => return AfterAnswer::SendAgain,
            Answered::NotSent { may_wait: false } => return AfterAnswer::Failed,
            Answered::Refused | Answered::Unanswered => self.is_uncertain = true,
            Answered::Rejected => self.is_rejected = true,
        }
        self.is_due = false;
        AfterAnswer::Ask
    }

    /// Notes that the register still is what the replace expects: it was not applied yet, and never will be if the store has answered
    /// everything that was sent.
    pub(crate) fn unchanged(&mut self) -> AfterAnswer {
        self.is_due = true;
        let is_rejected = std::mem::take(&mut self.is_rejected);
        if is_rejected && !self.is_uncertain { AfterAnswer::Failed } else { AfterAnswer::SendAgain }
    }

    /// Whether nothing of it was ever sent.
    pub(crate) const fn was_never_sent(self) -> bool {
        self.is_due && !self.is_uncertain
    }
}
