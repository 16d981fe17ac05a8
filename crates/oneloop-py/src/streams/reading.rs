//! The coroutine of a read: `read`, `readexactly`, `readuntil` and `readline` of asyncio's reader, without a frame of Python's.
//!
//! It begins when it is awaited, takes what is there, and otherwise waits as asyncio's does: for a future of the loop's, which is the
//! reader's `_waiter` until the coroutine goes on, in whatever way. Where a reader is unlike asyncio's when the coroutine looks at it, the
//! method that asyncio has for it does the work, and this coroutine passes on what that one says.
//!
//! There is no finalizer, with which freed objects could not be used again: a coroutine that nobody awaited is warned of by a stand-in.

use std::cell::Cell;

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyRuntimeWarning, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyString, PySuper, PyTuple, PyType};

use super::attempt::{self, Attempted, Search, What};
use super::class::Attributes;
use super::reader::{self, Reader};
use crate::awaitable::{self, State};
use crate::ffi::call;
use crate::ffi::coroutine::{self, Coroutine, Guise, Step};
use crate::ffi::error;
use crate::ffi::method::{self, Attribute, Method, Special};
use crate::ffi::raw_type::{Definition, FreeList, Halt, Payload, RawType, Visit};
use crate::ffi::slot::Slot;
use crate::names;

static FREED: FreeList = FreeList::new();
static TYPE: PyOnceLock<RawType<Reading>> = PyOnceLock::new();

/// The payload.
#[repr(C)]
pub(super) struct Reading {
    guise: Guise,
    what: What,
    state: Cell<State>,
    /// Whether `waits_for` is asyncio's own coroutine, which does the work.
    is_delegated: Cell<bool>,
    reader: Slot,
    /// Of `readuntil`.
    separator: Slot,
    /// How far the buffer has been searched for it.
    searched: Cell<usize>,
    waits_for: Slot,
}

/// Builds the type. Called once, by the module's initialization.
///
/// # Errors
/// What building a type raises.
pub(super) fn build(py: Python<'_>) -> PyResult<()> {
    TYPE.get_or_try_init(py, || {
        // For weak references, which coroutines have.
        let members = PyDict::new(py);
        members.set_item("__slots__", ("__weakref__",))?;
        members.set_item("__module__", "oneloop._core")?;
        let base =
            py.get_type::<PyType>()
                .call1(("NativeCoroutineBase", PyTuple::empty(py), members))?;
        RawType::build(&base.cast_into::<PyType>()?, definition())
    })?;
    Ok(())
}

/// The coroutine of a read of that reader.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub(super) fn new<'py>(
    reader: &Bound<'py, PyAny>,
    what: What,
    separator: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = reader.py();
    let class = TYPE
        .get(py)
        .expect("built before a reader was given methods");
    class.make(py, Reading::new(reader.clone(), what, separator))
}

