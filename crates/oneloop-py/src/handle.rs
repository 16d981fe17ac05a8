//! `Handle` and `TimerHandle`: callbacks that wait for their turn, as native subclasses of asyncio's.
//!
//! What a handle *is* (callback, arguments, context, whether it is cancelled) is a Rust payload; what it
//! *looks like* stays asyncio's own Python code, inherited: `__repr__`, `_repr_info`, comparison, hash and
//! `when` read the payload through attributes of the names that asyncio's slots have. So text and order are
//! the running interpreter's, whatever its version.
//!
//! A handle may be cancelled, run and dropped from inside its own callback. Every object is therefore
//! copied out of the payload before Python is called.

mod plain;
mod positional;
mod table;
mod threadsafe;
mod timer;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use oneloop::engine::TimerKey;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyFloat;

use self::plain::Plain;
use self::threadsafe::ThreadSafe;
use self::timer::Timer;
use crate::clock::When;
use crate::ffi::arguments::Rest;
use crate::ffi::raw_type::{Payload, RawType};
use crate::ffi::slot::Slot;
use crate::names;

/// Has a loop, of which this is the Python object, forget a timer: called once when a timer handle is cancelled before it fired, outside any
/// borrow of the loop. Must not raise and must not block.
pub(crate) type Disarm = fn(&Bound<'_, PyAny>, TimerKey);

/// A function for all loops and not a reference in each handle, which has its loop already: programs hold timers by the ten thousand.
static DISARM: OnceLock<Disarm> = OnceLock::new();

/// Whether any loop of this process was ever in debug mode: as long as none was, a handle that is cancelled need not ask its own.
static WAS_DEBUGGING: AtomicBool = AtomicBool::new(false);

/// Told of every loop's debug mode.
pub(crate) fn note_debug_mode(enabled: bool) {
    if enabled {
        // Relaxed: read and written with the GIL only.
        WAS_DEBUGGING.store(true, Ordering::Relaxed);
    }
}

/// A reference to a handle of any kind.
pub(crate) struct Handle(Py<PyAny>);

/// A reference to a `TimerHandle`.
pub(crate) struct TimerHandle(Py<PyAny>);

/// What to run, for whom and where: the arguments of every handle's constructor.
pub(crate) struct Callback<'a, 'py> {
    /// The Python loop, which is asked for `get_debug` and told of exceptions.
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
    /// Any object; that it can be called is the scheduling method's business.
    pub(crate) callback: Bound<'py, PyAny>,
    /// Its positional arguments.
    pub(crate) args: Rest<'a, 'py>,
    /// The context to run in; `None` is a copy of the current one.
    pub(crate) context: Option<Bound<'py, PyAny>>,
    /// Whether to remember the Python stack.
    pub(crate) debug: bool,
}

static HANDLE: PyOnceLock<RawType<Plain>> = PyOnceLock::new();
static TIMER_HANDLE: PyOnceLock<RawType<Timer>> = PyOnceLock::new();
/// `None` where asyncio has no such kind: before 3.14.
static THREAD_SAFE_HANDLE: PyOnceLock<Option<RawType<ThreadSafe>>> = PyOnceLock::new();

/// Builds the types and adds them to the module. Called by the module's initialization, before any handle can be
/// asked for.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(crate) fn add_types(module: &Bound<'_, PyModule>, disarm: Disarm) -> PyResult<()> {
    DISARM.get_or_init(|| disarm);
    let py = module.py();
    let handle = HANDLE.get_or_try_init(py, || {
        RawType::build(names::handle_class(py)?, plain::definition())
    })?;
    let timer = TIMER_HANDLE.get_or_try_init(py, || {
        RawType::build(names::timer_handle_class(py)?, timer::definition())
    })?;
    let thread_safe = THREAD_SAFE_HANDLE.get_or_try_init(py, || {
        let base = names::thread_safe_handle_class(py)?;
        base.map(|base| RawType::build(base, threadsafe::definition()))
            .transpose()
    })?;
    module.add("Handle", handle.class(py))?;
    module.add("TimerHandle", timer.class(py))?;
    match thread_safe {
        Some(thread_safe) => module.add("_ThreadSafeHandle", thread_safe.class(py)),
        None => Ok(()),
    }
}

