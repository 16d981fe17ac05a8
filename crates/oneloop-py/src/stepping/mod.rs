//! The steps of asyncio's own tasks, taken without its C code where nothing but the usual happens.
//!
//! A task is asyncio's, and all that it is stays in its own fields: it is made, cancelled, asked and ended by its own methods, and C code and
//! this may take its steps in any turn. A step is taken here if it goes on with the coroutine, after a result or after giving way; and here
//! is done what then follows most: waiting for a future of asyncio's own, giving way again, or returning. Whatever else a coroutine does
//! (raising, waiting for anything else, being cancelled meanwhile) is done over by the C code, to which [`replay`] plays the coroutine that
//! has done it; so there is one who knows what to do then.
//!
//! A task class of our own, a subclass of asyncio's, was tried and given up: making one costs more than its steps save, asyncio's C code has its fast
//! paths for the exact class only, and programs see another class. In debug mode each
//! call has a handle and its step is asyncio's, but for a call that was scheduled before that was turned on.
//!
//! What this needs of asyncio's private behaviour is learned and tried out when the module is made (`ffi::c_task`, `trial`); where any of it
//! is otherwise, and with `ONELOOP_NATIVE_TASK=0` in the environment, the C code takes every step.

mod current;
mod laboratory;
mod replay;
mod trial;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyNone};

use self::current::CurrentTask;
use self::replay::{Deed, Replay};
use crate::ffi::c_task::{Ended, Known, Layout, Task};
use crate::ffi::coroutine::{self, Step};
use crate::ffi::raw_type::RawType;
use crate::ffi::{call, error};
use crate::names;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_NATIVE_TASK";

/// Apart from the rest, since a replay needs it while the rest is tried out.
static LAYOUT: PyOnceLock<Layout> = PyOnceLock::new();

static STEPS: PyOnceLock<Option<Steps>> = PyOnceLock::new();

/// What steps are taken with.
struct Steps {
    layout: &'static Layout,
    current: CurrentTask,
    /// `Future.set_result`.
    set_result: Py<PyAny>,
    awaited_by: Option<AwaitedBy>,
    replays: RawType<Replay>,
}

/// `asyncio.future_add_to_awaited_by` and its opposite, from 3.14 on: for what several tasks await.
struct AwaitedBy {
    add: Py<PyAny>,
    discard: Py<PyAny>,
}

/// What has become of a call.
pub(crate) enum Taken<'py> {
    /// It has been made.
    Done,
    /// It has been made, and that is to be called in the next turn.
    Then(Next<'py>),
    /// It has been made, and is to be made again in the next turn.
    Again,
    /// It is none of these: it is to be made as any other.
    No,
}

/// What the end of a task has scheduled.
pub(crate) struct Next<'py> {
    pub(crate) callback: Bound<'py, PyAny>,
    pub(crate) task: Bound<'py, PyAny>,
    pub(crate) context: Bound<'py, PyAny>,
}

/// What a step has come to.
enum Advance<'py> {
    Done,
    Then(Next<'py>),
    Again,
    Else(Deed, Bound<'py, PyAny>),
}

/// Finds out whether steps can be taken here. Called once, by the module's initialization.
///
/// # Errors
/// What building a class raises.
pub(crate) fn learn(py: Python<'_>) -> PyResult<()> {
    let is_off = std::env::var_os(SWITCH).is_some_and(|value| value == "0");
    let steps = match is_off {
        true => None,
        // Whatever goes wrong says that this asyncio is another one; its own code serves as well.
        false => trial::steps(py).ok(),
    };
    STEPS.get_or_init(py, || steps);
    Ok(())
}

/// Whether they are.
pub(crate) fn is_on(py: Python<'_>) -> bool {
    STEPS.get(py).is_some_and(Option::is_some)
}

/// Makes the call `callable(argument)` or `callable()` of asyncio's own, in its context, if it is a step of a task and begins as most do.
/// `can_go_on` is asked whether a call for that loop may be made again without asking the loop's `call_soon`.
///
/// # Errors
/// Those of the step: never what the coroutine raises, unless it ends the run.
#[inline]
pub(crate) fn take<'py>(
    callable: &Bound<'py, PyAny>,
    argument: Option<&Bound<'py, PyAny>>,
    can_go_on: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<bool>,
) -> PyResult<Taken<'py>> {
    // From 3.14 on asyncio's own wake-up costs as little: it marks the current task in the thread's state.
    if cfg!(Py_3_14) && argument.is_some() {
        return Ok(Taken::No);
    }
    match STEPS.get(callable.py()) {
        Some(Some(steps)) => steps.take(callable, argument, can_go_on),
        _ => Ok(Taken::No),
    }
}

impl<'py> Next<'py> {
    /// As the C code asks for it.
    ///
    /// # Errors
    /// Those of the loop's `call_soon`.
    fn schedule(&self, event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let keywords = PyDict::new(py);
        keywords.set_item("context", &self.context)?;
        let arguments = (&self.callback, &self.task);
        event_loop
            .call_method(names::call_soon(py), arguments, Some(&keywords))
            .map(drop)
    }
}

