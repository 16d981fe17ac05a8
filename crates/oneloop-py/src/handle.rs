//! `Handle` and `TimerHandle`: callbacks that wait for their turn, as native subclasses of asyncio's.
//!
//! What a handle *is* (callback, arguments, context, whether it is cancelled) is a Rust payload; what it
//! *looks like* stays asyncio's own Python code, inherited: `__repr__`, `_repr_info`, comparison, hash and
//! `when` read the payload through attributes of the names that asyncio's slots have. So text and order are
//! the running interpreter's, whatever its version.
//!
//! A handle may be cancelled, run and dropped from inside its own callback. Every object is therefore
//! copied out of the payload before Python is called.

use std::cell::Cell;
use std::sync::Arc;

use oneloop::engine::TimerKey;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};

use crate::ffi::method::{Attribute, Method};
use crate::ffi::raw_type::{Definition, Halt, Payload, RawType, Visit};
use crate::ffi::slot::Slot;
use crate::ffi::{call, context, method, thread};
use crate::names;

/// Told once when a timer handle is cancelled before it fired, outside any borrow of the loop.
pub(crate) trait Disarm: Send + Sync {
    /// Forgets the timer. Must not raise and must not block.
    fn disarm(&self, py: Python<'_>, timer: TimerKey);
}

/// A reference to a `Handle` or a `TimerHandle` of this module.
pub(crate) struct Handle(Py<PyAny>);

/// A reference to a `TimerHandle` of this module.
pub(crate) struct TimerHandle(Py<PyAny>);

/// What to run, for whom and where: the arguments of every handle's constructor.
pub(crate) struct Callback<'a, 'py> {
    /// The Python loop, which is asked for `get_debug` and told of exceptions.
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
    /// Any object; that it can be called is the scheduling method's business.
    pub(crate) callback: Bound<'py, PyAny>,
    /// Its positional arguments.
    pub(crate) args: Bound<'py, PyTuple>,
    /// The context to run in; `None` is a copy of the current one.
    pub(crate) context: Option<Bound<'py, PyAny>>,
    /// Whether to remember the Python stack.
    pub(crate) debug: bool,
}

static HANDLE: PyOnceLock<RawType<Core>> = PyOnceLock::new();
static TIMER_HANDLE: PyOnceLock<RawType<Timer>> = PyOnceLock::new();

/// Builds both types and adds them to the module. Called by the module's initialization, before any
/// handle can be asked for.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(crate) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let handle = HANDLE.get_or_try_init(py, || {
        RawType::build(names::handle_class(py)?, handle_definition())
    })?;
    let timer = TIMER_HANDLE.get_or_try_init(py, || {
        RawType::build(names::timer_handle_class(py)?, timer_definition())
    })?;
    module.add("Handle", handle.class(py))?;
    module.add("TimerHandle", timer.class(py))
}

impl Handle {
    /// A handle that waits.
    ///
    /// # Errors
    /// `MemoryError`, or what the walk over the stack raises in debug mode.
    pub(crate) fn new(what: Callback<'_, '_>) -> PyResult<Self> {
        let py = what.event_loop.py();
        let core = Core::new(what)?;
        Ok(Self(built(py, &HANDLE).make(py, core)?.unbind()))
    }

    /// The Python object.
    pub(crate) fn as_any(&self) -> &Py<PyAny> {
        &self.0
    }

    /// Another reference to the same handle.
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Whether it was cancelled.
    pub(crate) fn is_cancelled(&self, py: Python<'_>) -> bool {
        core_of(self.0.bind(py)).cancelled.get()
    }

