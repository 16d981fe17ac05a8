//! `Session`: the life of TLS between a transport below and a protocol above.
//!
//! Without cryptography, a clock or a loop: whoever drives it owns the TLS object, reports what happened ("the handshake is done", "the
//! peer sends no more", "the user closes") and does what the machine answers. What happens in which order is asyncio's; where asyncio's
//! own machine loses something (a close before the connection is made, a close while reading is paused at the peer's end), this one
//! does not.
//!
//! Promises:
//!
//! - the protocol above is told in order, each once: connection made, end of input, connection lost; and it is told of the loss if
//!   and only if it knew of the connection;
//! - nothing is read before the handshake or after shutting down began, and nothing is admitted for writing from the first moment of
//!   closing on;
//! - an ended session stays ended, whatever is reported.

mod flow;
#[cfg(test)]
mod tests;

pub use self::flow::{Flow, Signal};

/// How many writes after the end are silent: from then on, each is worth a warning.
const SILENT_LOST_WRITES: u32 = 5;

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The transport below is not connected yet.
    New,
    Handshake,
    Open,
    /// What was received is still delivered and what was written still encrypted, then comes the shutdown.
    Flushing,
    /// The peer sends no more, but the user has paused reading: what was received waits for that to end.
    Held,
    /// `close_notify` was sent or is about to be, and the peer's is awaited.
    ShuttingDown,
    /// Both directions are done; the transport below sends what it has and closes.
    ShutDown,
    /// Nothing is exchanged any more.
    Ended,
}

/// What the protocol above knows of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    Connected,
    AtEnd,
    Lost,
}

/// What to do with a transport that is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Start {
    /// Begin the handshake.
    Handshake,
    /// The user has closed before it came to that.
    Abort,
    /// It was connected before.
    Nothing,
}

/// What to do when bytes have arrived, or when something that waited may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Go on with the handshake.
    Handshake,
    /// Deliver what can be decrypted.
    Read,
    /// The same, and then begin to shut down.
    Flush,
    /// Go on with shutting down.
    ShutDown,
    /// Nothing.
    Wait,
}

/// What follows a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Opened {
    /// Tell the protocol that it is connected.
    Announce,
    /// The protocol knows of the connection: TLS began on it later.
    Known,
    /// The session ended while the handshake was completed.
    TooLate,
}

/// What to do when the transport below receives no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum PeerEnd {
    /// The handshake has failed.
    FailHandshake,
    /// Deliver what is left, then shut down.
    Flush,
    /// Keep the transport below open: what is left is delivered when the user reads again.
    Hold,
    /// Go on with shutting down.
    ShutDown,
    /// Nothing.
    Nothing,
}

/// What to do when the user closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Close {
    /// Deliver what was received, then shut down, within a limit of time.
    Flush,
    /// Shut down: nobody wants what was received.
    ShutDown,
    /// There is nothing to be polite about: end the transport below.
    Abort,
    /// It is closing already.
    Nothing,
}

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    /// Encrypt it, after what waits.
    Encrypt,
    /// Keep it: there is no key yet.
    Keep,
    /// It comes too late.
    Discard {
        /// Whether there have been so many such writes that somebody should be told.
        warn: bool,
    },
}

/// The answer to who wants to tell the protocol something that it is told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum News {
    /// It is to be told now.
    Due,
    /// It was told already, or never knew of the connection.
    Stale,
}

/// The life of TLS on one connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    told: Told,
    /// The transport below receives no more.
    peer_ended: bool,
    /// The user has paused reading.
    reading_paused: bool,
    /// The transport below has asked to write no more.
    writing_blocked: bool,
    /// The user has closed, and wants nothing more to read; or the peer has, and there is nothing more.
    closed: bool,
    /// Writes that came too late, and one for the loss itself, as asyncio counts.
    lost_writes: u32,
}

impl Session {
    /// A session on a transport that is not connected yet. `knows` is whether the protocol above was told of the connection before TLS
    /// began on it.
    pub fn new(knows: bool) -> Self {
        Self {
            phase: Phase::New,
            told: if knows {
                Told::Connected
            } else {
                Told::Nothing
            },
            peer_ended: false,
            reading_paused: false,
            writing_blocked: false,
            closed: false,
            lost_writes: 0,
        }
    }

    // The handshake.

    /// The transport below is connected.
    pub fn connected(&mut self) -> Start {
        match self.phase {
            Phase::New => {
                self.phase = Phase::Handshake;
                Start::Handshake
            }
            Phase::Ended => Start::Abort,
            _ => Start::Nothing,
        }
    }

    /// The handshake is done.
    pub fn opened(&mut self) -> Opened {
        if self.phase != Phase::Handshake {
            return Opened::TooLate;
        }
        self.phase = Phase::Open;
        match self.told {
            Told::Nothing => {
                self.told = Told::Connected;
                Opened::Announce
            }
            _ => Opened::Known,
        }
    }

    /// Whether the handshake goes on: its time may be up.
    pub fn is_in_handshake(&self) -> bool {
        self.phase == Phase::Handshake
    }

    // Input.

    /// Bytes have arrived, or what waited may go on.
    pub fn next(&self) -> Step {
        match self.phase {
            Phase::Handshake => Step::Handshake,
            Phase::Open => Step::Read,
            Phase::Flushing | Phase::Held => Step::Flush,
            Phase::ShuttingDown => Step::ShutDown,
            Phase::New | Phase::ShutDown | Phase::Ended => Step::Wait,
        }
    }

