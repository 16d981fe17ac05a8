//! `_core.Loop`: listening, for `python/oneloop/_server.py`.

use pyo3::prelude::*;

use super::Loop;
use crate::entry::Request;
use crate::server::{Listener, Serving};
use crate::transport::tls::Settings;

#[pymethods]
impl Loop {
    /// Accept connections on sock, which listens and does not block, until _stop_listening(); return what that takes.
    fn _listen<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol_factory: Bound<'py, PyAny>,
        server: Option<Bound<'py, PyAny>>,
        backlog: i64,
        context: Option<Bound<'py, PyAny>>,
        tls: Option<Bound<'py, Settings>>,
    ) -> PyResult<Bound<'py, Listener>> {
        let py = slf.py();
        let engine = slf.get().open_engine(py)?;
        let serving = Serving {
            sock,
            protocol_factory,
            server,
            backlog,
            context,
            tls,
        };
        let listener = Bound::new(py, Listener::new(serving, &slf.get().port)?)?;
        let request = Request::Listen(listener.clone().into_any().unbind());
        Self::request(py, engine, request)?;
        Ok(listener)
    }

    /// Accept no more connections.
    fn _stop_listening(slf: &Bound<'_, Self>, listener: &Bound<'_, Listener>) -> PyResult<()> {
        let py = slf.py();
        listener.get().stop();
        let engine = slf.get().engine(py);
        if engine.is_closed() {
            return Ok(());
        }
        let request = Request::StopListening(listener.clone().into_any().unbind());
        Self::request(py, engine, request).map(drop)
    }
}
