//! `Datagrams`: the state machine of a push transport that sends and receives datagrams.
//!
//! Without a descriptor, a clock or a loop, as [`Stream`](crate::stream::Stream) is: events in, [`Actions`] out. What happens in which order
//! is asyncio's; its selector transport is the model.
//!
//! Promises:
//!
//! - datagrams leave whole and in the order in which they were sent, each to its address;
//! - writability is watched from the first datagram that waits until a [`settle`](Datagrams::settle) finds none;
//! - the end is announced once, by [`Actions::LOSE_SOON`] or [`Actions::LOSE_NOW`];
//! - `close` sends first what waits, `abort` drops it;
//! - no chunk and no address is dropped in here, for dropping an address may call anybody: what is lost is handed out.

mod queue;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use self::queue::Queue;
use crate::push::{Actions, Admission, Machine, Phase, State};

pub use self::queue::Dropped;

/// Where the datagrams go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// All to one address, which the transport was made with. What is sent after the end is discarded, and counted.
    Fixed,
    /// Each to its own, or wherever the socket is connected to. What is sent after the end goes out as long as the descriptor is open,
    /// since asyncio lets it.
    Free,
}

/// Datagrams whose contents are `C` and whose addresses are `A`.
#[derive(Debug)]
pub struct Datagrams<C, A> {
    aim: Aim,
    state: State,
    /// Writability is watched.
    is_watched: bool,
    queue: Queue<C, A>,
}

impl<C: AsRef<[u8]>, A> Datagrams<C, A> {
    /// With nothing to send, and not receiving yet. Each datagram that waits counts as `header` bytes more than it has.
    pub fn new(aim: Aim, header: usize) -> Self {
        Self {
            aim,
            state: State::new(),
            is_watched: false,
            queue: Queue::new(header),
        }
    }

    /// What is to become of a datagram.
    pub fn admit(&mut self) -> Admission {
        let is_late = match self.aim {
            Aim::Fixed => self.is_lost(),
            Aim::Free => self.state.life.phase() == Phase::Ended,
        };
        if is_late {
            return self.state.life.discard();
        }
        match self.queue.is_empty() {
            true => Admission::Send,
            false => Admission::Queue,
        }
    }

    /// Queues a datagram that could not be sent at once.
    ///
    /// # Errors
    ///
    /// The datagram, if nothing is sent any more.
    pub fn push(&mut self, chunk: C, address: A) -> Result<Actions, (C, A)> {
        if self.is_lost() {
            return Err((chunk, address));
        }
        self.queue.push_back(chunk, address);
        let starts = !std::mem::replace(&mut self.is_watched, true);
        Ok(Actions::START_WRITING.only_if(starts) | self.state.flow.grown(self.size()))
    }

    /// Takes out the datagram to send next. What is sent meanwhile, by whoever is called for its address, overtakes it: asyncio does not
    /// hold it back either.
    pub fn take(&mut self) -> Option<(C, A)> {
        self.queue.pop_front()
    }

    /// Puts back the datagram that was taken, as the next one: there was no room for it.
    ///
    /// # Errors
    ///
    /// The datagram, if nothing is sent any more.
    pub fn put_back(&mut self, chunk: C, address: A) -> Result<(), (C, A)> {
        if self.is_lost() {
            return Err((chunk, address));
        }
        self.queue.push_front(chunk, address);
        Ok(())
    }

    /// As much was sent as there was room for. [`settle`](Datagrams::settle) is to follow, after what this asks for is done.
    pub fn sent(&mut self) -> Actions {
        self.state.flow.shrunk(self.size())
    }

    /// Finishes what waited for the queue to be empty, if it is: the protocol, told to go on, may have sent more.
    pub fn settle(&mut self) -> Actions {
        if !self.queue.is_empty() || self.is_lost() {
            return Actions::NONE;
        }
        if self.state.life.phase() == Phase::Flushing {
            self.lose();
            return self.stop_writing() | Actions::LOSE_NOW;
        }
        self.stop_writing()
    }

    /// Takes out everything that waits: the transport is being taken apart.
    pub fn take_all(&mut self) -> Dropped<C, A> {
        self.queue.take()
    }

    /// What waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = (&C, &A)> {
        self.queue.iter()
    }

    fn stop_writing(&mut self) -> Actions {
        Actions::STOP_WRITING.only_if(std::mem::take(&mut self.is_watched))
    }

    fn lose(&mut self) {
        self.state.life.lose();
        self.state.life.count_loss();
    }
}

impl<C: AsRef<[u8]>, A> Machine for Datagrams<C, A> {
    type Dropped = Dropped<C, A>;

    fn state(&self) -> &State {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The bytes of the datagrams that wait, and their headers.
    fn size(&self) -> usize {
        self.queue.size()
    }

    fn start_reading(&self) -> Actions {
        Actions::START_READING.only_if(self.is_reading())
    }

    fn close(&mut self) -> Actions {
        if self.is_closing() {
            return Actions::NONE;
        }
        if !self.queue.is_empty() {
            self.state.life.flush();
            return Actions::STOP_READING;
        }
        self.lose();
        Actions::STOP_READING | self.stop_writing() | Actions::LOSE_SOON
    }

    fn abort(&mut self) -> (Actions, Self::Dropped) {
        if self.is_lost() {
            return (Actions::NONE, Dropped::nothing());
        }
        let was_reading = !self.is_closing();
        self.lose();
        let actions =
            self.stop_writing() | Actions::STOP_READING.only_if(was_reading) | Actions::LOSE_SOON;
        (actions, self.queue.take())
    }
}