    /// Cancels it, as `asyncio.Handle.cancel` (and `asyncio.TimerHandle.cancel`) does.
    ///
    /// # Errors
    /// In debug mode what the callback's `repr` raises.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let object = self.0.bind(py);
        match built(py, &TIMER_HANDLE).payload(object) {
            Some(timer) => timer.cancel(object),
            None => core_of(object).cancel(object),
        }
    }

    /// Runs the callback in its context; does nothing if the handle was cancelled.
    ///
    /// Follows `asyncio.Handle._run`: an exception is reported to the loop's exception handler.
    ///
    /// # Errors
    /// `SystemExit` and `KeyboardInterrupt` of the callback, and what the exception handler raises.
    pub(crate) fn run(&self, py: Python<'_>) -> PyResult<()> {
        let object = self.0.bind(py);
        core_of(object).run(object)
    }
}

impl TimerHandle {
    /// A timer handle that is not scheduled yet. `when` is what `when()` returns: the loop's time, as the
    /// caller computed it.
    ///
    /// # Errors
    /// As [`Handle::new`].
    pub(crate) fn new(
        when: Bound<'_, PyAny>,
        what: Callback<'_, '_>,
        disarm: Arc<dyn Disarm>,
    ) -> PyResult<Self> {
        let py = what.event_loop.py();
        let timer = Timer {
            when: Slot::new(Some(when)),
            key: Cell::new(None),
            disarm,
            core: Core::new(what)?,
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

/// The payload of a `Handle`.
struct Core {
    callback: Slot,
    args: Slot,
    context: Slot,
    event_loop: Slot,
    source_traceback: Slot,
    /// The text that `__repr__` shows once the handle was cancelled in debug mode.
    repr: Slot,
    cancelled: Cell<bool>,
}

/// The payload of a `TimerHandle`.
struct Timer {
    when: Slot,
    key: Cell<Option<TimerKey>>,
    disarm: Arc<dyn Disarm>,
    core: Core,
}

impl Core {
    fn new(what: Callback<'_, '_>) -> PyResult<Self> {
        let py = what.event_loop.py();
        let context = match what.context {
            Some(context) => context,
            None => context::copy_current(py)?,
        };
        // Native code has no frame of its own, so the stack ends at whoever called the loop: asyncio cuts
        // its own frames off to the same end.
        let source_traceback = match what.debug {
            true => Some(call::with(
                names::extract_stack(py)?,
                [&thread::current_frame(py)],
            )?),
            false => None,
        };
        Ok(Self {
            callback: Slot::new(Some(what.callback)),
            args: Slot::new(Some(what.args.into_any())),
            context: Slot::new(Some(context)),
            event_loop: Slot::new(Some(what.event_loop.clone())),
            source_traceback: Slot::new(source_traceback),
            repr: Slot::new(None),
            cancelled: Cell::new(false),
        })
    }

    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.cancelled.replace(true) {
            return Ok(());
        }
        if let Some(event_loop) = self.event_loop.get(py)
            && call::method(names::get_debug(py), [&event_loop])?.is_truthy()?
        {
            // For messages about it ("Executing <Handle …> took …"): the callback is about to go.
            let text = object.repr()?.into_any();
            drop(self.repr.replace(py, Some(text)));
        }
        drop(self.callback.take(py));
        drop(self.args.take(py));
        Ok(())
    }

    fn run(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.cancelled.get() {
            return Ok(());
        }
        match self.call(object.py()) {
            Ok(()) => Ok(()),
            Err(error) => self.report(object, error),
        }
    }

    fn call(&self, py: Python<'_>) -> PyResult<()> {
        let callback = self.callback.get(py).unwrap_or_else(|| none(py));
        let args = match self.args.get(py) {
            Some(args) => args.cast_into::<PyTuple>()?,
            None => PyTuple::empty(py),
        };
        let context = self.context.get(py).unwrap_or_else(|| none(py));
        if context::is_context(&context) {
            let _entered = context::Entered::new(&context)?;
            call::with_tuple(&callback, &args)?;
        } else {
            // Any object with a `run` method is accepted by asyncio, and one without is an error of the
            // callback's, not of the loop's.
            let mut run_args = vec![callback];
            run_args.extend(args.iter());
            let run = context.getattr(names::run(py))?;
            call::with_tuple(&run, &PyTuple::new(py, run_args)?)?;
        }
        Ok(())
    }

    /// Hands an exception of the callback to the loop's exception handler.
    #[cold]
    fn report(&self, object: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
        let py = object.py();
        if error.is_instance_of::<PySystemExit>(py)
            || error.is_instance_of::<PyKeyboardInterrupt>(py)
        {
            return Err(error);
        }
        let event_loop = self.event_loop.get(py).unwrap_or_else(|| none(py));
        let message =
            PyString::new(py, "Exception in callback ").add(self.describe(&event_loop)?)?;
        let details = PyDict::new(py);
        details.set_item(names::message(py), message)?;
        details.set_item(names::exception(py), error.into_value(py))?;
        details.set_item(names::handle(py), object)?;
        if let Some(traceback) = self.source_traceback.get(py)
            && traceback.is_truthy()?
        {
            details.set_item(names::source_traceback(py), traceback)?;
        }
        call::method(names::call_exception_handler(py), [&event_loop, &details])?;
        Ok(())
    }

    /// The callback and its place in the source, in asyncio's words.
    fn describe<'py>(&self, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let callback = self.callback.get(py).unwrap_or_else(|| none(py));
        let args = self.args.get(py).unwrap_or_else(|| none(py));
        let Some(format) = names::callback_format(py) else {
            return Ok(callback.repr()?.into_any());
        };
        let positional = PyTuple::new(py, [callback, args])?;
        let keywords = PyDict::new(py);
        if format.takes_debug {
            keywords.set_item(
                names::debug(py),
                call::method(names::get_debug(py), [event_loop])?,
            )?;
        }
        call::with_keywords(format.function.bind(py), &positional, Some(&keywords))
    }
}

impl Timer {
    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.core.cancelled.get()
            && let Some(key) = self.key.take()
        {
            self.disarm.disarm(object.py(), key);
        }
        self.core.cancel(object)
    }
}

