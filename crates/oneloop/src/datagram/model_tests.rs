//! The machine beside a naive model, under random events.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Aim, Datagrams};
use crate::push::{Actions, Admission, Farewell, Limits, Machine};

type Sent = (Vec<u8>, u16);

/// asyncio's transport in the plainest form: a list, and flags that are looked at one by one.
#[derive(Default)]
struct Model {
    waiting: VecDeque<Sent>,
    fixed: bool,
    closing: bool,
    lost: bool,
    ended: bool,
    protocol_paused: bool,
    reading_paused: bool,
    reads: bool,
    writes: bool,
    low: usize,
    high: usize,
    log: Vec<Event>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Sent(Sent),
    Paused,
    Resumed,
    Lost,
}

impl Model {
    fn size(&self) -> usize {
        self.waiting.iter().map(|(chunk, _)| chunk.len() + 8).sum()
    }

    fn send(&mut self, datagram: Sent, has_room: bool) {
        if self.ended || (self.lost && self.fixed) {
            return;
        }
        if self.waiting.is_empty() {
            if has_room {
                self.log.push(Event::Sent(datagram));
                return;
            }
            if self.lost {
                return;
            }
            self.writes = true;
        }
        self.waiting.push_back(datagram);
        self.maybe_pause();
    }

    fn maybe_pause(&mut self) {
        if self.size() > self.high && !self.protocol_paused {
            self.protocol_paused = true;
            self.log.push(Event::Paused);
        }
    }

    /// There is room for `room` datagrams; `fails` is whether the next one is refused with an error instead of waiting.
    fn writable(&mut self, room: usize, fails: bool) {
        if !self.writes {
            return;
        }
        for _ in 0..room {
            match self.waiting.pop_front() {
                Some(datagram) => self.log.push(Event::Sent(datagram)),
                None => break,
            }
        }
        if fails && self.waiting.pop_front().is_some() {
            return;
        }
        if self.protocol_paused && self.size() <= self.low {
            self.protocol_paused = false;
            self.log.push(Event::Resumed);
        }
        if self.waiting.is_empty() {
            self.writes = false;
            if self.closing {
                self.lost = true;
                self.end();
            }
        }
    }

    fn close(&mut self) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.reads = false;
        if self.waiting.is_empty() {
            self.lost = true;
            self.writes = false;
        }
    }

    fn abort(&mut self) {
        if self.lost {
            return;
        }
        self.waiting.clear();
        self.writes = false;
        self.closing = true;
        self.reads = false;
        self.lost = true;
    }

    fn end(&mut self) {
        if self.lost && !self.ended {
            self.ended = true;
            self.log.push(Event::Lost);
        }
    }
}

/// The machine with an owner that does what it asks for.
struct Owner {
    machine: Datagrams<Vec<u8>, u16>,
    reads: bool,
    writes: bool,
    ends_soon: bool,
    log: Vec<Event>,
}

impl Owner {
    fn perform(&mut self, actions: Actions) {
        let change = |start, stop, is_on: &mut bool| {
            if actions.contains(stop) {
                *is_on = false;
            }
            if actions.contains(start) {
                assert!(!*is_on, "what is watched is not watched again");
                *is_on = true;
            }
        };
        change(
            Actions::START_READING,
            Actions::STOP_READING,
            &mut self.reads,
        );
        change(
            Actions::START_WRITING,
            Actions::STOP_WRITING,
            &mut self.writes,
        );
        for (action, event) in [
            (Actions::PAUSE_WRITING, Event::Paused),
            (Actions::RESUME_WRITING, Event::Resumed),
        ] {
            if actions.contains(action) {
                self.log.push(event);
            }
        }
        if actions.contains(Actions::LOSE_SOON) {
            assert!(!self.ends_soon, "the end is announced once");
            self.ends_soon = true;
        }
        if actions.contains(Actions::LOSE_NOW) {
            self.end();
        }
    }

    fn end(&mut self) {
        assert_eq!(self.machine.farewell(), Farewell::Due);
        self.log.push(Event::Lost);
    }

    fn send(&mut self, datagram: Sent, has_room: bool) {
        match self.machine.admit() {
            Admission::Discard { .. } => return,
            Admission::Send if has_room => {
                self.log.push(Event::Sent(datagram));
                return;
            }
            Admission::Send | Admission::Queue => {}
        }
        if let Ok(actions) = self.machine.push(datagram.0, datagram.1) {
            self.perform(actions);
        }
    }

