//! `Machine`: what any push transport's state machine is asked, and the half of the answers that do not depend on what is sent.

use super::actions::Actions;
use super::flow::{Flow, Limits};
use super::life::{Farewell, Life};

/// What every such machine keeps.
#[derive(Debug)]
pub struct State {
    pub(crate) life: Life,
    pub(crate) flow: Flow,
    /// The user paused reading.
    reading_paused: bool,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            life: Life::new(),
            flow: Flow::default(),
            reading_paused: false,
        }
    }
}

/// A push transport's state machine: events in, [`Actions`] out.
pub trait Machine {
    /// What was waiting when the transport was aborted.
    type Dropped;

    /// What every machine keeps.
    fn state(&self) -> &State;

    /// What every machine keeps.
    fn state_mut(&mut self) -> &mut State;

    /// How much waits to be sent.
    fn size(&self) -> usize;

    /// The protocol has been told of the transport: what comes in may be read.
    fn start_reading(&self) -> Actions;

    /// Ends the transport after what waits is sent.
    fn close(&mut self) -> Actions;

    /// Ends the transport and drops what waits.
    fn abort(&mut self) -> (Actions, Self::Dropped);

    /// Whether it is closing or closed.
    fn is_closing(&self) -> bool {
        self.state().life.is_closing()
    }

    /// Whether nothing that waits is sent any more.
    fn is_lost(&self) -> bool {
        self.state().life.is_lost()
    }

    /// Whether the protocol is to be told of the end now; afterwards it has been.
    fn farewell(&mut self) -> Farewell {
        self.state_mut().life.farewell()
    }

    /// Whether what comes in is wanted.
    fn is_reading(&self) -> bool {
        !self.is_closing() && !self.state().reading_paused
    }

    /// The user wants nothing to read for now.
    fn pause_reading(&mut self) -> Actions {
        if !self.is_reading() {
            return Actions::NONE;
        }
        self.state_mut().reading_paused = true;
        Actions::STOP_READING
    }

    /// The user wants to read again.
    fn resume_reading(&mut self) -> Actions {
        if self.is_closing() || !self.state().reading_paused {
            return Actions::NONE;
        }
        self.state_mut().reading_paused = false;
        Actions::START_READING
    }

    /// Whether the protocol was asked to write no more.
    fn is_writing_paused(&self) -> bool {
        self.state().flow.is_paused()
    }

    /// The water marks.
    fn limits(&self) -> Limits {
        self.state().flow.limits
    }

    /// Changes the water marks. A protocol that was asked to pause is not told to go on before something is sent.
    fn set_limits(&mut self, limits: Limits) -> Actions {
        let size = self.size();
        let flow = &mut self.state_mut().flow;
        flow.limits = limits;
        flow.grown(size)
    }
}
