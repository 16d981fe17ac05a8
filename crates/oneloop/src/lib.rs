//! One event loop for Python coroutines and Rust futures: the engine and its Rust face.
//!
//! The first program:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! fn main() -> std::io::Result<()> {
//!     oneloop::run(async {
//!         println!("Hello...");
//!         oneloop::sleep(Duration::from_secs(1)).await;
//!         println!("...Asyncio World!");
//!     })
//! }
//! ```

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
mod runtime;
mod sys;
mod task;
mod tick;
mod time;
mod timers;

/// The engine, for those who host it: what the Python crate, a simulation or an embedder builds on.
pub mod engine {
    pub use crate::driver::{
        Backend, Call, Driver, Event, Events, Interest, Kind, LONGEST_WAIT, Mode, Notifier, Notify,
        Script, Scripted, Token, UnknownDriver,
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

pub use driver::Kind as DriverKind;
pub use instant::Instant;
pub use runtime::{Builder, run};
pub use task::{Task, spawn, yield_now};
pub use time::{Elapsed, Sleep, now, sleep, sleep_until, timeout};