/// What a kind of handle does, on its payload. `object` is always the handle that the payload is in.
trait Kind: Payload {
    fn plain(&self) -> &Plain;
    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()>;
    fn cancelled(&self, py: Python<'_>) -> PyResult<bool>;
    fn run(&self, object: &Bound<'_, PyAny>) -> PyResult<()>;
}

impl Handle {
    /// A handle that waits.
    ///
    /// # Errors
    /// `MemoryError`, or what the walk over the stack raises in debug mode.
    #[inline]
    pub(crate) fn new(what: Callback<'_, '_>) -> PyResult<Self> {
        let py = what.event_loop.py();
        let plain = Plain::new(what)?;
        Ok(Self(built(py, &HANDLE).make(py, plain)?.unbind()))
    }

    /// A handle for `call_soon_threadsafe`: of asyncio's own kind for it, where the interpreter has one.
    ///
    /// # Errors
    /// As [`Handle::new`].
    pub(crate) fn new_thread_safe(what: Callback<'_, '_>) -> PyResult<Self> {
        let py = what.event_loop.py();
        match built(py, &THREAD_SAFE_HANDLE) {
            Some(class) => {
                let payload = ThreadSafe::new(Plain::new(what)?);
                Ok(Self(class.make(py, payload)?.unbind()))
            }
            None => Self::new(what),
        }
    }

    /// The Python object.
    pub(crate) fn as_any(&self) -> &Py<PyAny> {
        &self.0
    }

    /// Another reference to the same handle.
    #[inline]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Lets go of it. A plain drop would ask PyO3 first whether the thread is attached.
    #[inline]
    pub(crate) fn release(self, py: Python<'_>) {
        drop(self.0.into_bound(py));
    }

    /// Whether it was cancelled. Never waits.
    pub(crate) fn is_cancelled(&self, py: Python<'_>) -> bool {
        kind_of(self.0.bind(py)).plain().cancelled.get()
    }

    /// Cancels it, as its `cancel` method does.
    ///
    /// # Errors
    /// In debug mode what the callback's `repr` raises.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let object = self.0.bind(py);
        kind_of(object).cancel(object)
    }

    /// Tells the loop's exception handler that the callback raised: for what is run without a handle and fails.
    ///
    /// # Errors
    /// The error itself if it ends the run, and what the exception handler raises.
    #[cold]
    pub(crate) fn report(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let object = self.0.bind(py);
        kind_of(object).plain().report(object, error)
    }

    /// Runs the callback in its context; does nothing if the handle was cancelled.
    ///
    /// Follows `asyncio.Handle._run`: an exception is reported to the loop's exception handler.
    ///
    /// # Errors
    /// `SystemExit` and `KeyboardInterrupt` of the callback, and what the exception handler raises.
    #[inline]
    pub(crate) fn run(&self, py: Python<'_>) -> PyResult<()> {
        let object = self.0.bind(py);
        if let Some(plain) = built(py, &HANDLE).payload(object) {
            return plain.run(object);
        }
        if let Some(timer) = built(py, &TIMER_HANDLE).payload(object) {
            return timer.run(object);
        }
        kind_of(object).run(object)
    }
}

impl TimerHandle {
    /// The Python object.
    pub(crate) fn as_any(&self) -> &Py<PyAny> {
        &self.0
    }

    /// A timer handle that is not scheduled yet. `when` is what `when()` returns: the loop's time, as the
    /// caller computed it.
    ///
    /// # Errors
    /// As [`Handle::new`].
    pub(crate) fn new(when: When<'_>, what: Callback<'_, '_>) -> PyResult<Self> {
        let py = what.event_loop.py();
        let (seconds, when) = match when {
            When::Seconds(seconds) if seconds.is_nan() => {
                (seconds, Some(PyFloat::new(py, seconds).into_any()))
            }
            When::Seconds(seconds) => (seconds, None),
            When::Object(object) => (f64::NAN, Some(object)),
        };
        let timer = Timer {
            seconds,
            when: Slot::new(when),
            key: Cell::new(None),
            plain: Plain::new(what)?,
        };
        Ok(Self(built(py, &TIMER_HANDLE).make(py, timer)?.unbind()))
    }

    /// Another reference to the same handle.
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Remembers the armed timer, or forgets it when it has fired.
    pub(crate) fn set_timer(&self, py: Python<'_>, key: Option<TimerKey>) {
        if let Some(timer) = built(py, &TIMER_HANDLE).payload(self.0.bind(py)) {
            timer.key.set(key);
        }
    }

    /// The same object as a plain handle.
    pub(crate) fn to_handle(&self, py: Python<'_>) -> Handle {
        Handle(self.0.clone_ref(py))
    }
}

impl From<Handle> for Py<PyAny> {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl From<TimerHandle> for Py<PyAny> {
    fn from(handle: TimerHandle) -> Self {
        handle.0
    }
}

impl From<TimerHandle> for Handle {
    fn from(handle: TimerHandle) -> Self {
        Self(handle.0)
    }
}

/// The payload, whatever kind of handle it is.
fn kind_of<'a>(object: &'a Bound<'_, PyAny>) -> &'a dyn Kind {
    let py = object.py();
    if let Some(plain) = built(py, &HANDLE).payload(object) {
        return plain;
    }
    if let Some(timer) = built(py, &TIMER_HANDLE).payload(object) {
        return timer;
    }
    let class = built(py, &THREAD_SAFE_HANDLE).as_ref();
    class
        .and_then(|class| class.payload(object))
        .expect("only objects of these types are wrapped, and an object's type is fixed")
}

/// A type, or what there is of it.
fn built<'a, T>(py: Python<'a>, cell: &'static PyOnceLock<T>) -> &'a T {
    cell.get(py)
        .expect("the module's initialization built the types before it offered a loop")
}
