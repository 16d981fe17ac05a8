//! One event loop for Python coroutines and Rust futures: the engine and its Rust face.

#![cfg_attr(loom, allow(dead_code, unused_imports))] // under loom only the inbox runs

mod cell;
mod current;
mod driver;
mod event_loop;
mod executor;
mod host;
mod inbox;
mod instant;
mod reactor;
mod ready;
mod registry;
mod sys;
mod tick;
mod timers;

/// The engine, for those who host it: what the Python crate, a simulation or an embedder builds on.
pub mod engine {
    pub use crate::driver::{
        Backend, Call, Driver, Event, Events, Interest, Kind, Mode, Notifier, Notify, Script,
        Scripted, Token, UnknownDriver,
    };
    pub use crate::event_loop::{EventLoop, Held, Place};
    pub use crate::executor::Executor;
    pub use crate::host::Host;
    pub use crate::instant::monotonic;
    pub use crate::reactor::{LoopRef, Reactor, Remote, RemoteCall};
    pub use crate::registry::Direction;
    pub use crate::tick::Refusal;
    pub use crate::timers::TimerKey;
}

pub use instant::Instant;