impl Reading {
    fn new<'py>(
        reader: Bound<'py, PyAny>,
        what: What,
        separator: Option<Bound<'py, PyAny>>,
    ) -> Self {
        Self {
            guise: Guise::new(),
            what,
            state: Cell::new(State::Created),
            is_delegated: Cell::new(false),
            reader: Slot::new(Some(reader)),
            separator: Slot::new(separator),
            searched: Cell::new(0),
            waits_for: Slot::default(),
        }
    }

    fn qualified_name(&self) -> String {
        format!("StreamReader.{}", self.what.name())
    }

    /// From the beginning.
    fn begin<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let Some((known, reader)) = self.known(py) else {
            return self.delegate(py, value);
        };
        let Some(own) = known.class().own(&reader) else {
            return self.delegate(py, value);
        };
        let reader = Attributes::new(reader, Some(own));
        let exception = reader.get(names::_exception(py))?;
        if !exception.is_none() {
            return match exception.is_instance_of::<PyBaseException>() {
                true => Err(PyErr::from_value(exception)),
                false => self.delegate(py, value),
            };
        }
        self.go_on(known, reader, false, value)
    }

    /// After the future that it waited for is done.
    fn wake<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let (Some(future), Some((known, reader))) = (self.waits_for.take(py), self.known(py))
        else {
            return Err(awaitable::reused());
        };
        let own = known.class().own(&reader);
        let mut reader = Attributes::new(reader, own);
        let result = outcome(&future);
        reader.renew(known.class());
        reader.set(names::_waiter(py), py.None().bind(py))?;
        result?;
        self.go_on(known, reader, true, value)
    }

    fn go_on<'py>(
        &self,
        known: &Reader,
        reader: Attributes<'py>,
        was_woken: bool,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Step<'py>> {
        match self.attempt(&reader, was_woken)? {
            Attempted::Taken(bytes) => Ok(Step::Returned(bytes)),
            Attempted::TooEarly => self.wait(known, reader, value),
            Attempted::Unknown => self.delegate(reader.py(), value),
        }
    }

    fn attempt<'py>(&self, reader: &Attributes<'py>, was_woken: bool) -> PyResult<Attempted<'py>> {
        let py = reader.py();
        match self.what {
            What::Some(n) => attempt::some(reader, n, was_woken),
            What::Exactly(n) => attempt::exactly(reader, n),
            What::Until | What::Line => {
                let separator = match self.separator.get(py) {
                    Some(separator) => separator.cast_into_exact::<PyBytes>()?,
                    None => names::newline(py).clone(),
                };
                let mut from = self.searched.get();
                let search = Search {
                    separator: &separator,
                    from: &mut from,
                };
                let attempted = attempt::until(reader, search, self.what == What::Line);
                self.searched.set(from);
                attempted
            }
        }
    }

    /// Waits for the reader to be fed.
    fn wait<'py>(
        &self,
        known: &Reader,
        mut reader: Attributes<'py>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Step<'py>> {
        let py = reader.py();
        if !reader.get(names::_waiter(py))?.is_none() {
            return Err(PyRuntimeError::new_err(format!(
                "{}() called while another coroutine is already waiting for incoming data",
                self.what.waits_in()
            )));
        }
        let paused = reader.get(names::_paused(py))?;
        if !paused.is(PyBool::new(py, false)) && paused.is_truthy()? {
            reader.set(names::_paused(py), PyBool::new(py, false).as_any())?;
            let transport = reader.get(names::_transport(py))?;
            call::method(names::resume_reading(py), [&transport])?;
            reader.renew(known.class());
        }
        let event_loop = reader.get(names::_loop(py))?;
        let future = call::method(names::create_future(py), [&event_loop])?;
        if !future.get_type().is(names::future_class(py)?) {
            return self.delegate(py, value);
        }
        reader.renew(known.class());
        reader.set(names::_waiter(py), &future)?;
        future.setattr(
            names::_asyncio_future_blocking(py),
            PyBool::new(py, true).as_any(),
        )?;
        drop(self.waits_for.replace(py, Some(future.clone())));
        Ok(Step::Yielded(future))
    }

    /// Has asyncio's own method do it.
    #[cold]
    fn delegate<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let Some((known, reader)) = self.known(py) else {
            return Err(awaitable::reused());
        };
        let arguments = match self.what {
            What::Some(n) | What::Exactly(n) => PyTuple::new(py, [n])?,
            What::Until => PyTuple::new(py, self.separator.get(py))?,
            What::Line => PyTuple::empty(py),
        };
        let method = PySuper::new(known.class().class(py), &reader)?.getattr(self.what.name())?;
        let coroutine = method.call1(arguments)?.call_method0("__await__")?;
        drop(self.waits_for.replace(py, Some(coroutine)));
        self.is_delegated.set(true);
        self.pass_on(py, value)
    }

    /// Steps asyncio's coroutine.
    fn pass_on<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        match self.waits_for.get(py) {
            Some(coroutine) => coroutine::step(&coroutine, value),
            None => Err(awaitable::reused()),
        }
    }

    fn throw<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.state.get() {
            State::Running => return Err(awaitable::already_executing()),
            State::Finished => return Err(awaitable::reused()),
            State::Created | State::Suspended => {}
        }
        if let (true, Some(coroutine)) = (self.is_delegated.get(), self.waits_for.get(py)) {
            self.state.set(State::Running);
            let result = coroutine.call_method1("throw", args);
            match result {
                Ok(_) => self.state.set(State::Suspended),
                Err(_) => self.end(py),
            }
            return result;
        }
        let error = awaitable::thrown(args)?;
        self.end(py);
        Err(error)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.get() == State::Running {
            return Err(awaitable::already_executing());
        }
        if let (true, Some(coroutine)) = (self.is_delegated.get(), self.waits_for.get(py)) {
            self.state.set(State::Running);
            let result = coroutine.call_method0("close");
            self.end(py);
            return result.map(drop);
        }
        self.end(py);
        Ok(())
    }

    /// It is over, wherever it was. Nobody waits any more, if it did.
    fn end(&self, py: Python<'_>) {
        self.state.set(State::Finished);
        let reader = self.reader.take(py);
        if let (Some(waits_for), Some(reader), false) =
            (self.waits_for.take(py), &reader, self.is_delegated.get())
        {
            drop(waits_for);
            if let Err(error) = reader.setattr(names::_waiter(py), py.None().bind(py)) {
                error.write_unraisable(py, Some(reader));
            }
        }
        drop(self.separator.take(py));
    }

    /// What knows the reader, and the reader.
    #[inline]
    fn known<'py>(&self, py: Python<'py>) -> Option<(&'static Reader, Bound<'py, PyAny>)> {
        Some((reader::known(py)?, self.reader.get(py)?))
    }
}