impl Payload for Core {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.slots()
            .into_iter()
            .try_for_each(|slot| slot.traverse(visit))
    }

    fn clear(&self, py: Python<'_>) {
        // What is left has nothing to run: to the loop it is a cancelled handle.
        self.cancelled.set(true);
        for slot in self.slots() {
            drop(slot.take(py));
        }
    }
}

impl Core {
    fn slots(&self) -> [&Slot; 6] {
        [
            &self.callback,
            &self.args,
            &self.context,
            &self.event_loop,
            &self.source_traceback,
            &self.repr,
        ]
    }
}

impl Payload for Timer {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.when.traverse(visit)?;
        self.core.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.core.clear(py);
        drop(self.when.take(py));
    }
}

/// Both payloads, to the attributes and methods that both types have.
trait HasCore: Payload {
    fn core(&self) -> &Core;
    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()>;
}

impl HasCore for Core {
    fn core(&self) -> &Core {
        self
    }

    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::cancel(self, object)
    }
}

impl HasCore for Timer {
    fn core(&self) -> &Core {
        &self.core
    }

    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::cancel(self, object)
    }
}

/// The payload that both kinds of handle have.
fn core_of<'a>(object: &'a Bound<'_, PyAny>) -> &'a Core {
    let py = object.py();
    let plain = built(py, &HANDLE).payload(object);
    plain
        .or_else(|| built(py, &TIMER_HANDLE).payload(object).map(HasCore::core))
        .expect(
            "only `make` of these two types is ever wrapped, and an object cannot change its type",
        )
}

