//! What a host in figures stands for, as the C library says: it knows every way of writing one, and which zones there are.
//!
//! It is told that the host is no name (`AI_NUMERICHOST`) and asks nobody, so this does not wait.

use std::ffi::{CStr, CString};
use std::net::SocketAddr;
use std::ptr::{null, null_mut};

use socket2::SockAddr;

/// What is asked besides host and service: the fields of `getaddrinfo`'s hints, zero where they do not matter.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hints {
    /// The address family.
    pub family: i32,
    /// The kind of socket.
    pub kind: i32,
    /// The protocol.
    pub protocol: i32,
    /// `AI_*`, to which `AI_NUMERICHOST` is added. Others than `AI_PASSIVE` and `AI_CANONNAME` may have the system look at its interfaces
    /// or its configuration, and are not answered here.
    pub flags: i32,
}

/// One of the answers: what a socket is to be, and what it is to be connected to.
#[derive(PartialEq, Eq, Debug)]
pub struct Found {
    /// The address family.
    pub family: i32,
    /// The kind of socket.
    pub kind: i32,
    /// The protocol.
    pub protocol: i32,
    /// The host's canonical name, if that was asked for. The C library gives it with the first answer.
    pub canonical: Option<CString>,
    /// The address.
    pub address: SocketAddr,
}

const PLAIN_FLAGS: i32 = libc::AI_PASSIVE | libc::AI_CANONNAME | libc::AI_NUMERICHOST;

/// The addresses of a host in figures; `None` if it is something else, or if anything is wrong with the question.
pub fn addresses(host: &CStr, service: Option<&CStr>, hints: Hints) -> Option<Vec<Found>> {
    if hints.flags & !PLAIN_FLAGS != 0 {
        return None;
    }
    // SAFETY: a structure of integers and pointers, for which zeros mean that nothing is asked.
    let mut asked: libc::addrinfo = unsafe { std::mem::zeroed() };
    asked.ai_family = hints.family;
    asked.ai_socktype = hints.kind;
    asked.ai_protocol = hints.protocol;
    asked.ai_flags = hints.flags | libc::AI_NUMERICHOST;
    let mut list = List(null_mut());
    let service = service.map_or(null(), CStr::as_ptr);
    // SAFETY: texts that end with a NUL and hints, which live through the call; the list is written if the call succeeds.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), service, &raw const asked, &mut list.0) };
    if code != 0 {
        return None;
    }
    let mut found = Vec::with_capacity(3); // streams, datagrams and raw sockets
    let mut next: *const libc::addrinfo = list.0;
    // SAFETY: the C library's list, whose end is NULL and which lives as long as `list`.
    while let Some(entry) = unsafe { next.as_ref() } {
        found.push(Found {
            family: entry.ai_family,
            kind: entry.ai_socktype,
            protocol: entry.ai_protocol,
            canonical: canonical(entry),
            address: address(entry)?,
        });
        next = entry.ai_next;
    }
    Some(found)
}

fn canonical(entry: &libc::addrinfo) -> Option<CString> {
    let name = entry.ai_canonname;
    // SAFETY: NULL or a text that ends with a NUL, and that the entry's list owns.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_owned())
}

fn address(entry: &libc::addrinfo) -> Option<SocketAddr> {
    let length = entry.ai_addrlen as usize;
    // SAFETY: as many bytes as the entry says are its address, and there is room for them, which is looked at first.
    let copied = unsafe {
        SockAddr::try_init(|storage, room| {
            if entry.ai_addr.is_null() || length > *room as usize {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            std::ptr::copy_nonoverlapping(entry.ai_addr.cast::<u8>(), storage.cast(), length);
            *room = entry.ai_addrlen;
            Ok(())
        })
    };
    copied.ok()?.1.as_socket()
}

/// A list of the C library's, or NULL.
struct List(*mut libc::addrinfo);

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `getaddrinfo` made it, and nobody refers to it any more.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(host: &CStr, service: Option<&CStr>, hints: Hints) -> Option<Vec<String>> {
        let found = addresses(host, service, hints)?;
        Some(found.iter().map(|it| it.address.to_string()).collect())
    }

    #[test]
    fn a_host_in_figures_has_an_address_and_a_name_has_none() {
        let hints = Hints {
            kind: libc::SOCK_STREAM,
            ..Hints::default()
        };
        let of = |host| texts(host, Some(c"80"), hints);
        assert_eq!(of(c"127.0.0.1"), Some(vec!["127.0.0.1:80".to_owned()]));
        assert_eq!(of(c"127.1"), Some(vec!["127.0.0.1:80".to_owned()]));
        assert_eq!(of(c"::1"), Some(vec!["[::1]:80".to_owned()]));
        assert_eq!(of(c"fe80::1%1"), Some(vec!["[fe80::1%1]:80".to_owned()]));
        for name in [c"localhost", c"", c"1.2.3.4.5", c"fe80::1%no-such-zone"] {
            assert_eq!(of(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_asked_is_heeded() {
        let ask = |hints| addresses(c"127.0.0.1", None, hints);
        let all = ask(Hints::default()).unwrap_or_default();
        assert!(all.len() > 1, "a kind of socket each: {all:?}");
        let other = Hints {
            family: libc::AF_INET6,
            ..Hints::default()
        };
        assert_eq!(ask(other), None);
        let named = Hints {
            kind: libc::SOCK_DGRAM,
            flags: libc::AI_CANONNAME,
            ..Hints::default()
        };
        let named = ask(named).unwrap_or_default();
        assert_eq!(named.len(), 1);
        assert_eq!(named[0].canonical.as_deref(), Some(c"127.0.0.1"));
        let of_the_interfaces = Hints {
            flags: libc::AI_ADDRCONFIG,
            ..Hints::default()
        };
        assert_eq!(ask(of_the_interfaces), None);
    }
}
