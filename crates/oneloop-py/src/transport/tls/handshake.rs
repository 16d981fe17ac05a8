//! The beginning of a layer: the transport below is connected, the two sides agree on keys, the protocol above is told.

use oneloop::engine::tls::{Opened, PeerEnd, Session, Start};
use pyo3::exceptions::{PyConnectionAbortedError, PyConnectionResetError, PyException};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::cipher::Outcome;
use super::layer::Layer;
use crate::ffi::call;
use crate::names;
use crate::streams;

impl Layer {
    /// Follows `asyncio.BaseProtocol.connection_made`.
    pub(super) fn connection_made<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        below: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = object.py();
        match self.session(Session::connected) {
            Start::Nothing => return Ok(()),
            Start::Abort => {
                drop(self.below.replace(py, Some(below.clone())));
                return self.abort(py, None);
            }
            Start::Handshake => drop(self.below.replace(py, Some(below.clone()))),
        }
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        if self.is_debug(py)? {
            names::current_logger(py)?
                .call_method1(names::debug(py), ("%r starts SSL handshake", object))?;
            let now = call::method(names::time(py), [&event_loop])?;
            drop(self.began.replace(py, Some(now)));
        }
        let method = names::_check_handshake_timeout(py);
        self.handshake_timer.start(&event_loop, object, method)?;
        self.go_on_with_handshake(object)
    }

    /// Goes on with the handshake: bytes have come, or it has just begun.
    pub(super) fn go_on_with_handshake(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        match self.cipher.handshake(py) {
            Ok(Outcome::Done(())) => self.handshake_is_done(object),
            Ok(Outcome::Again) => self.send(object),
            Ok(Outcome::Busy) => self.postpone(object),
            Err(error) if error.is_instance(py, names::ssl_error(py)?) => {
                self.handshake_failed(object, &error)
            }
            Err(error) => Err(error),
        }
    }

    fn handshake_is_done(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if !self.session(|session| session.is_in_handshake()) {
            // A callback of the TLS object's has closed the connection.
            return Ok(());
        }
        self.handshake_timer.cancel(py)?;
        match self.learn(py) {
            Ok(()) => {}
            Err(error) if error.is_instance_of::<PyException>(py) => {
                return self.handshake_failed(object, &error);
            }
            Err(error) => return Err(error),
        }
        let opened = self.session(Session::opened);
        if opened == Opened::TooLate {
            return Ok(());
        }
        self.log_duration(object)?;
        if opened == Opened::Announce
            && let (Some(protocol), Some(surface)) = (self.protocol.get(py), self.surface.get(py))
        {
            streams::adopt(&protocol);
            call::method(names::connection_made(py), [&protocol, &surface])?;
        }
        self.wake(py, None)?;
        self.read(object)
    }

    /// Puts what the handshake has brought into the extra info.
    fn learn(&self, py: Python<'_>) -> PyResult<()> {
        let (Some(ssl_object), Some(extra)) = (self.cipher.object(py), self.extra.get(py)) else {
            return Ok(());
        };
        let extra = extra.cast::<PyDict>()?;
        for name in [
            (names::peercert(py), names::getpeercert(py)),
            (names::cipher(py), names::cipher(py)),
            (names::compression(py), names::compression(py)),
        ] {
            let (key, method) = name;
            extra.set_item(key, call::method(method, [&ssl_object])?)?;
        }
        extra.set_item(names::ssl_object(py), ssl_object)
    }

    #[cold]
    fn handshake_failed(&self, object: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
        let py = object.py();
        self.handshake_timer.cancel(py)?;
        let message = match error.is_instance(py, names::ssl_certificate_error(py)?) {
            true => "SSL handshake failed on verifying the certificate",
            false => "SSL handshake failed",
        };
        let told = self.fail(object, error, message);
        self.wake(py, Some(error.value(py).as_any()))?;
        told
    }

    fn log_duration(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let (Some(began), Some(event_loop)) = (self.began.take(py), self.event_loop.get(py)) else {
            return Ok(());
        };
        let seconds = call::method(names::time(py), [&event_loop])?.sub(began)?;
        let text = "%r: SSL handshake took %.1f ms";
        let arguments = (text, object, seconds.mul(1e3)?);
        names::current_logger(py)?.call_method1(names::debug(py), arguments)?;
        Ok(())
    }

    /// The time for the handshake is over.
    pub(super) fn check_handshake_timeout(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.session(|session| session.is_in_handshake()) {
            return Ok(());
        }
        let error = PyConnectionAbortedError::new_err(format!(
            "SSL handshake is taking longer than {} seconds: aborting the connection",
            self.handshake_timer.describe(object.py())?
        ));
        self.fail(object, &error, "Fatal error on transport")
    }

    /// Follows `asyncio.Protocol.eof_received`: whether the transport below is to stay open.
    pub(super) fn eof_received(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = object.py();
        self.loan.give_back(py);
        let result = self.end_input(object);
        if let Err(error) = &result
            && error.is_instance_of::<PyException>(py)
            && let Some(below) = self.below.get(py)
        {
            call::method(names::close(py), [&below])?;
        }
        result.map(|()| self.session(|session| session.is_held()))
    }

    fn end_input(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.is_debug(py)? {
            names::current_logger(py)?
                .call_method1(names::debug(py), ("%r received EOF", object))?;
        }
        match self.session(Session::peer_ended) {
            PeerEnd::FailHandshake => {
                let error = PyConnectionResetError::new_err(());
                self.handshake_failed(object, &error)
            }
            PeerEnd::Flush => self.flush(object),
            PeerEnd::ShutDown => self.shut_down(object),
            PeerEnd::Hold | PeerEnd::Nothing => Ok(()),
        }
    }
}
