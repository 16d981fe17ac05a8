//! From the first byte to the last word: how far a push transport is from its end, and what is written when it is over.

/// How many writes to a lost connection are silent: from then on, each is worth a warning.
const SILENT_LOST_WRITES: u32 = 5;

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    /// Nothing waits: try to send it at once, and push what is left.
    Send,
    /// Push it: others wait before it.
    Queue,
    /// The connection is lost, and so is this.
    Discard {
        /// Whether there have been so many such writes that somebody should be told.
        warn: bool,
    },
}

/// The answer to who wants to tell the protocol of the connection's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Farewell {
    /// It is to be told now.
    Due,
    /// It was told already.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Open,
    /// Closed by the user; what waits is still sent.
    Flushing,
    /// Nothing that waited is sent any more, and the protocol will be told.
    Lost,
    /// The protocol was told.
    Ended,
}

/// The phases of a transport, which it goes through in order, and the writes that came too late.
#[derive(Debug)]
pub(crate) struct Life {
    phase: Phase,
    /// How many writes were discarded, and one for each loss that asyncio counts with them.
    lost_writes: u32,
}

impl Life {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Open,
            lost_writes: 0,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost | Phase::Ended)
    }

    /// The user closes, and something waits.
    pub(crate) fn flush(&mut self) {
        debug_assert_eq!(self.phase, Phase::Open);
        self.phase = Phase::Flushing;
    }

    /// Nothing that waits will be sent.
    pub(crate) fn lose(&mut self) {
        debug_assert!(!self.is_lost());
        self.phase = Phase::Lost;
    }

    /// Counts something lost.
    pub(crate) fn count_loss(&mut self) {
        self.lost_writes = self.lost_writes.saturating_add(1);
    }

    /// A write comes too late.
    pub(crate) fn discard(&mut self) -> Admission {
        let warn = self.lost_writes >= SILENT_LOST_WRITES;
        self.count_loss();
        Admission::Discard { warn }
    }

    /// Whether the protocol is to be told of the end now; afterwards it has been.
    pub(crate) fn farewell(&mut self) -> Farewell {
        if self.phase == Phase::Ended {
            return Farewell::Done;
        }
        self.phase = Phase::Ended;
        Farewell::Due
    }
}