impl Steps {
    #[inline]
    fn take<'py>(
        &self,
        callable: &Bound<'py, PyAny>,
        argument: Option<&Bound<'py, PyAny>>,
        can_go_on: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<bool>,
    ) -> PyResult<Taken<'py>> {
        let layout = self.layout;
        let (object, awaited) = match (layout.step(callable), argument) {
            (Some(Known::Step(task)), None) => (task, None),
            (Some(Known::Wakeup(task)), Some(future)) => match layout.future(future) {
                Some(future) if future.has_result() => (task, Some(future)),
                _ => return Ok(Taken::No),
            },
            _ => return Ok(Taken::No),
        };
        let Some(task) = layout.task(&object).filter(Task::is_plain) else {
            return Ok(Taken::No);
        };
        let (Some(event_loop), Some(coroutine)) = (task.event_loop(), task.coroutine()) else {
            return Ok(Taken::No);
        };
        if let (Some(awaited_by), Some(future), Some(awaited)) =
            (&self.awaited_by, argument, awaited)
            && !awaited.discard_awaited_by(&object)
        {
            call::with(awaited_by.discard.bind(object.py()), [future, &object])?;
        }
        self.current.enter(&event_loop, &object)?;
        // Dropping it may run anything.
        drop(task.take_waited_for());
        let result = self.advance(callable, argument, &object, &task, &coroutine, || {
            can_go_on(&event_loop)
        });
        let left = self.current.leave(&event_loop, &object);
        match (result, left) {
            (Ok(Advance::Done), Ok(())) => Ok(Taken::Done),
            (Ok(Advance::Again), Ok(())) => Ok(Taken::Again),
            (Ok(Advance::Then(next)), Ok(())) => Ok(Taken::Then(next)),
            (Ok(Advance::Then(next)), Err(error)) => match next.schedule(&event_loop) {
                Ok(()) => Err(error),
                Err(later) => Err(error::chained(object.py(), error, later)),
            },
            (Ok(Advance::Else(deed, value)), left) => {
                let done = self.done_over(callable, argument, &object, &task, deed, value);
                left.and(done).map(|()| Taken::Done)
            }
            (Ok(_), Err(error)) | (Err(error), Ok(())) => Err(error),
            (Err(error), Err(later)) => Err(error::chained(object.py(), error, later)),
        }
    }

    /// Has the coroutine go on, as the current task, and does what follows most.
    #[inline]
    fn advance<'py>(
        &self,
        callable: &Bound<'py, PyAny>,
        argument: Option<&Bound<'py, PyAny>>,
        object: &Bound<'py, PyAny>,
        task: &Task<'_, 'py>,
        coroutine: &Bound<'py, PyAny>,
        can_go_on: impl FnOnce() -> PyResult<bool>,
    ) -> PyResult<Advance<'py>> {
        match coroutine::step(coroutine, PyNone::get(object.py()).as_any()) {
            Ok(Step::Yielded(value)) => {
                if let Some(future) = self.layout.future(&value) {
                    let is_waiting = future.is_waited_for_by(task, || match argument {
                        // It is bound to the task and to nothing else, so it serves for any future.
                        Some(_) => Ok(callable.clone()),
                        None => self.layout.wakeup(object),
                    })?;
                    if is_waiting {
                        if let Some(awaited_by) = &self.awaited_by
                            && !future.add_awaited_by(object)
                        {
                            call::with(awaited_by.add.bind(object.py()), [&value, object])?;
                        }
                        return Ok(Advance::Done);
                    }
                } else if value.is_none() && argument.is_none() && can_go_on()? {
                    return Ok(Advance::Again);
                }
                Ok(Advance::Else(Deed::Yielded, value))
            }
            Ok(Step::Returned(value)) if task.must_cancel() => {
                Ok(Advance::Else(Deed::Returned, value))
            }
            Ok(Step::Returned(value)) => {
                // What goes wrong with that question goes wrong for the C code, too, which says so.
                let can_ask = can_go_on().unwrap_or(false);
                match task.end(&value, can_ask) {
                    Some(Ended::Alone) => return Ok(Advance::Done),
                    Some(Ended::Then { callback, context }) => {
                        let task = object.clone();
                        return Ok(Advance::Then(Next {
                            callback,
                            task,
                            context,
                        }));
                    }
                    None => {}
                }
                call::with(self.set_result.bind(object.py()), [object, &value])?;
                Ok(Advance::Done)
            }
            Err(error) => {
                let value = error.into_value(object.py()).into_bound(object.py());
                Ok(Advance::Else(Deed::Raised, value.into_any()))
            }
        }
    }

    /// Has the C code do what follows on that, by a step in which it finds another coroutine in the task that does it.
    #[cold]
    fn done_over<'py>(
        &self,
        callable: &Bound<'py, PyAny>,
        argument: Option<&Bound<'py, PyAny>>,
        object: &Bound<'py, PyAny>,
        task: &Task<'_, 'py>,
        deed: Deed,
        value: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = object.py();
        // A task that is to be cancelled would have an exception thrown into it before it does anything; it was asked to while it did.
        let must_cancel = task.must_cancel();
        let payload = Replay::new(deed, value, object, must_cancel);
        let replay = self.replays.make(py, payload)?;
        let Some(payload) = self.replays.payload(&replay) else {
            return Ok(());
        };
        task.set_must_cancel(false);
        payload.begin(&replay, task);
        let result = match argument {
            Some(argument) => call::with(callable, [argument]),
            None => call::with(callable, []),
        };
        payload.end(&replay, task);
        result.map(drop)
    }
}
