//! What every kind of handle is made of: the callback, and running, cancelling and describing it.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::positional::Positional;
use super::table::{attributes, methods};
use super::{Callback, Kind, WAS_DEBUGGING};
use crate::ffi::raw_type::{Definition, FreeList, Halt, Payload, Visit};
use crate::ffi::slot::Slot;
use crate::ffi::{call, context, thread};
use crate::names;
use crate::overrides::{self, Method};

/// The payload of a `Handle`.
pub(super) struct Plain {
    pub(super) callback: Slot,
    pub(super) args: Positional,
    pub(super) context: Slot,
    pub(super) event_loop: Slot,
    notes: OnceCell<Box<Notes>>,
    pub(super) cancelled: Cell<bool>,
}

/// What only debug mode, or a curious program, adds to a handle.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) source_traceback: Slot,
    /// The text that `__repr__` shows once the handle was cancelled in debug mode.
    pub(super) repr: Slot,
}

impl Notes {
    #[cold]
    fn of_debug_mode(py: Python<'_>) -> PyResult<Box<Self>> {
        // Native code has no frame of its own, so the stack ends at whoever called the loop: asyncio cuts
        // its own frames off to the same end.
        let stack = call::with(names::extract_stack(py)?, [&thread::current_frame(py)])?;
        Ok(Box::new(Self {
            source_traceback: Slot::new(Some(stack)),
            repr: Slot::default(),
        }))
    }

    #[cold]
    fn release(self, py: Python<'_>) {
        self.source_traceback.release(py);
        self.repr.release(py);
    }
}

impl Plain {
    #[inline(always)]
    pub(super) fn new(what: Callback<'_, '_>) -> PyResult<Self> {
        let py = what.event_loop.py();
        let context = match what.context {
            Some(context) => context,
            None => context::copy_current(py)?,
        };
        let notes = match what.debug {
            true => OnceCell::from(Notes::of_debug_mode(py)?),
            false => OnceCell::new(),
        };
        Ok(Self {
            callback: Slot::new(Some(what.callback)),
            args: Positional::new(what.args)?,
            context: Slot::new(Some(context)),
            event_loop: Slot::new(Some(what.event_loop.clone())),
            notes,
            cancelled: Cell::new(false),
        })
    }

    /// What was added, if anything was.
    pub(super) fn notes(&self) -> Option<&Notes> {
        self.notes.get().map(|notes| &**notes)
    }

    /// The same, to be added to.
    pub(super) fn own_notes(&self) -> &Notes {
        self.notes.get_or_init(Box::default)
    }
}

impl Kind for Plain {
    fn plain(&self) -> &Plain {
        self
    }

    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.cancelled.replace(true) {
            return Ok(());
        }
        if let Some(event_loop) = self.event_loop.get(py)
            && is_debugging(&event_loop)?
        {
            // For messages about it ("Executing <Handle …> took …"): the callback is about to go.
            let text = object.repr()?.into_any();
            drop(self.own_notes().repr.replace(py, Some(text)));
        }
        drop(self.callback.take(py));
        self.args.set(py, None);
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

    fn cancelled(&self, _: Python<'_>) -> PyResult<bool> {
        Ok(self.cancelled.get())
    }
}

impl Plain {
    fn call(&self, py: Python<'_>) -> PyResult<()> {
        let callback = self.callback.get(py).unwrap_or_else(|| none(py));
        let context = self.context.get(py).unwrap_or_else(|| none(py));
        if context::is_context(&context) {
            let _entered = context::Entered::new(&context)?;
            return self.args.call(&callback);
        }
        self.call_through(&context, callback)
    }

    /// Any object with a `run` method is accepted by asyncio in the place of a context, and one without is an error of the callback's, not
    /// of the loop's.
    #[cold]
    fn call_through(&self, context: &Bound<'_, PyAny>, callback: Bound<'_, PyAny>) -> PyResult<()> {
        let py = context.py();
        let mut run_args = vec![callback];
        if let Some(args) = self.args.tuple(py)? {
            run_args.extend(args.cast_into::<PyTuple>()?.iter());
        }
        let run = context.getattr(names::run(py))?;
        call::with_tuple(&run, &PyTuple::new(py, run_args)?).map(drop)
    }

    /// Hands an exception of the callback to the loop's exception handler.
    #[cold]
    pub(super) fn report(&self, object: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
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
        if let Some(notes) = self.notes()
            && let Some(traceback) = notes.source_traceback.get(py)
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
        let args = self.args.tuple(py)?.unwrap_or_else(|| none(py));
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

static FREED: FreeList = FreeList::new();

impl Payload for Plain {
    fn freed() -> Option<&'static FreeList> {
        Some(&FREED)
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.args.traverse(visit)?;
        self.slots().try_for_each(|slot| slot.traverse(visit))
    }

    fn clear(&self, py: Python<'_>) {
        // What is left has nothing to run: to the loop it is a cancelled handle.
        self.cancelled.set(true);
        self.args.set(py, None);
        for slot in self.slots() {
            drop(slot.take(py));
        }
    }

    #[inline]
    fn release(self, py: Python<'_>) {
        self.callback.release(py);
        self.args.release(py);
        self.context.release(py);
        self.event_loop.release(py);
        if let Some(notes) = self.notes.into_inner() {
            (*notes).release(py);
        }
    }
}

impl Plain {
    /// All of them but the arguments.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let notes = self.notes().into_iter();
        [&self.callback, &self.context, &self.event_loop]
            .into_iter()
            .chain(notes.flat_map(|notes| [&notes.source_traceback, &notes.repr]))
    }
}

/// What the loop's `get_debug()` says.
#[inline]
fn is_debugging(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    // Relaxed: read and written with the GIL only.
    if !WAS_DEBUGGING.load(Ordering::Relaxed)
        && overrides::find(event_loop, Method::GetDebug)?.is_none()
    {
        return Ok(false);
    }
    call::method(names::get_debug(event_loop.py()), [event_loop])?.is_truthy()
}

pub(super) fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

pub(super) fn definition() -> Definition<Plain> {
    Definition {
        name: c"oneloop._core.Handle",
        doc: c"A callback that waits for its turn on a oneloop loop.\n\nReturned by call_soon(); follows asyncio.Handle.",
        methods: methods(),
        attributes: attributes(),
        special: Vec::new(),
        is_open: false,
    }
}
