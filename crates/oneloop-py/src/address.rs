//! Internet addresses as Python's `socket` module shows them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::net::AddressFamily;

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