/// The result of a future that was waited for.
fn outcome(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    match call::method(names::result(py), [future]) {
        Ok(_) => Ok(()),
        Err(error) => match call::method(names::done(py), [future])?.is_truthy()? {
            true => Err(error),
            false => Err(PyRuntimeError::new_err("await wasn't used with future")),
        },
    }
}

impl Coroutine for Reading {
    fn step<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Step<'py>> {
        let py = object.py();
        let before = self.state.get();
        match before {
            State::Running => return Err(awaitable::already_executing()),
            State::Finished => return Err(awaitable::reused()),
            State::Created if !value.is_none() => {
                return Err(PyTypeError::new_err(
                    "can't send non-None value to a just-started coroutine",
                ));
            }
            State::Created | State::Suspended => {}
        }
        self.state.set(State::Running);
        let result = match before {
            State::Suspended if self.is_delegated.get() => self.pass_on(py, value),
            State::Suspended => self.wake(py, py.None().bind(py)),
            _ => self.begin(py, value),
        };
        if let Ok(Step::Yielded(_)) = &result {
            self.state.set(State::Suspended);
            return result;
        }
        self.end(py);
        result.map_err(|error| awaitable::not_a_result(py, error))
    }

    fn check_awaitable(&self) -> PyResult<()> {
        match self.state.get() {
            State::Suspended | State::Running => Err(PyRuntimeError::new_err(
                "coroutine is being awaited already",
            )),
            // A finished one says so when it is stepped, as CPython's own do.
            State::Created | State::Finished => Ok(()),
        }
    }
}

impl Payload for Reading {
    fn freed() -> Option<&'static FreeList> {
        Some(&FREED)
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.reader.traverse(visit)?;
        self.separator.traverse(visit)?;
        self.waits_for.traverse(visit)
    }

    #[inline]
    fn clear(&self, py: Python<'_>) {
        match self.state.get() {
            State::Finished => {}
            State::Created => error::kept(py, || self.warn(py)),
            State::Running | State::Suspended => error::kept(py, || self.end(py)),
        }
        drop(self.waits_for.take(py));
        drop(self.reader.take(py));
        drop(self.separator.take(py));
    }
}

