//! A loop that only keeps what it is told to call, and coroutines for the experiments.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};

use crate::ffi::arguments::Arguments;
use crate::ffi::method;
use crate::ffi::raw_type::{Definition, Halt, Payload, RawType, Visit};
use crate::ffi::slot::Slot;
use crate::ffi::{c_task, call};
use crate::names;

const COROUTINES: &std::ffi::CStr = c"
import types

@types.coroutine
def give(value):
    return (yield value)

async def give_way(value):
    await give(None)
    return value

async def pass_on(value):
    return await give(value)

async def wait(awaitable):
    return await awaitable

async def wait_twice(first, second):
    return (await first, await second)

async def give_back(value):
    return value

async def fail(error):
    raise error

async def cancel_and_wait(tasks, awaitable):
    tasks[0].cancel('why')
    return await awaitable

async def cancel_and_return(tasks, value):
    tasks[0].cancel('why')
    return value
";

pub(super) struct Laboratory<'py> {
    class: RawType<Recorder>,
    recorder: Bound<'py, PyAny>,
    coroutines: Bound<'py, PyDict>,
    /// Those that were made: where an experiment fails, one of them may not have begun.
    made: Bound<'py, PyList>,
    /// For as long as there are experiments.
    _running: Running<'py>,
}

impl<'py> Laboratory<'py> {
    pub(super) fn open(py: Python<'py>) -> PyResult<Self> {
        let class = RawType::build(&py.get_type::<PyAny>(), definition())?;
        let recorder = class.make(py, Recorder::default())?;
        let coroutines = PyDict::new(py);
        py.run(COROUTINES, Some(&coroutines), None)?;
        Ok(Self {
            _running: Running::set(&recorder)?,
            class,
            recorder,
            coroutines,
            made: PyList::empty(py),
        })
    }

    /// The coroutine of that name, called with these.
    pub(super) fn coroutine(
        &self,
        name: &str,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let function = self
            .coroutines
            .get_item(name)?
            .ok_or_else(|| PyTypeError::new_err("no such function"))?;
        let coroutine = call::with_tuple(&function, args)?;
        self.made.append(&coroutine)?;
        Ok(coroutine)
    }

    /// What was last given to `call_soon`: callable and argument.
    pub(super) fn call(&self) -> Option<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        let py = self.recorder.py();
        let recorder = self.class.payload(&self.recorder)?;
        let argument = recorder.argument.take(py);
        Some((recorder.callable.take(py)?, argument))
    }
}

impl Drop for Laboratory<'_> {
    fn drop(&mut self) {
        for coroutine in &self.made {
            if let Err(error) = coroutine.call_method0("close") {
                error.write_unraisable(coroutine.py(), None);
            }
        }
    }
}

impl<'py> c_task::Laboratory<'py> for Laboratory<'py> {
    fn event_loop(&self) -> &Bound<'py, PyAny> {
        &self.recorder
    }

    fn scheduled(&self) -> Option<Bound<'py, PyAny>> {
        self.call().map(|(callable, _)| callable)
    }

    fn awaiting(&self, awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine("wait", &PyTuple::new(awaitable.py(), [awaitable])?)
    }

    fn yielding(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine("pass_on", &PyTuple::new(value.py(), [value])?)
    }
}

/// Makes the recorder the running loop, which from 3.14 on the current task belongs to, and puts back what was.
struct Running<'py> {
    events: Bound<'py, PyAny>,
    event_loop: Bound<'py, PyAny>,
    before: Bound<'py, PyAny>,
    task: Option<Bound<'py, PyAny>>,
}

impl<'py> Running<'py> {
    fn set(event_loop: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let events = py.import("_asyncio")?.into_any();
        let before = events.call_method0(names::_get_running_loop(py))?;
        let task = match cfg!(Py_3_14) && !before.is_none() {
            true => Some(events.call_method1("_swap_current_task", (&before, py.None()))?),
            false => None,
        };
        let running = Self {
            events,
            event_loop: event_loop.clone(),
            before,
            task,
        };
        // From here on a failure puts back what was, too.
        let set = names::_set_running_loop(py);
        running.events.call_method1(set, (event_loop,))?;
        Ok(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let py = self.before.py();
        let set = names::_set_running_loop(py);
        // Who has replaced the function that leaves a task leaves one behind.
        let mut result = match cfg!(Py_3_14) {
            true => {
                let nobody = (&self.event_loop, py.None());
                self.events.call_method1("_swap_current_task", nobody)
            }
            false => Ok(py.None().into_bound(py)),
        };
        if result.is_ok() {
            result = self.events.call_method1(set, (&self.before,));
        }
        if let (Some(task), true) = (&self.task, result.is_ok()) {
            let swap = (&self.before, task);
            result = self.events.call_method1("_swap_current_task", swap);
        }
        if let Err(error) = result {
            error.write_unraisable(py, None);
        }
    }
}

/// The loop of the experiments.
#[derive(Default)]
struct Recorder {
    callable: Slot,
    argument: Slot,
}

impl Payload for Recorder {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.callable.traverse(visit)?;
        self.argument.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.callable.take(py));
        drop(self.argument.take(py));
    }
}

fn definition() -> Definition<Recorder> {
    Definition {
        name: c"oneloop._core.Recorder",
        doc: c"",
        methods: vec![
            method::noargs(c"get_debug", c"", |object, _: &Recorder| {
                Ok(PyBool::new(object.py(), false).to_owned().into_any())
            }),
            method::with_arguments(
                c"call_soon",
                c"",
                |object, recorder: &Recorder, arguments: Arguments<'_, '_>| {
                    let py = object.py();
                    // The callable, perhaps its argument, and by its name the context.
                    let mut values = arguments.values();
                    let count = values.len();
                    let callable = values.next().map(|value| value.to_owned());
                    let argument = match count {
                        3 => values.next().map(|value| value.to_owned()),
                        _ => None,
                    };
                    drop(recorder.callable.replace(py, callable));
                    drop(recorder.argument.replace(py, argument));
                    Ok(py.None().into_bound(py))
                },
            ),
        ],
        attributes: Vec::new(),
        special: Vec::new(),
        is_open: false,
    }
}
