//! Internet addresses as Python's `socket` module shows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use rustix::net::{AddressFamily, ipproto};

use crate::names;

/// The tuple for an address: `(host, port)`, or `(host, port, flowinfo, scope_id)` for IPv6.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn to_python(py: Python<'_>, address: SocketAddr) -> PyResult<Bound<'_, PyAny>> {
    Ok(match address {
        SocketAddr::V4(address) => {
            let mut room = [0; LONGEST_IPV4];
            (ipv4(&mut room, *address.ip()), address.port())
                .into_pyobject(py)?
                .into_any()
        }
        SocketAddr::V6(address) => (
            ipv6(py, *address.ip())?,
            address.port(),
            // Rust keeps it as it is on the wire.
            u32::from_be(address.flowinfo()),
            address.scope_id(),
        )
            .into_pyobject(py)?
            .into_any(),
    })
}

/// `255.255.255.255`
const LONGEST_IPV4: usize = 15;

/// The text of an address, written by hand: a server of datagrams needs one for each of them, and formatting costs as much as receiving.
fn ipv4(room: &mut [u8; LONGEST_IPV4], address: Ipv4Addr) -> &str {
    let mut length = 0;
    let mut push = |byte: u8| {
        room[length] = byte;
        length += 1;
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    // Digits and points.
    str::from_utf8(&room[..length]).unwrap_or_default()
}

fn ipv6(py: Python<'_>, address: Ipv6Addr) -> PyResult<Bound<'_, PyAny>> {
    // The system writes the end of such an address as IPv4 where Rust does not (`::1.2.3.4`).
    if address.segments()[..6].iter().all(|part| *part == 0) {
        let packed = PyBytes::new(py, &address.octets());
        return names::inet_ntop(py)?.call1((AddressFamily::INET6.as_raw(), packed));
    }
    Ok(address.to_string().into_pyobject(py)?.into_any())
}

/// The address that an object of Python's stands for, if that is plain: a tuple with a literal of the socket's own family. Everything else is
/// the business of Python's own method, names and mistakes included.
pub(crate) fn from_python(address: &Bound<'_, PyAny>, family: AddressFamily) -> Option<SocketAddr> {
    let tuple = address.cast_exact::<PyTuple>().ok()?;
    let host = tuple.get_borrowed_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?;
    let host = host.to_str().ok()?;
    match family {
        AddressFamily::INET if tuple.len() == 2 => {
            let host: Ipv4Addr = host.parse().ok()?;
            Some((IpAddr::V4(host), number(tuple, 1)?).into())
        }
        AddressFamily::INET6 if (2..=4).contains(&tuple.len()) => {
            let host: Ipv6Addr = host.parse().ok()?;
            let scope = match tuple.len() {
                4 => number(tuple, 3)?,
                _ => 0,
            };
            let has_flow = tuple.len() > 2 && number::<u32>(tuple, 2)? != 0;
            let port = number(tuple, 1)?;
            (!has_flow).then(|| SocketAddrV6::new(host, port, 0, scope).into())
        }
        _ => None,
    }
}

fn number<N>(tuple: &Bound<'_, PyTuple>, index: usize) -> Option<N>
where
    N: for<'a, 'py> FromPyObject<'a, 'py>,
{
    let item = tuple.get_borrowed_item(index).ok()?;
    item.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// Return the family and the address to connect a stream to, if host and port are a plain literal and a number; None if Python has to look
/// closer at them.
#[pyfunction]
#[pyo3(name = "_literal")]
pub(crate) fn literal<'py>(
    host: &Bound<'py, PyAny>,
    port: &Bound<'py, PyAny>,
    family: &Bound<'py, PyAny>,
    proto: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(found) = plain(host, port, family, proto) else {
        return Ok(None);
    };
    let py = host.py();
    Ok(Some(
        match found {
            IpAddr::V4(_) => (AddressFamily::INET.as_raw(), (host, port)).into_pyobject(py)?,
            IpAddr::V6(_) => {
                let address = (host, port, 0, 0).into_pyobject(py)?;
                (AddressFamily::INET6.as_raw(), address).into_pyobject(py)?
            }
        }
        .into_any(),
    ))
}

fn plain(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    family: &Bound<'_, PyAny>,
    proto: &Bound<'_, PyAny>,
) -> Option<IpAddr> {
    let _: u16 = port.cast_exact::<PyInt>().ok()?.extract().ok()?;
    let proto: u32 = proto.cast::<PyInt>().ok()?.extract().ok()?;
    if proto != 0 && proto != ipproto::TCP.as_raw().get() {
        return None;
    }
    let found: IpAddr = host
        .cast_exact::<PyString>()
        .ok()?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let own = match found {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let family = AddressFamily::from_raw(family.cast::<PyInt>().ok()?.extract().ok()?);
    (family == AddressFamily::UNSPEC || family == own).then_some(found)
}
