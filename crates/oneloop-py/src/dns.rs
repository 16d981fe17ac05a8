//! Asking for names: Python's own functions, called on the loop's threads for calls that block.
//!
//! These threads are not the default executor's, so a resolver that hangs starves nobody else; nor are they known to `threading`, so the
//! interpreter's exit waits for none of them. A call that has begun goes on when nobody awaits it any more, and when the loop is closed; its
//! answer is dropped then. All that its thread holds is the function and the arguments.

use std::rc::{Rc, Weak};
use std::task::Poll;

use oneloop::engine::{EventLoop, Reactor};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::awaitable::{self, Driven, Turn, Work};
use crate::entry::{Holds, RunsEntries};
use crate::errors;
use crate::ffi::exit;

/// What a call returned or raised; `None` if the interpreter exits, and let no thread in.
type Answer = Option<Parcel<PyResult<Py<PyAny>>>>;

/// The coroutine of `function(*args)`, called in another thread once it is awaited.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn call<'py, H: RunsEntries>(
    event_loop: &Bound<'py, PyAny>,
    engine: &Rc<EventLoop<H>>,
    name: &'static str,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let lookup = Lookup {
        engine: Rc::downgrade(engine),
        function: function.unbind(),
        args: args.into_any().unbind(),
        answer: None,
    };
    awaitable::new(event_loop, engine, name, lookup)
}

struct Lookup<H: RunsEntries> {
    engine: Weak<EventLoop<H>>,
    function: Py<PyAny>,
    args: Py<PyAny>,
    answer: Option<Driven>,
}

impl<H: RunsEntries> Lookup<H> {
    fn begin(&self, py: Python<'_>) -> PyResult<Driven> {
        let engine = self.engine.upgrade();
        let Some(engine) = engine.filter(|engine| !engine.is_closed()) else {
            return Err(errors::closed());
        };
        let call = Parcel::new((self.function.clone_ref(py), self.args.clone_ref(py)));
        let answer = engine.pool().run(move || answer(call));
        Ok(Driven::new(async move {
            match answer.await {
                Ok(answer) => answer.and_then(Parcel::open).unwrap_or_else(|| {
                    Err(PyRuntimeError::new_err(
                        "cannot ask for names after interpreter shutdown",
                    ))
                }),
                Err(error) => Err(Python::attach(|py| errors::from_io(py, error))),
            }
        }))
    }
}

impl<H: RunsEntries> Work for Lookup<H> {
    fn poll(&mut self, turn: &Turn<'_, '_>) -> Poll<PyResult<Py<PyAny>>> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => match self.begin(turn.py()) {
                Ok(answer) => self.answer.insert(answer),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        answer.poll(turn)
    }
}

impl<H: RunsEntries> Holds for Lookup<H> {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.function);
        visit(&self.args);
    }
}

/// What may be dropped by a thread that is not attached: PyO3 would keep it until somebody comes who is.
struct Parcel<T>(Option<T>);

impl<T> Parcel<T> {
    fn new(content: T) -> Self {
        Self(Some(content))
    }

    fn open(mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for Parcel<T> {
    fn drop(&mut self) {
        if let Some(content) = self.0.take() {
            exit::protect_thread();
            // While the interpreter exits nothing is dropped any more.
            let _ = Python::try_attach(|_| drop(content));
        }
    }
}

/// Calls a function in a thread of the loop's.
fn answer(call: Parcel<(Py<PyAny>, Py<PyAny>)>) -> Answer {
    exit::protect_thread();
    let (function, args) = call.open()?;
    Python::try_attach(|py| {
        let answer = match args.cast_bound::<PyTuple>(py) {
            Ok(args) => function.call1(py, args),
            Err(error) => Err(error.into()),
        };
        // Here, where the thread is attached.
        drop((function, args));
        Parcel::new(answer)
    })
}
