//! The end of a layer: closing with the exchange of `close_notify`, aborting, and the loss of the transport below.

use oneloop::engine::tls::{Close, News, Session};
use pyo3::exceptions::{PyConnectionAbortedError, PyTimeoutError};
use pyo3::prelude::*;

use super::cipher::Outcome;
use super::failing::BROKEN;
use super::layer::Layer;
use super::surface;
use crate::ffi::call;
use crate::names;

impl Layer {
    /// Closes politely: the user asks for it, or the peer has.
    pub(super) fn close(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let close = self.session(Session::close);
        if close != Close::Nothing
            && let Some(surface) = self.surface.get(py)
        {
            surface::mark_closed(&surface);
        }
        match close {
            Close::Nothing => Ok(()),
            Close::Abort => self.abort(py, None),
            Close::ShutDown => self.flush(object),
            Close::Flush => {
                self.limit_shutdown(object)?;
                self.flush(object)
            }
        }
    }

    /// Hands over what was received, encrypts what was written, and begins to shut down.
    pub(super) fn flush(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.read(object)?;
        match self.encrypt(object) {
            Ok(true) => {}
            // Somebody is in the middle of a call: on with it later.
            Ok(false) => return Ok(()),
            Err(error) => return self.blame(object, Err(error), BROKEN),
        }
        match self.session(Session::flushed) {
            true => self.shut_down(object),
            false => Ok(()),
        }
    }

    /// Goes on with the exchange of `close_notify`, and closes the transport below when it is done.
    pub(super) fn shut_down(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if !self.session(|session| session.has_peer_ended()) {
            match self.cipher.unwrap(py) {
                Ok(Outcome::Done(())) => {}
                Ok(Outcome::Again) => return self.send(object),
                Ok(Outcome::Busy) => return self.postpone(object),
                Err(error) if error.is_instance(py, names::ssl_error(py)?) => {
                    self.shutdown_timer.cancel(py)?;
                    return self.fail(object, &error, "Fatal error on transport");
                }
                Err(error) => return Err(error),
            }
        }
        if !self.session(Session::shut_down) {
            return Ok(());
        }
        self.send(object)?;
        self.tell_end_of_input(object)?;
        self.close_below(object)
    }

    /// Closes the transport below by an entry of its own. It sends first what it has, and a peer that does not read could delay that for
    /// ever: so the limit of time goes on until the connection is lost.
    fn close_below(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if !self.session(|session| session.is_shutting_down()) {
            return Ok(());
        }
        self.limit_shutdown(object)?;
        match self.below.get(py) {
            Some(below) => self.call_soon(py, &below.getattr(names::close(py))?, None),
            None => Ok(()),
        }
    }

    fn limit_shutdown(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        match self.event_loop.get(py) {
            Some(event_loop) => {
                let method = names::_check_shutdown_timeout(py);
                self.shutdown_timer.start(&event_loop, object, method)
            }
            None => Ok(()),
        }
    }

    /// The time for closing is over.
    pub(super) fn check_shutdown_timeout(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if !self.session(|session| session.is_shutting_down()) {
            return Ok(());
        }
        let error = PyTimeoutError::new_err("SSL shutdown timed out");
        self.abort(py, Some(error.value(py).as_any()))
    }

    /// Ends the connection at once, for an error or since the user wants it so.
    pub(super) fn abort<'py>(
        &self,
        py: Python<'py>,
        exception: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        self.session(Session::end);
        let Some(below) = self.below.get(py) else {
            return Ok(());
        };
        match exception {
            Some(exception) => call::method(names::_force_close(py), [&below, exception]),
            None => call::method(names::abort(py), [&below]),
        }
        .map(drop)
    }

    /// Follows `asyncio.BaseProtocol.connection_lost`: the protocol above is told by an entry of its own, if it knew of the connection.
    pub(super) fn connection_lost<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        exception: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = object.py();
        let news = self.session(Session::lost);
        self.drop_backlog(py);
        self.loan.give_back(py);
        if let Some(surface) = self.surface.take(py) {
            surface::mark_closed(&surface);
            if surface::is_dismissed(&surface) {
                drop(self.extra.take(py));
            }
        }
        let told = match (news, self.protocol.take(py)) {
            (News::Due, Some(protocol)) => protocol
                .getattr(names::connection_lost(py))
                .and_then(|method| self.call_soon(py, &method, Some(exception))),
            _ => Ok(()),
        };
        drop(self.below.take(py));
        self.cipher.release(py);
        let woken = match exception.is_none() {
            // Closed by somebody who has the transport below: there is no connection to give to who waits for it.
            true if self.is_awaited(py) => {
                let error = PyConnectionAbortedError::new_err(
                    "the connection was closed before the SSL handshake was complete",
                );
                self.wake(py, Some(error.value(py).as_any()))
            }
            true => self.wake(py, None),
            false => self.wake(py, Some(exception)),
        };
        // Every step is taken, whatever one of them raises.
        let cancelled = self.handshake_timer.cancel(py);
        told.and(woken)
            .and(cancelled)
            .and(self.shutdown_timer.cancel(py))
    }

    /// Lets go of what is kept to be looked at, if the connection is lost.
    pub(super) fn forget_if_lost(&self, py: Python<'_>) {
        if self.surface.get(py).is_none() {
            drop(self.extra.take(py));
        }
    }
}
