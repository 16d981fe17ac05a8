//! Calls that asyncio's own C code schedules, without a handle.
//!
//! A task's step and a future's done callbacks are most of what a loop runs, and `_asyncio` schedules them by `loop.call_soon(callback,
//! [argument,] context=context)` and drops the handle that it gets. It passes the keyword's name in a tuple that nobody else has: who passes
//! this very object needs no handle, and gets `None`.
//!
//! That is asyncio's private behaviour, so it is tried out when the module is made; where it is otherwise (asyncio in pure Python, or a
//! version that does it differently), and with `ONELOOP_HANDLE_FREE=0` in the environment, every call has its handle.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyTuple, PyType};

use crate::ffi::arguments::Arguments;
use crate::ffi::arguments::Rest;
use crate::ffi::raw_type::{Definition, Halt, Payload, RawType, Visit};
use crate::ffi::slot::Slot;
use crate::ffi::{call, context, method};
use crate::handle::{Callback, Handle};
use crate::names;
use crate::overrides::{self, Method};
use crate::stepping::{self, Taken};

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_HANDLE_FREE";

/// The tuple by which asyncio's calls are known; `None` inside if they are not.
static SIGN: PyOnceLock<Option<Py<PyTuple>>> = PyOnceLock::new();

/// A call that nobody can cancel.
pub(crate) struct Call {
    callback: Py<PyAny>,
    argument: Option<Py<PyAny>>,
    context: Py<PyAny>,
}

impl Call {
    /// The call, if it is asyncio's.
    #[inline]
    pub(crate) fn of_asyncio(arguments: &Arguments<'_, '_>) -> Option<Self> {
        let keywords = arguments.keywords()?;
        let sign = SIGN.get(keywords.py())?.as_ref()?;
        if !keywords.is(sign) {
            return None;
        }
        let mut values = arguments.values();
        let (callback, argument, context) = match values.len() {
            2 => (values.next()?, None, values.next()?),
            3 => (values.next()?, values.next(), values.next()?),
            _ => return None,
        };
        // A context that is none is an error that needs a handle to be told.
        context::is_context(&context).then(|| Self {
            callback: callback.to_owned().unbind(),
            argument: argument.map(|argument| argument.to_owned().unbind()),
            context: context.to_owned().unbind(),
        })
    }

    /// Runs it, as [`Handle::run`] would. Answers what is to be queued: itself, or what follows on it.
    ///
    /// # Errors
    /// `SystemExit` and `KeyboardInterrupt` of the callback, and what the exception handler raises.
    #[inline]
    pub(crate) fn run<'py>(
        self,
        py: Python<'py>,
        event_loop: impl Fn() -> Option<Bound<'py, PyAny>>,
        is_debugged: impl Fn() -> bool,
    ) -> PyResult<Option<Self>> {
        let result = self.call(py, || match is_debugged() {
            true => None,
            false => event_loop(),
        });
        match result {
            Ok(Taken::Again) => Ok(Some(self)),
            Ok(Taken::Done | Taken::No) => {
                self.release(py);
                Ok(None)
            }
            Ok(Taken::Then(next)) => {
                self.release(py);
                Ok(Some(Self {
                    callback: next.callback.unbind(),
                    argument: Some(next.task.unbind()),
                    context: next.context.unbind(),
                }))
            }
            Err(error) => match event_loop() {
                Some(event_loop) => {
                    let handle = self.into_handle(&event_loop)?;
                    handle.report(py, error).map(|()| None)
                }
                None => Err(error),
            },
        }
    }

    #[inline]
    fn call<'py>(
        &self,
        py: Python<'py>,
        plain_loop: impl Fn() -> Option<Bound<'py, PyAny>>,
    ) -> PyResult<Taken<'py>> {
        let callback = self.callback.bind(py);
        let argument = self.argument.as_ref().map(|argument| argument.bind(py));
        let _entered = context::Entered::new(self.context.bind(py))?;
        let is_ours = |of: &Bound<'py, PyAny>| match plain_loop() {
            Some(running) if running.is(of) => Ok(overrides::find(of, Method::CallSoon)?.is_none()),
            _ => Ok(false),
        };
        match (stepping::take(callback, argument, is_ours)?, argument) {
            (Taken::No, Some(argument)) => call::with(callback, [argument]).map(|_| Taken::Done),
            (Taken::No, None) => call::with(callback, []).map(|_| Taken::Done),
            (taken, _) => Ok(taken),
        }
    }

    /// Lets go of everything. A plain drop would ask PyO3 each time whether the thread is attached.
    #[inline]
    fn release(self, py: Python<'_>) {
        drop(self.callback.into_bound(py));
        drop(self.argument.map(|argument| argument.into_bound(py)));
        drop(self.context.into_bound(py));
    }

    /// The same as a handle: for what is told of it, and for debug mode.
    ///
    /// # Errors
    /// `MemoryError`.
    #[cold]
    pub(crate) fn into_handle(self, event_loop: &Bound<'_, PyAny>) -> PyResult<Handle> {
        let py = event_loop.py();
        let args = PyTuple::new(py, self.argument)?;
        Handle::new(Callback {
            event_loop,
            callback: self.callback.into_bound(py),
            args: Rest::of_tuple(&args),
            context: Some(self.context.into_bound(py)),
            debug: false,
        })
    }

    /// Shows every Python object that it owns to a garbage collector.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.callback);
        self.argument.iter().for_each(&mut *visit);
        visit(&self.context);
    }
}

