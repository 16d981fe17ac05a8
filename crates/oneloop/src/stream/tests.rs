//! The state machine against a naive model, and by example.
//!
//! The model keeps what asyncio's transports keep: flags, one flat buffer, which directions are watched. It is written as their methods
//! read, one at a time, without the machine's phases and action sets. Both are driven by the same random events on the same kernel, which
//! takes as many bytes as the event says; what the protocol and the descriptor see of either must be the same, in the same order.

use proptest::prelude::*;

use super::{Shape, Stream};
use crate::push::{Actions, Admission, Farewell, Limits, Machine as _};

/// What the outside sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    PauseWriting,
    ResumeWriting,
    ShutDown,
    LoseSoon,
    Lost,
    Warning,
}

/// What happens to a transport. A `room` is how many bytes the kernel takes.
#[derive(Clone, Copy, Debug)]
enum Event {
    Started,
    Write { size: usize, room: usize },
    WriteLines { sizes: [usize; 3], room: usize },
    Writable { room: usize, write_on_resume: usize },
    WriteFails { size: usize },
    WritableFails,
    WriteEof,
    PauseReading,
    ResumeReading,
    PeerEnded { keep_open: bool },
    Limits { low: usize, span: usize },
    Close,
    Abort,
    LoseStep,
}

/// One transport, as its user, the kernel and the loop treat it.
trait Transport {
    fn handle(&mut self, event: Event);
    fn state(&self) -> State;
    fn seen(&self) -> &[Seen];
    fn sent(&self) -> &[u8];
}

#[derive(PartialEq, Eq, Debug)]
struct State {
    size: usize,
    is_closing: bool,
    is_reading: bool,
    is_paused: bool,
    watches_reading: bool,
    watches_writing: bool,
    lose_steps: usize,
}

/// Bytes that tell their place, so that a lost, doubled or moved one is noticed.
#[derive(Default)]
struct Numbered(u32);

impl Numbered {
    fn next(&mut self, size: usize) -> Vec<u8> {
        let start = self.0;
        self.0 += size as u32;
        (start..self.0).map(|number| (number % 251) as u8).collect()
    }
}

/// The machine, with an owner that does what it is asked, as a host does.
struct Machine {
    stream: Stream<Vec<u8>>,
    bytes: Numbered,
    sent: Vec<u8>,
    seen: Vec<Seen>,
    watches_reading: bool,
    watches_writing: bool,
    lose_steps: usize,
    write_on_resume: usize,
}

impl Machine {
    fn new(shape: Shape) -> Self {
        Self {
            stream: Stream::new(shape),
            bytes: Numbered::default(),
            sent: Vec::new(),
            seen: Vec::new(),
            watches_reading: false,
            watches_writing: false,
            lose_steps: 0,
            write_on_resume: 0,
        }
    }

    fn perform(&mut self, actions: Actions) {
        if actions.contains(Actions::STOP_READING) {
            self.watches_reading = false;
        }
        if actions.contains(Actions::STOP_WRITING) {
            self.watches_writing = false;
        }
        if actions.contains(Actions::START_READING) {
            self.watches_reading = true;
        }
        if actions.contains(Actions::START_WRITING) {
            self.watches_writing = true;
        }
        if actions.contains(Actions::SHUT_DOWN) {
            self.seen.push(Seen::ShutDown);
        }
        if actions.contains(Actions::PAUSE_WRITING) {
            self.seen.push(Seen::PauseWriting);
        }
        if actions.contains(Actions::RESUME_WRITING) {
            self.seen.push(Seen::ResumeWriting);
            let size = std::mem::take(&mut self.write_on_resume);
            self.write(size, 0);
        }
        if actions.contains(Actions::LOSE_SOON) {
            self.seen.push(Seen::LoseSoon);
            self.lose_steps += 1;
        }
        if actions.contains(Actions::LOSE_NOW) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        if self.stream.farewell() == Farewell::Due {
            self.seen.push(Seen::Lost);
        }
    }