    fn writable(&mut self, room: usize, fails: bool) {
        if !self.writes {
            return;
        }
        for number in 0.. {
            let Some((chunk, address)) = self.machine.take() else {
                break;
            };
            if number < room {
                self.log.push(Event::Sent((chunk, address)));
            } else if fails {
                return;
            } else {
                assert_eq!(self.machine.put_back(chunk, address), Ok(()));
                break;
            }
        }
        let actions = self.machine.sent();
        self.perform(actions);
        let actions = self.machine.settle();
        self.perform(actions);
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Send(usize, u16, bool),
    Writable(usize, bool),
    PauseReading,
    ResumeReading,
    SetLimits(usize, usize),
    Close,
    Abort,
    RunLoop,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => (0usize..40, any::<u16>(), prop::bool::weighted(0.3))
            .prop_map(|(size, address, has_room)| Operation::Send(size, address, has_room)),
        8 => (0usize..5, prop::bool::weighted(0.2))
            .prop_map(|(room, fails)| Operation::Writable(room, fails)),
        1 => Just(Operation::PauseReading),
        1 => Just(Operation::ResumeReading),
        1 => (0usize..60, 0usize..60).prop_map(|(low, more)| Operation::SetLimits(low, low + more)),
        1 => Just(Operation::Close),
        1 => Just(Operation::Abort),
        1 => Just(Operation::RunLoop),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(
        fixed in any::<bool>(),
        operations in prop::collection::vec(operation(), 0..80),
    ) {
        let aim = if fixed { Aim::Fixed } else { Aim::Free };
        let Limits { low, high } = Limits::default();
        let mut model = Model { fixed, reads: true, low, high, ..Model::default() };
        let mut owner = Owner {
            machine: Datagrams::new(aim, 8),
            reads: false,
            writes: false,
            ends_soon: false,
            log: Vec::new(),
        };
        let actions = owner.machine.start_reading();
        owner.perform(actions);

        for operation in operations {
            match operation {
                Operation::Send(size, address, has_room) => {
                    model.send((vec![7; size], address), has_room);
                    owner.send((vec![7; size], address), has_room);
                }
                Operation::Writable(room, fails) => {
                    model.writable(room, fails);
                    owner.writable(room, fails);
                }
                Operation::PauseReading => {
                    model.reading_paused |= !model.closing;
                    model.reads &= model.closing;
                    let actions = owner.machine.pause_reading();
                    owner.perform(actions);
                }
                Operation::ResumeReading => {
                    if !model.closing && model.reading_paused {
                        model.reading_paused = false;
                        model.reads = true;
                    }
                    let actions = owner.machine.resume_reading();
                    owner.perform(actions);
                }
                Operation::SetLimits(low, high) => {
                    (model.low, model.high) = (low, high);
                    model.maybe_pause();
                    let actions = owner.machine.set_limits(Limits { low, high });
                    owner.perform(actions);
                }
                Operation::Close => {
                    model.close();
                    let actions = owner.machine.close();
                    owner.perform(actions);
                }
                Operation::Abort => {
                    model.abort();
                    let (actions, dropped) = owner.machine.abort();
                    drop(dropped);
                    owner.perform(actions);
                }
                Operation::RunLoop => {
                    model.end();
                    if std::mem::take(&mut owner.ends_soon) {
                        owner.end();
                        owner.ends_soon = false;
                    }
                }
            }
            prop_assert_eq!(&model.log, &owner.log);
            prop_assert_eq!((model.reads, model.writes), (owner.reads, owner.writes));
            prop_assert_eq!(model.size(), owner.machine.size());
            prop_assert_eq!(model.closing, owner.machine.is_closing());
            prop_assert_eq!(model.lost, owner.machine.is_lost());
            prop_assert_eq!(model.protocol_paused, owner.machine.is_writing_paused());
            let waiting: Vec<_> = owner.machine.waiting().map(|(chunk, address)| (chunk.clone(), *address)).collect();
            prop_assert_eq!(Vec::from(model.waiting.clone()), waiting);
        }
    }
}