/// Finds out how asyncio's calls are known. Called once, by the module's initialization.
///
/// # Errors
/// What building the probe's class or importing asyncio raises.
pub(crate) fn learn_sign(py: Python<'_>) -> PyResult<()> {
    let sign = match std::env::var_os(SWITCH) {
        Some(value) if value == "0" => None,
        _ => sign(py)?,
    };
    SIGN.get_or_init(py, || sign);
    Ok(())
}

/// What `_asyncio` passes when a future schedules a callback, if it is the same object each time and all is as expected.
fn sign(py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
    let future_class = names::future_class(py)?;
    if future_class.getattr(names::__module__(py))?.to_string() != "_asyncio" {
        return Ok(None);
    }
    let class = RawType::build(&py.get_type::<PyAny>(), probe())?;
    let first = ask(&class, future_class)?;
    let second = ask(&class, future_class)?;
    Ok(first.filter(|first| second.is_some_and(|second| second.is(first))))
}

/// The names that a future of that class passes to `call_soon` along with its callback.
fn ask(class: &RawType<Probe>, future_class: &Bound<'_, PyType>) -> PyResult<Option<Py<PyTuple>>> {
    let py = future_class.py();
    let probe = class.make(py, Probe(Slot::new(None)))?;
    let future = call::with_names(future_class, [&probe], names::loop_keyword(py)?)?;
    call::method(names::add_done_callback(py), [&future, &probe])?;
    call::method(names::set_result(py), [&future, &probe])?;
    let names = class.payload(&probe).and_then(|payload| payload.0.take(py));
    Ok(match names {
        Some(names) => names.cast_into::<PyTuple>().ok().map(Bound::unbind),
        None => None,
    })
}

/// A loop to a future: keeps the names that it is called with.
struct Probe(Slot);

impl Payload for Probe {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.0.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.0.take(py));
    }
}

fn probe() -> Definition<Probe> {
    Definition {
        name: c"oneloop._core.Probe",
        doc: c"",
        methods: vec![
            method::noargs(c"get_debug", c"", |object, _: &Probe| {
                Ok(PyBool::new(object.py(), false).to_owned().into_any())
            }),
            method::with_arguments(
                c"call_soon",
                c"",
                |object, payload: &Probe, arguments: Arguments<'_, '_>| {
                    let py = object.py();
                    // The callback, the future, and by its name the context.
                    let mut values = arguments.values();
                    let is_known = values.len() == 3
                        && values.next().is_some_and(|callback| callback.is(object))
                        && values
                            .nth(1)
                            .is_some_and(|value| context::is_context(&value));
                    if is_known
                        && let Some(names) = arguments.keywords()
                        && names.len() == 1
                        && names.get_item(0)?.eq(names::context(py))?
                    {
                        drop(payload.0.replace(py, Some(names.as_any().clone())));
                    }
                    Ok(py.None().into_bound(py))
                },
            ),
        ],
        attributes: Vec::new(),
        special: Vec::new(),
        is_open: false,
    }
}