    fn write(&mut self, size: usize, room: usize) {
        if self.stream.is_half_closed() || size == 0 {
            return;
        }
        let chunk = self.bytes.next(size);
        let sent = match self.stream.admit() {
            Admission::Discard { warn } => {
                self.seen.extend(warn.then_some(Seen::Warning));
                return;
            }
            Admission::Queue => 0,
            Admission::Send => size.min(room),
        };
        self.sent.extend(&chunk[..sent]);
        if sent < size {
            let actions = self.stream.push(chunk, sent);
            self.perform(actions);
        }
    }

    fn flush(&mut self, room: usize) {
        let waiting: Vec<u8> = self.stream.pieces().flatten().copied().collect();
        let count = waiting.len().min(room);
        if count == 0 && !waiting.is_empty() {
            return; // it would block
        }
        self.sent.extend(&waiting[..count]);
        let actions = self.stream.sent(count);
        self.perform(actions);
        let actions = self.stream.settle();
        self.perform(actions);
    }

    fn fail(&mut self) {
        let actions = self.stream.write_failed();
        self.perform(actions);
        let (actions, ()) = self.stream.abort();
        self.perform(actions);
    }
}

impl Transport for Machine {
    fn handle(&mut self, event: Event) {
        let actions = match event {
            Event::Started => self.stream.start_reading(),
            Event::Write { size, room } => return self.write(size, room),
            Event::WriteLines { sizes, room } => {
                if self.stream.is_half_closed() || sizes.iter().sum::<usize>() == 0 {
                    return;
                }
                let chunks = sizes.map(|size| self.bytes.next(size));
                if let Admission::Discard { warn } = self.stream.admit() {
                    self.seen.extend(warn.then_some(Seen::Warning));
                    return;
                }
                for chunk in chunks {
                    self.stream.append(chunk, 0);
                }
                self.flush(room);
                self.stream.gathered()
            }
            Event::Writable {
                room,
                write_on_resume,
            } => {
                if self.watches_writing && room > 0 {
                    self.write_on_resume = write_on_resume;
                    self.flush(room);
                    self.write_on_resume = 0;
                }
                return;
            }
            Event::WriteFails { size } => {
                if self.stream.is_half_closed() || size == 0 {
                    return;
                }
                return match self.stream.admit() {
                    Admission::Send => self.fail(),
                    Admission::Queue => {
                        let chunk = self.bytes.next(size);
                        let actions = self.stream.push(chunk, 0);
                        self.perform(actions);
                    }
                    Admission::Discard { warn } => {
                        self.seen.extend(warn.then_some(Seen::Warning));
                    }
                };
            }
            Event::WritableFails if self.watches_writing => return self.fail(),
            Event::WritableFails => return,
            Event::WriteEof => self.stream.write_eof(),
            Event::PauseReading => self.stream.pause_reading(),
            Event::ResumeReading => self.stream.resume_reading(),
            Event::PeerEnded { keep_open } if self.watches_reading => {
                self.stream.peer_ended(keep_open)
            }
            Event::PeerEnded { .. } => return,
            Event::Limits { low, span } => self.stream.set_limits(Limits {
                low,
                high: low + span,
            }),
            Event::Close => self.stream.close(),
            Event::Abort => self.stream.abort().0,
            Event::LoseStep => {
                if self.lose_steps > 0 {
                    self.lose_steps -= 1;
                    self.lose();
                }
                return;
            }
        };
        self.perform(actions);
    }

    fn state(&self) -> State {
        State {
            size: self.stream.size(),
            is_closing: self.stream.is_closing(),
            is_reading: self.stream.is_reading(),
            is_paused: self.stream.is_writing_paused(),
            watches_reading: self.watches_reading,
            watches_writing: self.watches_writing,
            lose_steps: self.lose_steps,
        }
    }

    fn seen(&self) -> &[Seen] {
        &self.seen
    }

    fn sent(&self) -> &[u8] {
        &self.sent
    }
}

