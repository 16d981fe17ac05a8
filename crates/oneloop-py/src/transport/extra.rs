//! What a transport tells of itself: `get_extra_info` and `repr`.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use oneloop::engine::stream::Machine;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::base::Transport;
use super::kind::Kind;
use super::name::Name;
use crate::names;
use crate::socket::Socket;

/// What asyncio tells of a socket, of one that is ours: it is put into the extra info only when somebody asks for it.
pub(super) struct Unasked {
    peer: Name,
    /// Known once the descriptor is closed; until then it can be asked.
    local: Option<Name>,
}

impl<K: Kind> Transport<K> {
    /// Puts what asyncio tells of a socket into the extra info, or remembers to do so.
    ///
    /// # Errors
    /// What the socket raises that is no `OSError`.
    pub(super) fn describe_socket(&self, py: Python<'_>, peer: Option<SocketAddr>) -> PyResult<()> {
        let Some(socket) = self.endpoint.users_object(py) else {
            let peer = match peer {
                Some(peer) => Name::Internet(peer),
                None => {
                    let peer = self.endpoint.with(py, |fd| Ok(Name::peer(fd)));
                    peer.unwrap_or(Name::Unknown)
                }
            };
            self.unasked.replace(Some(Unasked { peer, local: None }));
            return Ok(());
        };
        let extra = self.extra(py)?;
        let shown = names::transport_socket_class(py)?.call1((&socket,))?;
        extra.set_item(names::socket(py), shown)?;
        let name = match self.asked(&socket, Name::local) {
            Some(name) => Some(name.to_python(py)?),
            None => unless_os_error(&socket, names::getsockname(py))?,
        };
        extra.set_item(names::sockname(py), name)?;
        if !extra.contains(names::peername(py))? {
            let name = match self.asked(&socket, Name::peer) {
                Some(name) => Some(name.to_python(py)?),
                None => unless_os_error(&socket, names::getpeername(py))?,
            };
            extra.set_item(names::peername(py), name)?;
        }
        Ok(())
    }

    /// What the system says of a socket of the interpreter's own, if that is an internet address; for all else its method is called.
    fn asked(&self, socket: &Bound<'_, PyAny>, ask: fn(BorrowedFd<'_>) -> Name) -> Option<Name> {
        if !Socket::new(socket).is_original() {
            return None;
        }
        let name = self.endpoint.with(socket.py(), |fd| Ok(ask(fd))).ok()?;
        matches!(name, Name::Internet(_)).then_some(name)
    }

    /// Remembers what can be asked of an open descriptor only: it is about to be closed.
    pub(super) fn remember_name(&self, py: Python<'_>) {
        let mut unasked = self.unasked.borrow_mut();
        if let Some(unasked) = &mut *unasked
            && unasked.local.is_none()
        {
            let local = self.endpoint.with(py, |fd| Ok(Name::local(fd)));
            unasked.local = Some(local.unwrap_or(Name::Unknown));
        }
    }

    /// The dictionary of the extra info, without what nobody has asked for.
    pub(super) fn extra<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match self.extra.get(py) {
            Some(extra) => Ok(extra.cast_into::<PyDict>()?),
            None => {
                let extra = PyDict::new(py);
                drop(self.extra.replace(py, Some(extra.clone().into_any())));
                Ok(extra)
            }
        }
    }

    /// The whole dictionary of the extra info.
    ///
    /// # Errors
    /// What making a socket object raises.
    pub(super) fn whole_extra<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        for name in [names::socket(py), names::sockname(py), names::peername(py)] {
            self.extra_info(py, name, None)?;
        }
        Ok(match self.extra.get(py) {
            Some(extra) => extra,
            None => self.extra(py)?.into_any(),
        })
    }

    /// Follows `asyncio.BaseTransport.get_extra_info`.
    pub(super) fn extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let extra = self.extra(py)?;
        if let Some(value) = extra.get_item(name)? {
            return Ok(value);
        }
        if let Some(value) = self.unasked(py, name)? {
            extra.set_item(name, &value)?;
            return Ok(value);
        }
        Ok(match default {
            Some(default) => default.clone(),
            None => py.None().into_bound(py),
        })
    }

    /// What can be told of a socket of ours, the first time that somebody asks.
    fn unasked<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.unasked.borrow().is_none() {
            return Ok(None);
        }
        if name.eq(names::peername(py))? {
            return self.peer_name().to_python(py).map(Some);
        }
        if name.eq(names::sockname(py))? {
            self.remember_name(py);
            return self.local_name().to_python(py).map(Some);
        }
        if name.eq(names::socket(py))? {
            let socket = match self.endpoint.object(py)? {
                Some(socket) => socket,
                None => self.closed_socket(py)?,
            };
            let shown = names::transport_socket_class(py)?.call1((socket,))?;
            return Ok(Some(shown));
        }
        Ok(None)
    }

    fn peer_name(&self) -> Name {
        let unasked = self.unasked.borrow();
        unasked
            .as_ref()
            .map_or(Name::Unknown, |unasked| unasked.peer.clone())
    }

    fn local_name(&self) -> Name {
        let unasked = self.unasked.borrow();
        let local = unasked.as_ref().and_then(|unasked| unasked.local.clone());
        local.unwrap_or(Name::Unknown)
    }

    /// What a socket object whose descriptor was closed looks like, for a transport that never had one.
    fn closed_socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let family = self.peer_name().family().or(self.local_name().family());
        let socket = match family {
            Some(family) => names::socket_class(py)?.call1((family,))?,
            None => names::socket_class(py)?.call0()?,
        };
        socket.call_method0(names::close(py))?;
        Ok(socket)
    }

    /// What `repr` shows, as asyncio's.
    pub(super) fn describe<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let mut parts = vec![object.get_type().name()?.to_string()];
        if self.endpoint.is_closed(py) {
            parts.push("closed".to_owned());
        } else if self.machine(|machine| machine.is_closing()) {
            parts.push("closing".to_owned());
        }
        parts.push(format!("fd={}", self.endpoint.number()));
        parts.extend(K::describe(self, py));
        Ok(PyString::new(py, &format!("<{}>", parts.join(" "))).into_any())
    }

    /// What asyncio shows of a socket as long as its loop is open.
    pub(super) fn describe_directions(&self, py: Python<'_>) -> Vec<String> {
        if self.event_loop.get(py).is_none() || self.port.place(py).is_none() {
            return Vec::new();
        }
        let size = self.machine(|machine| machine.size());
        vec![
            format!("read={}", self.reader.state()),
            format!("write=<{}, bufsize={size}>", self.writer.state()),
        ]
    }
}

/// `socket.name()`, or None if the system does not tell.
fn unless_os_error<'py>(
    socket: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match socket.call_method0(name) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_instance_of::<PyOSError>(socket.py()) => Ok(None),
        Err(error) => Err(error),
    }
}
