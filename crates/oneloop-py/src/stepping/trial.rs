//! Trying steps out before the first one is taken in earnest: each must leave task, future and loop as the C code leaves them, by what they
//! say of themselves.

use pyo3::exceptions::{PyLookupError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::current::CurrentTask;
use super::laboratory::Laboratory;
use super::replay;
use super::{AwaitedBy, LAYOUT, Steps, Taken};
use crate::ffi::c_task::{self, Laboratory as _};
use crate::ffi::raw_type::RawType;
use crate::ffi::slot::references;
use crate::ffi::{call, context};
use crate::names;

/// Learns how steps are taken, and tries them.
///
/// # Errors
/// Whatever is otherwise than expected.
pub(super) fn steps(py: Python<'_>) -> PyResult<Steps> {
    let laboratory = Laboratory::open(py)?;
    let event_loop = laboratory.event_loop();
    let module = py.import("_asyncio")?;
    let learned = c_task::learn(&laboratory)?;
    let layout = LAYOUT.get_or_init(py, || learned);
    let steps = Steps {
        layout,
        current: CurrentTask::find(event_loop, module.as_any())?,
        set_result: names::future_class(py)?
            .getattr(names::set_result(py))?
            .unbind(),
        awaited_by: AwaitedBy::find(&module)?,
        replays: RawType::build(&py.get_type::<PyAny>(), replay::definition())?,
    };
    let trial = Trial {
        steps: &steps,
        laboratory: &laboratory,
        py,
    };
    trial.giving_way()?;
    trial.ending()?;
    trial.waiting()?;
    trial.failing()?;
    trial.failing_for_a_future()?;
    trial.being_cancelled()?;
    trial.cancelling_itself()?;
    Ok(steps)
}

impl AwaitedBy {
    /// `None` where futures do not know who waits for them.
    fn find(module: &Bound<'_, PyModule>) -> PyResult<Option<Self>> {
        if !names::future_class(module.py())?.hasattr("_asyncio_awaited_by")? {
            return Ok(None);
        }
        Ok(Some(Self {
            add: module.getattr("future_add_to_awaited_by")?.unbind(),
            discard: module.getattr("future_discard_from_awaited_by")?.unbind(),
        }))
    }
}

struct Trial<'a, 'py> {
    steps: &'a Steps,
    laboratory: &'a Laboratory<'py>,
    py: Python<'py>,
}

/// What has become of a call, with everything scheduled that is to be.
#[derive(PartialEq, Eq)]
enum Became {
    Done,
    Again,
    Left,
}

type Call<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

impl<'py> Trial<'_, 'py> {
    fn giving_way(&self) -> PyResult<()> {
        let given = PyList::empty(self.py).into_any();
        let (task, _) = self.task("give_way", &[&given])?;
        let first = self.call()?;
        check(self.take(&first)? == Became::Again && !is(&task, "done")?)?;
        check(self.take(&first)? == Became::Done && result(&task)?.is(&given))?;
        // Where it may not, the C code is to ask for its next step.
        let (task, _) = self.task("give_way", &[&given])?;
        let first = self.call()?;
        let taken = self.steps.take(&first.0, None, |_| Ok(false))?;
        check(matches!(taken, Taken::Done) && !is(&task, "done")?)?;
        let second = self.call()?;
        check(self.take(&second)? == Became::Done && result(&task)?.is(&given))
    }

    /// With nobody to be told, with one, and with more than one.
    fn ending(&self) -> PyResult<()> {
        for told in 0..3 {
            let given = PyList::empty(self.py).into_any();
            let (task, _) = self.task("give_back", &[&given])?;
            let step = self.call()?;
            let context = context::copy_current(self.py)?;
            let keywords = PyDict::new(self.py);
            keywords.set_item("context", &context)?;
            for _ in 0..told {
                task.call_method("add_done_callback", (&given,), Some(&keywords))?;
            }
            let held = [references(&task), references(&given), references(&context)];
            check(self.take(&step)? == Became::Done && result(&task)?.is(&given))?;
            check(task.getattr("_callbacks")?.is_none())?;
            match (told, self.laboratory.call()) {
                (0, None) => {}
                (1 | 2, Some((callback, Some(argument)))) => {
                    check(callback.is(&given) && argument.is(&task))?;
                }
                _ => return Err(unlike()),
            }
            drop(keywords);
            // The result is what was held as a callback before, or one more; the coroutine's own is gone with its frame.
            let now = [references(&task), references(&given), references(&context)];
            check(now[0] == held[0] && now[1] == held[1] - told && now[2] == held[2] - told - 1)?;
        }
        Ok(())
    }

    fn waiting(&self) -> PyResult<()> {
        let (first, second) = (self.future()?, self.future()?);
        let (task, own) = self.task("wait_twice", &[&first, &second])?;
        let step = self.call()?;
        let counts = [references(&task), references(&first), references(&own)];
        check(self.take(&step)? == Became::Done)?;
        check(self.is_waiting(&task, &first, &own)?)?;
        // Its wake-up holds the task, and so does a future that knows who awaits it; and it holds the context.
        let held = [references(&task), references(&first), references(&own)];
        let awaited_by = isize::from(self.steps.awaited_by.is_some());
        check(held[0] == counts[0] + 1 + awaited_by && held[2] == counts[2] + 1)?;
        first.call_method1("set_result", (1,))?;
        let wakeup = self.call()?;
        check(wakeup.1.as_ref().is_some_and(|future| future.is(&first)))?;
        check(self.take(&wakeup)? == Became::Done)?;
        drop(wakeup);
        check(self.is_waiting(&task, &second, &own)?)?;
        second.call_method1("set_result", (2,))?;
        let wakeup = self.call()?;
        check(self.take(&wakeup)? == Became::Done)?;
        drop(wakeup);
        check(result(&task)?.eq((1, 2))? && task.getattr("_fut_waiter")?.is_none())?;
        check(references(&task) == counts[0] && references(&own) == counts[2])
    }

    /// Whether all says that the task waits for that future.
    fn is_waiting(
        &self,
        task: &Bound<'py, PyAny>,
        future: &Bound<'py, PyAny>,
        own: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        let callbacks = future.getattr("_callbacks")?.cast_into::<PyList>()?;
        let callback = callbacks.get_item(0)?;
        let is_blocking = future.getattr(names::_asyncio_future_blocking(self.py))?;
        Ok(callbacks.len() == 1
            && callback.get_item(0)?.getattr("__self__")?.is(task)
            && callback.get_item(1)?.is(own)
            && !is_blocking.is_truthy()?
            && task.getattr("_fut_waiter")?.is(future)
            && !is(task, "done")?)
    }

    fn failing(&self) -> PyResult<()> {
        let error = self.py.get_type::<PyLookupError>().call0()?;
        let (task, _) = self.task("fail", &[&error])?;
        let step = self.call()?;
        check(self.take(&step)? == Became::Done)?;
        check(task.call_method0("exception")?.is(&error))
    }

    fn failing_for_a_future(&self) -> PyResult<()> {
        let future = self.future()?;
        let (task, _) = self.task("wait", &[&future])?;
        let step = self.call()?;
        check(self.take(&step)? == Became::Done)?;
        let error = self.py.get_type::<PyLookupError>().call0()?;
        future.call_method1("set_exception", (&error,))?;
        self.leave_to_c()?;
        check(task.call_method0("exception")?.is(&error))
    }

    fn being_cancelled(&self) -> PyResult<()> {
        let future = self.future()?;
        let (task, _) = self.task("wait", &[&future])?;
        let step = self.call()?;
        check(self.take(&step)? == Became::Done)?;
        check(task.call_method1("cancel", ("why",))?.is_truthy()?)?;
        check(is(&future, "cancelled")?)?;
        self.leave_to_c()?;
        check(is(&task, "cancelled")?)
    }

    fn cancelling_itself(&self) -> PyResult<()> {
        let (future, tasks) = (self.future()?, PyList::empty(self.py));
        let (task, _) = self.task("cancel_and_wait", &[&tasks, &future])?;
        tasks.append(&task)?;
        let step = self.call()?;
        check(self.take(&step)? == Became::Done)?;
        check(is(&future, "cancelled")? && !task.getattr("_must_cancel")?.is_truthy()?)?;
        self.leave_to_c()?;
        check(is(&task, "cancelled")?)?;
        let tasks = PyList::empty(self.py);
        let (task, _) = self.task("cancel_and_return", &[&tasks, &future])?;
        tasks.append(&task)?;
        let step = self.call()?;
        check(self.take(&step)? == Became::Done)?;
        check(is(&task, "cancelled")? && !task.getattr("_must_cancel")?.is_truthy()?)
    }

    /// A task of that coroutine, and its context.
    fn task(
        &self,
        function: &str,
        args: &[&Bound<'py, PyAny>],
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let own = context::copy_current(self.py)?;
        let args = PyTuple::new(self.py, args)?;
        let coroutine = self.laboratory.coroutine(function, &args)?;
        let keywords = PyDict::new(self.py);
        keywords.set_item("loop", self.laboratory.event_loop())?;
        keywords.set_item("context", &own)?;
        // A name of its own: the program's first task is to be the first that asyncio counts.
        keywords.set_item("name", "trial")?;
        let class = names::task_class(self.py)?;
        let args = PyTuple::new(self.py, [coroutine])?;
        let task = call::with_keywords(class, &args, Some(&keywords))?;
        // Should the trial fail, nothing is to be said of a task that nobody knows.
        task.setattr(names::_log_destroy_pending(self.py), false)?;
        Ok((task, own))
    }

    fn future(&self) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = self.laboratory.event_loop();
        let class = names::future_class(self.py)?;
        call::with_names(class, [event_loop], names::loop_keyword(self.py)?)
    }

    /// What was scheduled.
    fn call(&self) -> PyResult<Call<'py>> {
        self.laboratory.call().ok_or_else(unlike)
    }

    fn take(&self, call: &Call<'py>) -> PyResult<Became> {
        let (callable, argument) = call;
        Ok(
            match self.steps.take(callable, argument.as_ref(), |_| Ok(true))? {
                Taken::Done => Became::Done,
                Taken::Again => Became::Again,
                Taken::No => Became::Left,
                Taken::Then(next) => {
                    next.schedule(self.laboratory.event_loop())?;
                    Became::Done
                }
            },
        )
    }

    /// What was scheduled is none of ours, and is called as it is.
    fn leave_to_c(&self) -> PyResult<()> {
        let call = self.call()?;
        check(self.take(&call)? == Became::Left)?;
        match call {
            (callable, Some(argument)) => callable.call1((argument,)),
            (callable, None) => callable.call0(),
        }
        .map(drop)
    }
}

fn is(object: &Bound<'_, PyAny>, question: &str) -> PyResult<bool> {
    object.call_method0(question)?.is_truthy()
}

fn result<'py>(task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    task.call_method0(names::result(task.py()))
}

fn check(is_as_expected: bool) -> PyResult<()> {
    match is_as_expected {
        true => Ok(()),
        false => Err(unlike()),
    }
}

#[cold]
fn unlike() -> PyErr {
    PyTypeError::new_err("a task is not what it was when this was written")
}
