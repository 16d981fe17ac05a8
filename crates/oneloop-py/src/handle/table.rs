//! The methods and attributes that every kind of handle has.
//!
//! The attributes have the names of asyncio's slots, which its inherited code reads. Those that asyncio's own
//! `cancel` assigns, and that tests and debuggers do, can be assigned.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use super::Kind;
use super::plain::{Notes, none};
use crate::ffi::method::{self, Attribute, Method};
use crate::ffi::slot::Slot;

pub(super) fn methods<P: Kind>() -> Vec<Method<P>> {
    let mut methods = vec![
        method::noargs(
            c"cancel",
            c"cancel($self, /)\n--\n\nCancel the callback; nothing happens if it ran or was cancelled already.",
            |object, payload: &P| payload.cancel(object).map(|()| none(object.py())),
        ),
        method::noargs(
            c"cancelled",
            c"cancelled($self, /)\n--\n\nReturn True if the callback was cancelled.",
            |object, payload: &P| Ok(truth(object.py(), payload.cancelled(object.py())?)),
        ),
        method::noargs(
            c"_run",
            c"_run($self, /)\n--\n\nRun the callback in its context and report its exceptions to the loop.",
            |object, payload: &P| payload.run(object).map(|()| none(object.py())),
        ),
    ];
    if cfg!(Py_3_12) {
        methods.push(method::noargs(
            c"get_context",
            c"get_context($self, /)\n--\n\nReturn the contextvars.Context that the callback runs in.",
            |object, payload: &P| shown(object.py(), &payload.plain().context),
        ));
    }
    methods
}

pub(super) fn attributes<P: Kind>() -> Vec<Attribute<P>> {
    vec![
        method::property(
            c"_callback",
            |py, payload: &P| shown(py, &payload.plain().callback),
            |payload: &P, value| assign(&payload.plain().callback, value),
        ),
        method::property(
            c"_args",
            |py, payload: &P| {
                let args = payload.plain().args.tuple(py)?;
                Ok(args.unwrap_or_else(|| none(py)))
            },
            |payload: &P, value| {
                let py = value.py();
                let value = match value.is_none() {
                    true => None,
                    false => Some(value.cast_into::<PyTuple>()?.into_any()),
                };
                payload.plain().args.set(py, value);
                Ok(())
            },
        ),
        method::property(
            c"_cancelled",
            |py, payload: &P| Ok(truth(py, payload.plain().cancelled.get())),
            |payload: &P, value| {
                payload.plain().cancelled.set(value.is_truthy()?);
                Ok(())
            },
        ),
        method::property(
            c"_repr",
            |py, payload: &P| noted(py, payload, |notes| &notes.repr),
            |payload: &P, value| note(payload, value, |notes| &notes.repr),
        ),
        method::property(
            c"_source_traceback",
            |py, payload: &P| noted(py, payload, |notes| &notes.source_traceback),
            |payload: &P, value| note(payload, value, |notes| &notes.source_traceback),
        ),
        method::getter(c"_context", |py, payload: &P| {
            shown(py, &payload.plain().context)
        }),
        method::getter(c"_loop", |py, payload: &P| {
            shown(py, &payload.plain().event_loop)
        }),
    ]
}

pub(super) fn shown<'py>(py: Python<'py>, slot: &Slot) -> PyResult<Bound<'py, PyAny>> {
    Ok(slot.get(py).unwrap_or_else(|| none(py)))
}

fn noted<'py, P: Kind>(
    py: Python<'py>,
    payload: &P,
    slot: impl FnOnce(&Notes) -> &Slot,
) -> PyResult<Bound<'py, PyAny>> {
    match payload.plain().notes() {
        Some(notes) => shown(py, slot(notes)),
        None => Ok(none(py)),
    }
}

fn note<P: Kind>(
    payload: &P,
    value: Bound<'_, PyAny>,
    slot: impl FnOnce(&Notes) -> &Slot,
) -> PyResult<()> {
    assign(slot(payload.plain().own_notes()), value)
}

fn assign(slot: &Slot, value: Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    drop(slot.replace(py, Some(value).filter(|value| !value.is_none())));
    Ok(())
}

pub(super) fn truth(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}
