//! `getaddrinfo` of a host in figures, for which `socket`'s own function spends most of its time on a codec and on enumerations.
//!
//! The C library answers, as it answers `socket`. Whatever is not plain (hosts and services of other types or lengths, flags of another
//! kind, and all that is wrong) is left to Python's own function, which has the last word about names and mistakes.

use std::ffi::{CStr, c_int};

use oneloop::engine::figures::{self, Found, Hints};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString};
use rustix::net::{AddressFamily, SocketType};

use crate::address;
use crate::ffi::audit;
use crate::names;

/// Return what socket.getaddrinfo() does, if the host is an address in figures and the rest is plain; None if Python has to look closer.
#[pyfunction]
#[pyo3(name = "_addresses_in_figures")]
pub(crate) fn answer<'py>(
    host: &Bound<'py, PyAny>,
    port: &Bound<'py, PyAny>,
    family: &Bound<'py, PyAny>,
    kind: &Bound<'py, PyAny>,
    proto: &Bound<'py, PyAny>,
    flags: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let mut rooms = [[0; ROOM]; 2];
    let numbers = [family, kind, proto, flags];
    let Some((text, service, hints)) = question(host, port, numbers, &mut rooms) else {
        return Ok(None);
    };
    audit::getaddrinfo(host, port, [hints.family, hints.kind, hints.protocol])?;
    match figures::addresses(text, service, hints) {
        Some(found) => to_python(host.py(), &found),
        None => Ok(None),
    }
}

/// For a host or a service. No label of a name may have as many characters, which Python sees to before it asks: so none here has.
const ROOM: usize = 64;

/// What is asked, if that is plain.
fn question<'a>(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    [family, kind, protocol, flags]: [&Bound<'_, PyAny>; 4],
    [host_room, service_room]: &'a mut [[u8; ROOM]; 2],
) -> Option<(&'a CStr, Option<&'a CStr>, Hints)> {
    let text = host_in_figures(host, host_room)?;
    let service = service_number(port, service_room)?;
    let hints = Hints {
        family: number(family)?,
        kind: number(kind)?,
        protocol: number(protocol)?,
        flags: number(flags)?,
    };
    Some((text, service, hints))
}

/// The host's text, if it may be an address: whether it is one the C library says.
fn host_in_figures<'a>(host: &Bound<'_, PyAny>, room: &'a mut [u8; ROOM]) -> Option<&'a CStr> {
    let text = match host.cast_exact::<PyString>() {
        Ok(host) => host.to_str().ok()?.as_bytes(),
        Err(_) => host.cast_exact::<PyBytes>().ok()?.as_bytes(),
    };
    let is_ipv4 = |text: &[u8]| {
        let of_a_number =
            |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X' | b'.');
        // Python refuses an empty label before it asks.
        text[0].is_ascii_digit() && text.iter().all(of_a_number) && !has_empty_label(text)
    };
    let is_ipv6 = |text: &[u8]| text.is_ascii() && text.contains(&b':') && !has_empty_label(text);
    let is_likely = !text.is_empty() && (is_ipv4(text) || is_ipv6(text));
    if !is_likely || text.len() >= ROOM {
        return None;
    }
    room[..text.len()].copy_from_slice(text);
    CStr::from_bytes_with_nul(&room[..=text.len()]).ok() // not with a NUL inside
}

fn has_empty_label(text: &[u8]) -> bool {
    text[0] == b'.' || text.windows(2).any(|pair| pair == b"..")
}

/// The service, if there is none (`Some(None)`) or it is a port's number.
fn service_number<'a>(
    port: &Bound<'_, PyAny>,
    room: &'a mut [u8; ROOM],
) -> Option<Option<&'a CStr>> {
    if port.is_none() {
        return Some(None);
    }
    let mut port: u16 = port.cast_exact::<PyInt>().ok()?.extract().ok()?;
    // From the end, before the NUL that is there.
    let mut start = ROOM - 1;
    loop {
        start -= 1;
        room[start] = b'0' + (port % 10) as u8;
        port /= 10;
        if port == 0 {
            return CStr::from_bytes_with_nul(&room[start..]).ok().map(Some);
        }
    }
}

fn number(object: &Bound<'_, PyAny>) -> Option<c_int> {
    object.cast::<PyInt>().ok()?.extract().ok()
}

fn to_python<'py>(py: Python<'py>, found: &[Found]) -> PyResult<Option<Bound<'py, PyList>>> {
    let answer = PyList::empty(py);
    let mut before: Option<(&Found, Bound<'py, PyAny>)> = None;
    for each in found {
        let (Some(family), Some(kind)) = (family(py, each.family)?, kind(py, each.kind)?) else {
            return Ok(None);
        };
        let canonical = match &each.canonical {
            None => "",
            Some(name) => match name.to_str() {
                Ok(name) => name,
                Err(_) => return Ok(None),
            },
        };
        // One address, for each kind of socket.
        let address = match before {
            Some((before, address)) if before.address == each.address => address,
            _ => address::to_python(py, each.address)?,
        };
        answer.append((family, kind, each.protocol, canonical, &address))?;
        before = Some((each, address));
    }
    Ok(Some(answer))
}

/// The enumeration's member, for the two families that there are.
fn family(py: Python<'_>, number: c_int) -> PyResult<Option<&Bound<'_, PyAny>>> {
    match u16::try_from(number).map(AddressFamily::from_raw) {
        Ok(AddressFamily::INET) => names::ipv4_family(py).map(Some),
        Ok(AddressFamily::INET6) => names::ipv6_family(py).map(Some),
        _ => Ok(None),
    }
}

/// The enumeration's member, for the kinds that the C library answers with.
fn kind(py: Python<'_>, number: c_int) -> PyResult<Option<&Bound<'_, PyAny>>> {
    match u32::try_from(number).map(SocketType::from_raw) {
        Ok(SocketType::STREAM) => names::stream_kind(py).map(Some),
        Ok(SocketType::DGRAM) => names::datagram_kind(py).map(Some),
        Ok(SocketType::RAW) => names::raw_kind(py).map(Some),
        _ => Ok(None),
    }
}
