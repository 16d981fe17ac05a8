//! The end of a transport: closing, aborting, being forgotten.
//!
//! The protocol is told once, by an entry of its own (or by the write that sent the last bytes of a closed transport); then the descriptor
//! is closed by its owner, then the server is told.

use oneloop::engine::stream::{Actions, Farewell, Machine};
use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::base::Transport;
use super::kind::Kind;
use super::protocol;
use crate::clients;
use crate::entry::Step;
use crate::ffi::context::Entered;
use crate::names;

impl<K: Kind> Transport<K> {
    /// Follows `asyncio.BaseTransport.close`: what waits is still sent.
    pub(super) fn close(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_thread(object.py())?;
        let actions = self.machine(Machine::close);
        self.perform(object, actions)
    }

    /// Follows `asyncio.WriteTransport.abort`, and asyncio's `_force_close`: what waits is dropped.
    pub(super) fn abort<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        exception: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        self.check_thread(object.py())?;
        let (actions, dropped) = self.machine(Machine::abort);
        K::let_go(object.py(), dropped);
        if actions.contains(Actions::LOSE_SOON) {
            drop(self.lost_by.replace(object.py(), exception));
        }
        self.perform(object, actions)
    }

    /// Has the protocol told of the end by an entry of its own.
    pub(super) fn lose_soon(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        drop(self.lost_in.replace(py, Some(self.context(py)?)));
        self.push(object, Step::Lose)
    }

    /// Runs that entry.
    pub(super) fn lose_in_context(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.lost_in.take(object.py()) {
            Some(context) => {
                let _entered = Entered::new(&context)?;
                self.lose_now(object)
            }
            None => self.lose_now(object),
        }
    }

    /// Tells the protocol of the end, closes the descriptor, tells the server.
    pub(super) fn lose_now(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        match self.machine(Machine::farewell) {
            Farewell::Due => {}
            Farewell::Done => return Ok(()),
        }
        let exception = match self.lost_by.take(py) {
            Some(exception) => exception,
            None => py.None().into_bound(py),
        };
        let told = match self.protocol.get(py) {
            Some(protocol) => protocol::connection_lost(&protocol, &exception),
            None => Ok(()),
        };
        // Every step is taken, whatever one of them raises.
        let closed = self.close_descriptor(object);
        drop(self.protocol.take(py));
        drop(self.event_loop.take(py));
        let detached = self.detach(object);
        told.and(closed).and(detached)
    }

    /// Closes the descriptor, which is watched no more.
    fn close_descriptor(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let fd = self.endpoint.number();
        self.reader.stop(object, &*self.port, fd);
        self.writer.stop(object, &*self.port, fd);
        self.port.release(fd, object);
        self.port.note_io(py);
        self.remember_name(py);
        let ended = K::ending(self, py);
        self.endpoint.close(py).and(ended)
    }

    /// Closes a transport that nobody refers to any more, and says so: asyncio's `__del__`.
    pub(super) fn close_abandoned(&self, object: &Bound<'_, PyAny>) {
        let py = object.py();
        if self.endpoint.is_closed(py) {
            return;
        }
        let warned = object.repr().and_then(|repr| {
            let keywords = PyDict::new(py);
            keywords.set_item(names::source(py), object)?;
            let text = format!("unclosed transport {repr}");
            let category = py.get_type::<PyResourceWarning>();
            names::warn(py)?.call((text, category), Some(&keywords))
        });
        // Under `-W error` the warning is an exception, which nobody above a finalizer can catch.
        let closed = self.close_descriptor(object);
        let detached = self.detach(object);
        for error in [warned.map(drop), closed, detached]
            .into_iter()
            .filter_map(Result::err)
        {
            error.write_unraisable(py, Some(object));
        }
    }

    /// In debug mode, refuses to change on another thread what asyncio would schedule with `call_soon`.
    fn check_thread(&self, py: Python<'_>) -> PyResult<()> {
        match self.port.is_debug(py) {
            true => self.port.check_thread(py),
            false => Ok(()),
        }
    }

    /// Tells the server, if there is one, that the connection has ended.
    pub(super) fn detach(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        match self.server.take(py) {
            Some(server) => clients::detach(&server, object),
            None => Ok(()),
        }
    }
}