    /// Whether what can be decrypted is to be delivered now.
    pub fn may_deliver(&self) -> bool {
        !self.reading_paused && matches!(self.phase, Phase::Open | Phase::Flushing | Phase::Held)
    }

    /// The transport below receives no more.
    pub fn peer_ended(&mut self) -> PeerEnd {
        self.peer_ended = true;
        match self.phase {
            Phase::Handshake => PeerEnd::FailHandshake,
            Phase::Open if self.reading_paused => {
                self.phase = Phase::Held;
                PeerEnd::Hold
            }
            Phase::Open => {
                self.phase = Phase::Flushing;
                PeerEnd::Flush
            }
            Phase::Held => PeerEnd::Hold,
            Phase::ShuttingDown => PeerEnd::ShutDown,
            Phase::New | Phase::Flushing | Phase::ShutDown | Phase::Ended => PeerEnd::Nothing,
        }
    }

    /// Whether the transport below receives no more, so that no answer of the peer's is to be waited for.
    pub fn has_peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Whether the protocol is to be told that no more will come.
    pub fn input_ended(&mut self) -> News {
        if self.told != Told::Connected {
            return News::Stale;
        }
        self.told = Told::AtEnd;
        News::Due
    }

    /// The user wants nothing to read for now.
    pub fn pause_reading(&mut self) {
        self.reading_paused = true;
    }

    /// The user wants to read again; whether it had paused.
    pub fn resume_reading(&mut self) -> bool {
        std::mem::take(&mut self.reading_paused)
    }

    /// Whether the user has not paused reading.
    pub fn is_reading(&self) -> bool {
        !self.reading_paused
    }

    // Output.

    /// What is to become of a write.
    pub fn admit(&mut self) -> Admission {
        match self.phase {
            Phase::Open => Admission::Encrypt,
            Phase::New | Phase::Handshake => Admission::Keep,
            _ => {
                let warn = self.lost_writes >= SILENT_LOST_WRITES;
                self.lost_writes = self.lost_writes.saturating_add(1);
                Admission::Discard { warn }
            }
        }
    }

    /// Whether what was admitted is to be encrypted now: not before the handshake, and not faster than the transport below takes it;
    /// except when closing, where what is written last has to follow.
    pub fn may_encrypt(&self) -> bool {
        match self.phase {
            Phase::Open => !self.writing_blocked,
            Phase::Flushing | Phase::Held => true,
            _ => false,
        }
    }

    /// The transport below asks to write no more.
    pub fn block_writing(&mut self) {
        self.writing_blocked = true;
    }

    /// The transport below may be written to again.
    pub fn unblock_writing(&mut self) {
        self.writing_blocked = false;
    }

    /// Whether the transport below is to be given what is encrypted. Its wish to be given no more counts until everything is done: then
    /// it is about to be closed, and sends what it was given.
    pub fn may_send(&self) -> bool {
        match self.phase {
            Phase::ShutDown => true,
            Phase::Ended => false,
            _ => !self.writing_blocked,
        }
    }

    // The end.

    /// The user closes, or the peer has: its `close_notify` was read.
    pub fn close(&mut self) -> Close {
        self.closed = true;
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Flushing;
                Close::Flush
            }
            Phase::Held => {
                self.phase = Phase::Flushing;
                Close::ShutDown
            }
            Phase::New => {
                self.phase = Phase::Ended;
                Close::Nothing
            }
            Phase::Handshake => {
                self.phase = Phase::Ended;
                Close::Abort
            }
            Phase::Flushing | Phase::ShuttingDown | Phase::ShutDown | Phase::Ended => {
                Close::Nothing
            }
        }
    }

    /// What was received is delivered, as far as it was wanted, and what was written is encrypted: `true` if shutting down begins now.
    /// It does not where the peer ended the session and the user has paused reading meanwhile.
    #[must_use]
    pub fn flushed(&mut self) -> bool {
        if !matches!(self.phase, Phase::Flushing | Phase::Held) {
            return false;
        }
        let holds = self.reading_paused && self.peer_ended && !self.closed;
        self.phase = match holds {
            true => Phase::Held,
            false => Phase::ShuttingDown,
        };
        !holds
    }

    /// Whether what was received waits for the user to read again, so that the transport below must stay.
    pub fn is_held(&self) -> bool {
        self.phase == Phase::Held
    }

    /// Both sides have said that they are done: `true` if the transport below is to be closed now.
    #[must_use]
    pub fn shut_down(&mut self) -> bool {
        let completes = self.phase == Phase::ShuttingDown;
        if completes {
            self.phase = Phase::ShutDown;
        }
        completes
    }

    /// Whether it is closing but has not ended: its time may be up.
    pub fn is_shutting_down(&self) -> bool {
        matches!(
            self.phase,
            Phase::Flushing | Phase::ShuttingDown | Phase::ShutDown
        )
    }

    /// Nothing is exchanged any more, for an error or since the user aborts.
    pub fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    /// Whether nothing is exchanged any more.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The transport below is gone; whether the protocol is to be told.
    pub fn lost(&mut self) -> News {
        self.phase = Phase::Ended;
        self.lost_writes = self.lost_writes.saturating_add(1);
        match self.told {
            Told::Connected | Told::AtEnd => {
                self.told = Told::Lost;
                News::Due
            }
            Told::Nothing | Told::Lost => News::Stale,
        }
    }
}
