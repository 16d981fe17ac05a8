//! `Stream`: the state machine of a push transport over a stream of bytes.
//!
//! Without a descriptor, a clock or a loop: whoever owns the descriptor reports what happened ("so much was sent", "the user closes") and does
//! what the machine answers ([`Actions`]). What happens in which order is asyncio's: its selector transports are the model, for sockets
//! and for either end of a pipe ([`Shape`]).
//!
//! Promises:
//!
//! - bytes leave in the order in which they were written, and none is kept twice;
//! - writability is watched exactly while something waits to be sent;
//! - the end of the connection is announced once, by [`Actions::LOSE_SOON`] or [`Actions::LOSE_NOW`], whatever comes together;
//! - `close` sends first what waits, `abort` drops it.
//!
//! Chunks are dropped inside its methods, so dropping one must call nobody.

mod batch;
mod gather;
mod queue;

#[cfg(test)]
mod tests;

pub use self::batch::Batch;
pub use self::gather::Dispatch;
use self::gather::Gather;
pub use self::queue::Queue;
use crate::push::{Actions, Admission, Machine, Phase, State};

/// What kind of stream it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Both directions, of which the sending one can be shut down: a socket.
    Duplex,
    /// The reading end of a pipe.
    Source,
    /// The writing end of a pipe. Shutting it down is closing it; what it reads is only whether the reader has gone away.
    Sink,
}

/// A stream of bytes whose chunks are `C`.
#[derive(Debug)]
pub struct Stream<C> {
    shape: Shape,
    state: State,
    /// The user said that no more will be written ([`Shape::Duplex`] only; a [`Shape::Sink`] closes instead).
    half_closed: bool,
    queue: Queue<C>,
    gather: Gather,
}

impl<C: AsRef<[u8]>> Stream<C> {
    /// An open stream with nothing to send, which does not read yet.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            state: State::new(),
            half_closed: false,
            queue: Queue::new(),
            gather: Gather::default(),
        }
    }

    /// What kind of stream it is.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the user said that no more will be written.
    pub fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// The peer sends no more, and the protocol was told; `keep_open` is whether it wants to go on writing.
    pub fn peer_ended(&mut self, keep_open: bool) -> Actions {
        if keep_open {
            Actions::STOP_READING
        } else {
            self.close()
        }
    }

    /// What is to become of a write that is not empty.
    pub fn admit(&mut self) -> Admission {
        let discards = match self.shape {
            Shape::Duplex | Shape::Source => self.is_lost(),
            Shape::Sink => self.is_closing(),
        };
        if discards {
            return self.state.life.discard();
        }
        match self.queue.is_empty() {
            true => Admission::Send,
            false => Admission::Queue,
        }
    }

    /// How a piece is to be sent that is [admitted](Admission::Send) in that turn of the owner's.
    #[inline]
    pub fn dispatch(&mut self, turn: u32) -> Dispatch {
        self.gather.write(turn)
    }

    /// Queues what is left of a chunk after its first `sent` bytes.
    pub fn push(&mut self, chunk: C, sent: usize) -> Actions {
        let was_empty = self.queue.is_empty();
        self.append(chunk, sent);
        let starts = was_empty && !self.queue.is_empty();
        Actions::START_WRITING.only_if(starts) | self.state.flow.grown(self.queue.size())
    }

    /// Queues a chunk of several that will be sent together: [`pieces`](Stream::pieces), [`sent`](Stream::sent),
    /// [`settle`](Stream::settle), [`gathered`](Stream::gathered).
    pub fn append(&mut self, chunk: C, sent: usize) {
        if !self.is_lost() {
            self.queue.push(chunk, sent);
        }
    }

    /// What waits to be sent, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.queue.pieces()
    }

    /// The first `count` bytes of what waits were sent. [`settle`](Stream::settle) is to follow, after what this asks for is done.
    pub fn sent(&mut self, count: usize) -> Actions {
        self.queue.advance(count);
        // asyncio's pipes let the protocol write again when all is gone only.
        if self.shape == Shape::Sink && !self.queue.is_empty() {
            return Actions::NONE;
        }
        self.state.flow.shrunk(self.queue.size())
    }

    /// Finishes what waited for the queue to be empty, if it is: the protocol, told to go on, may have written more.
    pub fn settle(&mut self) -> Actions {
        if !self.queue.is_empty() || self.is_lost() {
            return Actions::NONE;
        }
        match self.state.life.phase() {
            Phase::Flushing => {
                self.lose();
                let stop_reading = Actions::STOP_READING.only_if(self.shape == Shape::Sink);
                Actions::STOP_WRITING | stop_reading | Actions::LOSE_NOW
            }
            _ => Actions::STOP_WRITING | Actions::SHUT_DOWN.only_if(self.half_closed),
        }
    }

    /// What chunks that were [`append`](Stream::append)ed and could not be sent ask for.
    pub fn gathered(&mut self) -> Actions {
        if self.queue.is_empty() {
            return Actions::NONE;
        }
        Actions::START_WRITING | self.state.flow.grown(self.queue.size())
    }

    /// Sending failed, so what waits will never be sent. [`abort`](Machine::abort) is to follow.
    pub fn write_failed(&mut self) -> Actions {
        let had_any = !self.queue.is_empty();
        drop(self.queue.take());
        if self.shape == Shape::Sink {
            self.state.life.count_loss();
        }
        Actions::STOP_WRITING.only_if(had_any)
    }

    /// The user will write no more.
    pub fn write_eof(&mut self) -> Actions {
        if self.shape == Shape::Sink {
            return self.close();
        }
        if self.is_closing() || self.half_closed {
            return Actions::NONE;
        }
        self.half_closed = true;
        Actions::SHUT_DOWN.only_if(self.queue.is_empty())
    }

    /// Takes out every chunk that waits, to let go of them elsewhere: the stream is being taken apart.
    pub fn take_chunks(&mut self) -> impl Iterator<Item = C> + use<C> {
        self.queue.take().into_chunks()
    }

    fn lose(&mut self) {
        self.state.life.lose();
        if self.shape == Shape::Duplex {
            self.state.life.count_loss();
        }
    }
}

impl<C: AsRef<[u8]>> Machine for Stream<C> {
    /// Nothing: chunks are dropped here.
    type Dropped = ();

    fn state(&self) -> &State {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    fn size(&self) -> usize {
        self.queue.size()
    }

    fn start_reading(&self) -> Actions {
        let wanted = match self.shape {
            Shape::Duplex | Shape::Source => self.is_reading(),
            Shape::Sink => !self.is_lost(),
        };
        Actions::START_READING.only_if(wanted)
    }

    fn close(&mut self) -> Actions {
        if self.is_closing() {
            return Actions::NONE;
        }
        if !self.queue.is_empty() {
            self.state.life.flush();
            // A sink goes on watching whether its reader has gone away.
            return Actions::STOP_READING.only_if(self.shape != Shape::Sink);
        }
        self.lose();
        Actions::STOP_READING | Actions::LOSE_SOON
    }

    fn abort(&mut self) -> (Actions, ()) {
        if self.is_lost() {
            return (Actions::NONE, ());
        }
        let had_any = !self.queue.is_empty();
        drop(self.queue.take());
        let was_reading = !self.is_closing() || self.shape == Shape::Sink;
        self.lose();
        let actions = Actions::STOP_WRITING.only_if(had_any)
            | Actions::STOP_READING.only_if(was_reading)
            | Actions::LOSE_SOON;
        (actions, ())
    }
}