/// asyncio's transports, flag by flag. That `connection_lost` is called once, which theirs learned late, is a flag of its own.
struct Model {
    shape: Shape,
    bytes: Numbered,
    buffer: Vec<u8>,
    conn_lost: usize,
    closing: bool,
    eof: bool,
    paused: bool,
    protocol_paused: bool,
    low: usize,
    high: usize,
    reader: bool,
    writer: bool,
    loss_announced: bool,
    lost: bool,
    steps: usize,
    sent: Vec<u8>,
    seen: Vec<Seen>,
}

impl Model {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            bytes: Numbered::default(),
            buffer: Vec::new(),
            conn_lost: 0,
            closing: false,
            eof: false,
            paused: false,
            protocol_paused: false,
            low: 16 * 1024,
            high: 64 * 1024,
            reader: false,
            writer: false,
            loss_announced: false,
            lost: false,
            steps: 0,
            sent: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn maybe_pause(&mut self) {
        if self.buffer.len() > self.high && !self.protocol_paused {
            self.protocol_paused = true;
            self.seen.push(Seen::PauseWriting);
        }
    }

    /// Whether the protocol was told.
    fn maybe_resume(&mut self) -> bool {
        let resumes = self.protocol_paused && self.buffer.len() <= self.low;
        if resumes {
            self.protocol_paused = false;
            self.seen.push(Seen::ResumeWriting);
        }
        resumes
    }

    fn announce_loss(&mut self) {
        self.loss_announced = true;
        self.seen.push(Seen::LoseSoon);
        self.steps += 1;
    }

    fn discards(&mut self) -> bool {
        let too_late = match self.shape {
            Shape::Sink => self.loss_announced || self.closing,
            _ => self.loss_announced,
        };
        if too_late {
            self.seen
                .extend((self.conn_lost >= 5).then_some(Seen::Warning));
            self.conn_lost += 1;
        }
        too_late
    }

    fn write(&mut self, size: usize, room: usize) {
        if self.eof || size == 0 {
            return;
        }
        let data = self.bytes.next(size);
        if self.discards() {
            return;
        }
        let mut rest = &data[..];
        if self.buffer.is_empty() {
            let (sent, unsent) = rest.split_at(size.min(room));
            self.sent.extend(sent);
            rest = unsent;
            if rest.is_empty() {
                return;
            }
            self.writer = true;
        }
        self.buffer.extend(rest);
        self.maybe_pause();
    }

    fn write_ready(&mut self, room: usize, write_on_resume: usize) {
        let count = self.buffer.len().min(room);
        if count == 0 {
            return;
        }
        self.sent.extend(self.buffer.drain(..count));
        let may_resume = self.shape != Shape::Sink || self.buffer.is_empty();
        if may_resume && self.maybe_resume() {
            self.write(write_on_resume, 0);
        }
        if self.buffer.is_empty() {
            self.writer = false;
            if self.closing && !self.loss_announced {
                if self.shape == Shape::Sink {
                    self.reader = false;
                } else {
                    self.conn_lost += 1;
                }
                self.loss_announced = true;
                self.lost = true;
                self.seen.push(Seen::Lost);
            } else if self.eof {
                self.seen.push(Seen::ShutDown);
            }
        }
    }

    fn close(&mut self) {
        if self.closing {
            return;
        }
        self.closing = true;
        if self.shape != Shape::Sink {
            self.reader = false;
        }
        if self.buffer.is_empty() {
            self.reader = false;
            self.writer = false;
            if self.shape == Shape::Duplex {
                self.conn_lost += 1;
            }
            self.announce_loss();
        }
    }

    fn force_close(&mut self) {
        if self.loss_announced {
            return;
        }
        if !self.buffer.is_empty() {
            self.buffer.clear();
            self.writer = false;
        }
        self.closing = true;
        self.reader = false;
        if self.shape == Shape::Duplex {
            self.conn_lost += 1;
        }
        self.announce_loss();
    }

    fn fail(&mut self) {
        if self.shape == Shape::Sink {
            self.conn_lost += 1;
        }
        self.writer = false;
        self.buffer.clear();
        self.force_close();
    }
}

