//! `_core.Loop`: the calls on sockets of the user's.

use pyo3::prelude::*;

use super::Loop;
use crate::sock::{
    self, Accept, Attempt, Connect, Receive, ReceiveFrom, ReceiveFromInto, ReceiveInto, SendAll,
    SendTo, Writable,
};

#[pymethods]
impl Loop {
    /// Receive up to n bytes.
    fn sock_recv<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        n: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "sock_recv", sock, Receive { n })
    }

    /// Receive into a writable buffer; return the number of bytes.
    fn sock_recv_into<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        buf: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "sock_recv_into", sock, ReceiveInto { buffer: buf })
    }

    /// Receive a datagram of up to bufsize bytes; return it and its sender's address.
    fn sock_recvfrom<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        bufsize: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "sock_recvfrom", sock, ReceiveFrom { bufsize })
    }

    /// Receive a datagram into a writable buffer; return the number of bytes and the sender's address.
    #[pyo3(signature = (sock, buf, nbytes=None), text_signature = "($self, sock, buf, nbytes=0)")]
    fn sock_recvfrom_into<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        buf: Py<PyAny>,
        nbytes: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let attempt = ReceiveFromInto {
            buffer: buf,
            nbytes,
        };
        Self::sock_call(slf, "sock_recvfrom_into", sock, attempt)
    }

    /// Send all of data.
    fn sock_sendall<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        data: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "sock_sendall", sock, SendAll::new(data))
    }

    /// Send a datagram to address; return the number of bytes.
    fn sock_sendto<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        data: Py<PyAny>,
        address: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "sock_sendto", sock, SendTo { data, address })
    }

    /// Accept a connection; return a non-blocking socket and its peer's address.
    fn sock_accept<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "sock_accept", sock, Accept)
    }

    /// Connect to an address in which nothing is left to be resolved; family is the socket's, where that is known.
    #[pyo3(signature = (sock, address, family=None))]
    fn _sock_connect<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        address: Py<PyAny>,
        family: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let family = family.and_then(|family| family.extract().ok());
        Self::sock_call(slf, "sock_connect", sock, Connect::new(address, family))
    }

    /// Wait until a socket can be written to.
    fn _sock_writable<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::sock_call(slf, "_sock_writable", sock, Writable::default())
    }
}

impl Loop {
    fn sock_call<'py>(
        slf: &Bound<'py, Self>,
        name: &'static str,
        sock: Bound<'py, PyAny>,
        attempt: impl Attempt + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        let engine = slf.get().engine(slf.py());
        sock::call(slf.as_any(), engine, name, sock, attempt)
    }
}
