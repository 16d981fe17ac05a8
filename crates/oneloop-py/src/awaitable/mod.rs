//! Native coroutines: Rust work that Python awaits on the loop's own thread.
//!
//! The work is polled inside the coroutine, by whoever awaits it: what is ready at once never suspends. While it is not, the task waits
//! for a future of the loop as it does in asyncio, and a wake-up completes that future in an entry of the loop: readiness in one iteration
//! is the task's step in the next. A wake-up too many costs one more poll.
//!
//! Cancelling is dropping: `throw()` and `close()` drop the work first. Work belongs to the thread that runs the loop; if another one drops
//! the coroutine (the collector may), the work goes back there.
//!
//! What the work owns of Python's it shows to the garbage collector (`Holds`). A Rust future ([`Driven`]) cannot; work that has Python
//! objects of a program's beside one keeps them itself.

mod coroutine;
mod future;
mod table;

pub(crate) use self::coroutine::{State, already_executing, not_a_result, reused};
pub(crate) use self::future::Driven;
pub(crate) use self::table::exception as thrown;

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use oneloop::engine::{EventLoop, Place};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use self::coroutine::Native;
use crate::entry::{Entry, Holds, Request, RunsEntries};
use crate::ffi::attached::Attached;
use crate::ffi::raw_type::RawType;
use crate::sleepers::{Sleeper, Sleepers};

/// What a coroutine does.
pub(crate) trait Work: Holds {
    /// Goes on as far as it can. `Pending` if something will wake the turn's sleeper, or its waker.
    ///
    /// Python may be called, and may call back into the loop; the coroutine itself refuses to be entered meanwhile.
    fn poll(&mut self, turn: &Turn<'_, '_>) -> Poll<PyResult<Py<PyAny>>>;
}

/// A coroutine of this name, a method of the loop's. The work begins when it is awaited.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn new<'py>(
    event_loop: &Bound<'py, PyAny>,
    engine: &Rc<EventLoop<impl RunsEntries>>,
    name: &'static str,
    work: impl Work + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let debug = engine.host().is_debugging();
    let engine: Weak<dyn Home> = Rc::downgrade(engine) as Weak<dyn Home>;
    let native = Native::new(event_loop, engine, name, Box::new(work), debug)?;
    built(py).make(py, native)
}

static COROUTINE: PyOnceLock<RawType<Native>> = PyOnceLock::new();

/// Builds the type and adds it to the module. Called by the module's initialization.
///
/// # Errors
/// What building a type raises.
pub(crate) fn add_type(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = COROUTINE.get_or_try_init(py, || {
        RawType::build(&py.get_type::<PyAny>(), table::definition())
    })?;
    module.add("NativeCoroutine", class.class(py))
}

fn built(py: Python<'_>) -> &RawType<Native> {
    COROUTINE
        .get(py)
        .expect("the module's initialization built the type before it offered a loop")
}

/// One poll: who is to be woken, and how.
pub(crate) struct Turn<'a, 'py> {
    py: Python<'py>,
    home: &'a dyn Home,
    sleeper: &'a Cell<Option<Sleeper>>,
}

impl<'py> Turn<'_, 'py> {
    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// The coroutine, for what wakes it in an entry of the loop's.
    pub(crate) fn sleeper(&self) -> Sleeper {
        match self.sleeper.get() {
            Some(sleeper) => sleeper,
            None => {
                let sleeper = self.home.sleepers().enter();
                self.sleeper.set(Some(sleeper));
                sleeper
            }
        }
    }

    /// What wakes the coroutine from anywhere. The same for its whole life.
    pub(crate) fn waker(&self) -> Waker {
        self.home.waker(self.sleeper())
    }
}

/// What a coroutine asks of its loop, whoever hosts it.
trait Home {
    /// Where the calling thread stands.
    fn place(&self) -> Place;

    fn sleepers(&self) -> &Sleepers;

    fn waker(&self, sleeper: Sleeper) -> Waker;

    /// Drops work: here if the loop is this thread's, or else on the thread that runs it.
    fn abandon(&self, py: Python<'_>, work: Box<dyn Work>);
}

impl<H: RunsEntries> Home for EventLoop<H> {
    fn place(&self) -> Place {
        self.place()
    }

    fn sleepers(&self) -> &Sleepers {
        self.host().sleepers()
    }

    fn waker(&self, sleeper: Sleeper) -> Waker {
        self.waker(move || Entry::Wake(sleeper))
    }

    fn abandon(&self, py: Python<'_>, work: Box<dyn Work>) {
        if self.place() != Place::Outside {
            drop(work);
            return;
        }
        let request = Request::Abandon(Attached::new(py, work as Box<dyn Holds>));
        // Refused by a loop that was closed meanwhile, which nobody runs any more: then it is dropped here.
        drop(self.push_remote(Entry::Request(request)));
    }
}