impl Reading {
    /// Warns that nobody awaited it. The object is going, so what is shown is another one that looks like it.
    #[cold]
    fn warn(&self, py: Python<'_>) {
        self.state.set(State::Finished);
        let Some(class) = TYPE.get(py) else {
            return;
        };
        let stand_in = Self {
            guise: Guise::new(),
            what: self.what,
            state: Cell::new(State::Finished),
            is_delegated: Cell::new(false),
            reader: Slot::default(),
            separator: Slot::default(),
            searched: Cell::new(0),
            waits_for: Slot::default(),
        };
        let warned = class.make(py, stand_in).and_then(|object| {
            let warn = names::warnings(py)?.getattr(names::_warn_unawaited_coroutine(py))?;
            warn.call1((object,)).map(drop)
        });
        let Err(error) = warned else { return };
        if error.is_instance_of::<PyRuntimeWarning>(py) {
            error.write_unraisable(py, None); // a filter made it an error
            return;
        }
        // The interpreter is going down, and with it that function.
        let message = format!("coroutine '{}' was never awaited", self.qualified_name());
        let message = std::ffi::CString::new(message).unwrap_or_default();
        if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 1) {
            error.write_unraisable(py, None);
        }
    }
}

fn definition() -> Definition<Reading> {
    Definition {
        name: c"oneloop._core.NativeRead",
        doc: c"A coroutine that reads from a stream.\n\nReturned by the methods of a native stream reader.",
        methods: methods(),
        attributes: attributes(),
        special: special(),
        is_open: false,
    }
}

fn methods() -> Vec<Method<Reading>> {
    vec![
        method::positional(
            c"send",
            c"send($self, arg, /)\n--\n\nGo on until the coroutine waits or is over.",
            |object, reading: &Reading, args| {
                let (value,): (Bound<'_, PyAny>,) = args.extract()?;
                match reading.step(object, &value)? {
                    Step::Yielded(waits_for) => Ok(waits_for),
                    Step::Returned(result) => Err(coroutine::stop_iteration(result)),
                }
            },
        ),
        method::positional(
            c"throw",
            c"throw($self, type, value=None, traceback=None, /)\n--\n\nEnd the coroutine with an exception.",
            |object, reading: &Reading, args| reading.throw(object.py(), args),
        ),
        method::noargs(
            c"close",
            c"close($self, /)\n--\n\nEnd the coroutine.",
            |object, reading: &Reading| {
                reading.close(object.py())?;
                Ok(object.py().None().into_bound(object.py()))
            },
        ),
    ]
}

fn special() -> Vec<Special<Reading>> {
    let mut special = coroutine::slots();
    special.push(method::repr(|object, reading: &Reading| {
        let text = format!(
            "<coroutine object {} at {:#x}>",
            reading.qualified_name(),
            object.as_ptr() as usize
        );
        Ok(PyString::new(object.py(), &text).into_any())
    }));
    special
}

fn attributes() -> Vec<Attribute<Reading>> {
    let mut attributes = vec![
        method::getter(c"__name__", |py, reading: &Reading| {
            Ok(PyString::new(py, reading.what.name()).into_any())
        }),
        method::getter(c"__qualname__", |py, reading: &Reading| {
            Ok(PyString::new(py, &reading.qualified_name()).into_any())
        }),
        method::getter(c"cr_running", |py, reading: &Reading| {
            let running = reading.state.get() == State::Running;
            Ok(PyBool::new(py, running).to_owned().into_any())
        }),
        method::getter(c"cr_suspended", |py, reading: &Reading| {
            let suspended = reading.state.get() == State::Suspended;
            Ok(PyBool::new(py, suspended).to_owned().into_any())
        }),
        method::getter(c"cr_frame", |py, _: &Reading| Ok(py.None().into_bound(py))),
        method::getter(c"cr_code", |py, _: &Reading| Ok(py.None().into_bound(py))),
        method::getter(c"cr_origin", |py, _: &Reading| Ok(py.None().into_bound(py))),
    ];
    if cfg!(Py_3_15) {
        // By the names of `inspect.getcoroutinestate`, which reads this one there.
        attributes.push(method::getter(c"cr_state", |py, reading: &Reading| {
            let state = reading.state.get().name();
            Ok(PyString::new(py, state).into_any())
        }));
    }
    attributes
}