impl Transport for Model {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Started => {
                let wanted = match self.shape {
                    Shape::Sink => !self.loss_announced,
                    _ => !self.closing && !self.paused,
                };
                self.reader |= wanted;
            }
            Event::Write { size, room } => self.write(size, room),
            Event::WriteLines { sizes, room } => {
                let size = sizes.iter().sum();
                if self.eof || size == 0 {
                    return;
                }
                let data = self.bytes.next(size);
                if self.discards() {
                    return;
                }
                self.buffer.extend(data);
                self.write_ready(room, 0);
                if !self.buffer.is_empty() {
                    self.writer = true;
                    self.maybe_pause();
                }
            }
            Event::Writable {
                room,
                write_on_resume,
            } => {
                if self.writer {
                    self.write_ready(room, write_on_resume);
                }
            }
            Event::WriteFails { size } => {
                if self.eof || size == 0 || self.discards() {
                    return;
                }
                if self.buffer.is_empty() {
                    self.fail();
                } else {
                    let data = self.bytes.next(size);
                    self.buffer.extend(data);
                    self.maybe_pause();
                }
            }
            Event::WritableFails => {
                if self.writer {
                    self.fail();
                }
            }
            Event::WriteEof if self.shape == Shape::Sink => self.close(),
            Event::WriteEof => {
                if !self.closing && !self.eof {
                    self.eof = true;
                    if self.buffer.is_empty() {
                        self.seen.push(Seen::ShutDown);
                    }
                }
            }
            Event::PauseReading => {
                if !self.closing && !self.paused {
                    self.paused = true;
                    self.reader = false;
                }
            }
            Event::ResumeReading => {
                if !self.closing && self.paused {
                    self.paused = false;
                    self.reader = true;
                }
            }
            Event::PeerEnded { keep_open } => {
                if self.reader && keep_open {
                    self.reader = false;
                } else if self.reader {
                    self.close();
                }
            }
            Event::Limits { low, span } => {
                self.low = low;
                self.high = low + span;
                self.maybe_pause();
            }
            Event::Close => self.close(),
            Event::Abort => self.force_close(),
            Event::LoseStep => {
                if self.steps > 0 {
                    self.steps -= 1;
                    if !self.lost {
                        self.lost = true;
                        self.seen.push(Seen::Lost);
                    }
                }
            }
        }
    }

    fn state(&self) -> State {
        State {
            size: self.buffer.len(),
            is_closing: self.closing,
            is_reading: !self.closing && !self.paused,
            is_paused: self.protocol_paused,
            watches_reading: self.reader,
            watches_writing: self.writer,
            lose_steps: self.steps,
        }
    }

    fn seen(&self) -> &[Seen] {
        &self.seen
    }

    fn sent(&self) -> &[u8] {
        &self.sent
    }
}