/// One of the two types.
fn built<'a, P>(py: Python<'a>, cell: &'static PyOnceLock<RawType<P>>) -> &'a RawType<P> {
    cell.get(py)
        .expect("the module's initialization built the types before it offered a loop")
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

fn handle_definition() -> Definition<Core> {
    Definition {
        name: c"oneloop._core.Handle",
        doc: c"A callback that waits for its turn on a oneloop loop.\n\nReturned by call_soon() and call_soon_threadsafe(); follows asyncio.Handle.",
        methods: methods(),
        attributes: attributes(),
    }
}

fn timer_definition() -> Definition<Timer> {
    let mut attributes = attributes();
    attributes.push(method::getter(c"_when", |py, timer: &Timer| {
        shown(py, &timer.when)
    }));
    attributes.push(method::getter(c"_scheduled", |py, timer: &Timer| {
        Ok(truth(py, timer.key.get().is_some()))
    }));
    Definition {
        name: c"oneloop._core.TimerHandle",
        doc: c"A callback that waits for its time on a oneloop loop.\n\nReturned by call_later() and call_at(); follows asyncio.TimerHandle.",
        methods: methods(),
        attributes,
    }
}

fn methods<P: HasCore>() -> Vec<Method<P>> {
    let mut methods = vec![
        method::noargs(
            c"cancel",
            c"cancel($self, /)\n--\n\nCancel the callback; nothing happens if it ran or was cancelled already.",
            |object, payload: &P| payload.cancel(object).map(|()| none(object.py())),
        ),
        method::noargs(
            c"cancelled",
            c"cancelled($self, /)\n--\n\nReturn True if the callback was cancelled.",
            |object, payload: &P| Ok(truth(object.py(), payload.core().cancelled.get())),
        ),
        method::noargs(
            c"_run",
            c"_run($self, /)\n--\n\nRun the callback in its context and report its exceptions to the loop.",
            |object, payload: &P| payload.core().run(object).map(|()| none(object.py())),
        ),
    ];
    if cfg!(Py_3_12) {
        methods.push(method::noargs(
            c"get_context",
            c"get_context($self, /)\n--\n\nReturn the contextvars.Context that the callback runs in.",
            |object, payload: &P| shown(object.py(), &payload.core().context),
        ));
    }
    methods
}

/// The names of asyncio's slots, which its inherited code reads. Those that asyncio's own `cancel` assigns,
/// and that tests and debuggers do, can be assigned.
fn attributes<P: HasCore>() -> Vec<Attribute<P>> {
    vec![
        method::property(
            c"_callback",
            |py, payload: &P| shown(py, &payload.core().callback),
            |payload: &P, value| assign(&payload.core().callback, value),
        ),
        method::property(
            c"_args",
            |py, payload: &P| shown(py, &payload.core().args),
            |payload: &P, value| {
                let value = if value.is_none() {
                    value
                } else {
                    value.cast_into::<PyTuple>()?.into_any()
                };
                assign(&payload.core().args, value)
            },
        ),
        method::property(
            c"_cancelled",
            |py, payload: &P| Ok(truth(py, payload.core().cancelled.get())),
            |payload: &P, value| {
                payload.core().cancelled.set(value.is_truthy()?);
                Ok(())
            },
        ),
        method::property(
            c"_repr",
            |py, payload: &P| shown(py, &payload.core().repr),
            |payload: &P, value| assign(&payload.core().repr, value),
        ),
        method::property(
            c"_source_traceback",
            |py, payload: &P| shown(py, &payload.core().source_traceback),
            |payload: &P, value| assign(&payload.core().source_traceback, value),
        ),
        method::getter(c"_context", |py, payload: &P| {
            shown(py, &payload.core().context)
        }),
        method::getter(c"_loop", |py, payload: &P| {
            shown(py, &payload.core().event_loop)
        }),
    ]
}

fn shown<'py>(py: Python<'py>, slot: &Slot) -> PyResult<Bound<'py, PyAny>> {
    Ok(slot.get(py).unwrap_or_else(|| none(py)))
}

fn assign(slot: &Slot, value: Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    drop(slot.replace(py, Some(value).filter(|value| !value.is_none())));
    Ok(())
}

fn truth(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}
