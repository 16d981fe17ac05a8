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
//!
//! | asyncio | here |
//! | --- | --- |
//! | `asyncio.run(main())` | [`run`], with choices: [`Builder`] |
//! | `asyncio.create_task(coro)` | [`spawn`], which gives a [`Task`] |
//! | `asyncio.sleep(1)`, `loop.time()` | [`sleep`], [`sleep_until`], [`now`] |
//! | `asyncio.wait_for(aw, 1)` | [`timeout`] |
//! | `asyncio.sleep(0)` | [`yield_now`] |
//! | `asyncio.gather(*aws)` | [`join_all`] |
//! | `asyncio.TaskGroup()` | [`task_group`] |
//! | `asyncio.run_coroutine_threadsafe(coro, loop)` | [`Handle::spawn`] |
//! | `asyncio.open_connection(host, port)` and the rest of the network | [`net`] |
//!
//! One thread runs a loop, its tasks and their wake-ups, in the order in which they became ready, so a future need not be `Send` and a
//! value can be shared by `Rc`. Cancelling is dropping: a future that is dropped runs no further, and its drops clean up.
//!
//! Tasks are futures of the standard kind, and so are ours: they mix with any crate that does not insist on a runtime of its own.

#![cfg_attr(loom, allow(dead_code, unused_imports))] // under loom only the inbox runs

mod blocking;
mod cell;
mod current;
mod datagram;
mod dns;
mod driver;
mod event_loop;
mod executor;
mod group;
mod handle;
mod host;
mod inbox;
mod instant;
mod join;
pub mod net;
pub mod process;
mod push;
mod reactor;
mod ready;
mod registry;
mod runtime;
mod stream;
mod sys;
mod task;
mod tick;
mod time;
mod timers;
mod tls;

/// The engine, for those who host it: what the Python crate, a simulation or an embedder builds on.
pub mod engine {
    pub use crate::blocking::{Blocking, Pool};
    pub use crate::driver::{
        Backend, Call, Driver, Event, Events, Interest, Kind, LONGEST_WAIT, Mode, Notifier, Notify,
        Script, Scripted, Token, UnknownDriver,
    };
    pub use crate::event_loop::{EventLoop, Held, Place};
    pub use crate::executor::Executor;
    pub use crate::host::{Attendant, Host};
    pub use crate::instant::monotonic;
    pub use crate::net::parts::*;
    pub use crate::process::exit::ExitNotice;
    pub use crate::reactor::{LoopRef, Reactor, Remote, RemoteCall};
    pub use crate::registry::{Direction, Seat};
    pub use crate::tick::{POLL_INTERVAL, Refusal};
    pub use crate::timers::TimerKey;

    /// Hosts that are addresses in figures.
    pub mod figures {
        pub use crate::sys::figures::{Found, Hints, addresses};
    }

    /// The state machine of push transports over streams of bytes.
    pub mod stream {
        pub use crate::push::{Actions, Admission, Farewell, Limits, Machine, State};
        pub use crate::stream::{Batch, Dispatch, Queue, Shape, Stream};
    }

    /// The state machine of TLS between a transport and a protocol.
    pub mod tls {
        pub use crate::tls::{
            Admission, Close, Flow, News, Opened, PeerEnd, Session, Signal, Start, Step,
        };
    }

    /// The state machine of push transports that send and receive datagrams.
    pub mod datagram {
        pub use crate::datagram::{Aim, Datagrams, Dropped};
        pub use crate::push::{Actions, Admission, Farewell, Limits, Machine, State};
    }
}

pub use driver::Kind as DriverKind;
pub use group::{GroupTask, TaskGroup, task_group};
pub use handle::{Handle, JoinHandle, LoopClosed};
pub use instant::Instant;
pub use join::{JoinAll, join_all};
pub use runtime::{Builder, run};
pub use task::{Task, spawn, yield_now};
pub use time::{Elapsed, Sleep, now, sleep, sleep_until, timeout};