fn event() -> impl Strategy<Value = Event> {
    let size = || prop_oneof![Just(0_usize), 1..40_usize, 1_000..40_000_usize];
    let room = || prop_oneof![Just(0_usize), 1..50_usize, 1_000..200_000_usize];
    prop_oneof![
        2 => Just(Event::Started),
        8 => (size(), room()).prop_map(|(size, room)| Event::Write { size, room }),
        3 => ([size(), size(), size()], room())
            .prop_map(|(sizes, room)| Event::WriteLines { sizes, room }),
        8 => (room(), size()).prop_map(|(room, write_on_resume)| Event::Writable {
            room,
            write_on_resume,
        }),
        1 => size().prop_map(|size| Event::WriteFails { size }),
        1 => Just(Event::WritableFails),
        1 => Just(Event::WriteEof),
        2 => Just(Event::PauseReading),
        2 => Just(Event::ResumeReading),
        1 => any::<bool>().prop_map(|keep_open| Event::PeerEnded { keep_open }),
        2 => (0..3_000_usize, 0..3_000_usize).prop_map(|(low, span)| Event::Limits { low, span }),
        1 => Just(Event::Close),
        1 => Just(Event::Abort),
        2 => Just(Event::LoseStep),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![Just(Shape::Duplex), Just(Shape::Source), Just(Shape::Sink)]
}

/// Whether a stream of that shape can meet that event: a pipe's reading end is never written to.
fn fits(shape: Shape, event: &Event) -> bool {
    match shape {
        Shape::Duplex => true,
        Shape::Sink => !matches!(
            event,
            Event::PauseReading | Event::ResumeReading | Event::PeerEnded { .. }
        ),
        Shape::Source => matches!(
            event,
            Event::Started
                | Event::PauseReading
                | Event::ResumeReading
                | Event::PeerEnded { keep_open: false }
                | Event::Close
                | Event::Abort
                | Event::LoseStep
        ),
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(shape in shape(), events in proptest::collection::vec(event(), 0..80)) {
        let (mut machine, mut model) = (Machine::new(shape), Model::new(shape));
        for event in events.into_iter().filter(|event| fits(shape, event)) {
            machine.handle(event);
            model.handle(event);
            prop_assert_eq!(machine.state(), model.state(), "after {:?}", event);
            prop_assert_eq!(machine.seen(), model.seen(), "after {:?}", event);
            prop_assert_eq!(machine.sent(), model.sent(), "after {:?}", event);

            // What holds whatever asyncio does.
            let state = machine.state();
            prop_assert_eq!(state.watches_writing, state.size > 0);
            let times = |what| machine.seen().iter().filter(|seen| **seen == what).count();
            prop_assert!(times(Seen::Lost) <= 1 && times(Seen::LoseSoon) <= 1);
        }
    }
}

#[test]
fn what_was_written_before_a_close_is_sent_and_then_the_end_is_told_at_once() {
    let mut stream = Stream::new(Shape::Duplex);
    assert_eq!(stream.admit(), Admission::Send);
    assert_eq!(stream.push(b"hello", 2), Actions::START_WRITING);
    assert_eq!(stream.close(), Actions::STOP_READING);
    assert!(stream.is_closing() && !stream.is_lost());
    assert_eq!(stream.sent(3), Actions::NONE);
    assert_eq!(stream.settle(), Actions::STOP_WRITING | Actions::LOSE_NOW);
    assert_eq!(stream.farewell(), Farewell::Due);
    assert_eq!(stream.farewell(), Farewell::Done);
}

#[test]
fn the_end_is_told_once_however_often_it_comes() {
    let mut stream = Stream::<Vec<u8>>::new(Shape::Duplex);
    assert!(stream.close().contains(Actions::LOSE_SOON));
    assert_eq!(stream.close(), Actions::NONE);
    assert_eq!(stream.abort().0, Actions::NONE);
    assert_eq!(stream.peer_ended(false), Actions::NONE);
    assert_eq!(stream.settle(), Actions::NONE);
}

#[test]
fn a_protocol_that_writes_when_it_may_again_keeps_a_half_close_waiting() {
    let mut stream = Stream::new(Shape::Duplex);
    let pause = stream.set_limits(Limits { low: 0, high: 0 });
    assert_eq!(pause, Actions::NONE);
    let paused = stream.push(vec![1; 10], 0);
    assert_eq!(paused, Actions::START_WRITING | Actions::PAUSE_WRITING);
    assert_eq!(stream.sent(10), Actions::RESUME_WRITING);
    // Told to go on, the protocol writes and closes its side.
    let paused = stream.push(vec![2; 10], 0);
    assert!(paused.contains(Actions::PAUSE_WRITING));
    assert_eq!(stream.write_eof(), Actions::NONE);
    assert_eq!(stream.settle(), Actions::NONE);
    assert_eq!(stream.sent(10), Actions::RESUME_WRITING);
    assert_eq!(stream.settle(), Actions::STOP_WRITING | Actions::SHUT_DOWN);
}

#[test]
fn the_fifth_write_to_a_lost_connection_is_worth_a_warning() {
    let mut stream = Stream::<Vec<u8>>::new(Shape::Duplex);
    let _ = stream.abort();
    for _ in 0..4 {
        assert_eq!(stream.admit(), Admission::Discard { warn: false });
    }
    assert_eq!(stream.admit(), Admission::Discard { warn: true });
}
