//! `Surface`: the transport that the protocol above sees, asyncio's `_SSLProtocolTransport`.

use std::cell::Cell;

use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::layer::{self, Layer};
use super::surface_type;
use crate::ffi::call;
use crate::ffi::raw_type::{Halt, Payload, Visit};
use crate::ffi::slot::Slot;
use crate::names;

/// The payload: everything else is its layer's.
pub(super) struct Surface {
    pub(super) layer: Slot,
    pub(super) event_loop: Slot,
    closed: Cell<bool>,
    /// The user has closed what was closed already, and so has done with it.
    is_dismissed: Cell<bool>,
}

/// Notes that a transport is closed: nobody need be warned of it any more.
pub(super) fn mark_closed(surface: &Bound<'_, PyAny>) {
    if let Some(surface) = surface_type(surface.py()).payload(surface) {
        surface.closed.set(true);
    }
}

/// Whether the user has done with a transport.
pub(super) fn is_dismissed(surface: &Bound<'_, PyAny>) -> bool {
    let surface = surface_type(surface.py()).payload(surface);
    surface.is_some_and(|surface| surface.is_dismissed.get())
}

impl Surface {
    pub(super) fn over(layer: &Bound<'_, PyAny>, event_loop: &Bound<'_, PyAny>) -> Self {
        Self {
            layer: Slot::new(Some(layer.clone())),
            event_loop: Slot::new(Some(event_loop.clone())),
            closed: Cell::new(false),
            is_dismissed: Cell::new(false),
        }
    }

    /// Calls something of the layer's; `otherwise` if the collector has taken it away.
    pub(super) fn with_layer<'py, R>(
        &self,
        py: Python<'py>,
        otherwise: impl FnOnce() -> R,
        call: impl FnOnce(&Bound<'py, PyAny>, &Layer) -> PyResult<R>,
    ) -> PyResult<R> {
        let Some(object) = self.layer.get(py) else {
            return Ok(otherwise());
        };
        match layer::payload(&object) {
            Some(layer) => call(&object, layer),
            None => Ok(otherwise()),
        }
    }

    /// Follows `asyncio.BaseTransport.close`. Closing again lets go of what is only kept to be looked at, once the connection is lost: a
    /// protocol that keeps its transport need not keep the TLS context alive.
    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        let was_closed = self.closed.replace(true);
        self.is_dismissed.set(was_closed);
        self.with_layer(
            py,
            || (),
            |object, layer| match was_closed {
                false => layer.close(object),
                true => {
                    layer.forget_if_lost(py);
                    Ok(())
                }
            },
        )
    }

    /// Follows `asyncio.WriteTransport.abort`, and asyncio's `_force_close`.
    pub(super) fn abort<'py>(
        &self,
        py: Python<'py>,
        exception: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        self.closed.set(true);
        self.with_layer(py, || (), |_, layer| layer.abort(py, exception))
    }

    /// Follows `asyncio.BaseTransport.is_closing`.
    pub(super) fn is_closing(&self, py: Python<'_>) -> PyResult<bool> {
        if self.closed.get() {
            return Ok(true);
        }
        let of_layer = |_: &Bound<'_, PyAny>, layer: &Layer| match layer.below.get(py) {
            Some(below) => call::method(names::is_closing(py), [&below])?.is_truthy(),
            None => Ok(false),
        };
        self.with_layer(py, || true, of_layer)
    }

    /// Warns of a transport that nobody refers to any more: asyncio's `__del__`.
    pub(super) fn warn_of_abandoned(&self, object: &Bound<'_, PyAny>) {
        if self.closed.replace(true) {
            return;
        }
        let py = object.py();
        let warned = object.repr().and_then(|repr| {
            let keywords = PyDict::new(py);
            keywords.set_item(names::source(py), object)?;
            let text = format!("unclosed transport {repr}");
            let category = py.get_type::<PyResourceWarning>();
            names::warn(py)?.call((text, category), Some(&keywords))
        });
        // Under `-W error` the warning is an exception, which nobody above a finalizer can catch.
        if let Err(error) = warned {
            error.write_unraisable(py, Some(object));
        }
    }
}

impl Payload for Surface {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.layer.traverse(visit)?;
        self.event_loop.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.layer.take(py));
        drop(self.event_loop.take(py));
    }
}
