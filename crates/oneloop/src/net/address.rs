//! Addresses as the standard library has them, and as the system does.

#[cfg(target_os = "linux")]
use std::ffi::OsStr;
use std::io;
use std::net;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;
use std::path::Path;

use socket2::SockAddr;

/// The address of an internet socket.
pub(super) fn internet(address: &SockAddr) -> io::Result<net::SocketAddr> {
    // Another kind of socket can only have come in through the standard library's type, by its owner's hand.
    address
        .as_socket()
        .ok_or_else(|| invalid("this is no internet socket"))
}

/// The address of a Unix socket.
///
/// # Errors
///
/// What the standard library cannot express: the kernel lets a path have one byte more.
pub(super) fn unix(address: &SockAddr) -> io::Result<unix::SocketAddr> {
    if !address.is_unix() {
        return Err(invalid("this is no Unix socket"));
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_namespace() {
        return <unix::SocketAddr as SocketAddrExt>::from_abstract_name(name);
    }
    unix::SocketAddr::from_pathname(address.as_pathname().unwrap_or(Path::new("")))
}

/// A Unix address that has no name.
pub(super) fn unnamed() -> io::Result<unix::SocketAddr> {
    unix::SocketAddr::from_pathname("")
}

/// The Unix address of a path, or of an abstract name if it begins with a NUL.
pub(super) fn of_path(path: &Path) -> io::Result<SockAddr> {
    let is_cut = |bytes: &[u8]| !bytes.starts_with(b"\0") && bytes.contains(&0);
    if is_cut(path.as_os_str().as_bytes()) {
        return Err(invalid("the path has a NUL in it"));
    }
    SockAddr::unix(path)
}

/// A Unix address to connect to or to listen on.
pub(super) fn of_unix(address: &unix::SocketAddr) -> io::Result<SockAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        let name = [b"\0", name].concat();
        return of_path(Path::new(OsStr::from_bytes(&name)));
    }
    let path = address.as_pathname();
    of_path(path.ok_or_else(|| invalid("the address has no name"))?)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_addresses_survive_both_ways() -> io::Result<()> {
        let there_and_back = |path: &str| unix(&of_path(Path::new(path))?);
        let address = there_and_back("/some/path")?;
        assert_eq!(address.as_pathname(), Some(Path::new("/some/path")));
        assert_eq!(
            unix(&of_unix(&address)?)?.as_pathname(),
            address.as_pathname()
        );
        assert!(there_and_back("")?.is_unnamed() && unnamed()?.is_unnamed());
        assert!(of_unix(&unnamed()?).is_err());
        assert!(of_path(Path::new("a\0b")).is_err());
        assert!(of_path(Path::new(&"x".repeat(200))).is_err());
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names_may_have_any_byte() -> io::Result<()> {
        for name in [&b"name"[..], b"na\0me", b"\0", b"\xff", &[7; 107]] {
            let path = [b"\0", name].concat();
            let address = unix(&of_path(Path::new(OsStr::from_bytes(&path)))?)?;
            assert_eq!(address.as_abstract_name(), Some(name));
            let again = unix(&of_unix(&address)?)?;
            assert_eq!(again.as_abstract_name(), Some(name));
        }
        Ok(())
    }

    #[test]
    fn an_address_of_another_kind_is_an_error() -> io::Result<()> {
        let local: net::SocketAddr = ([127, 0, 0, 1], 80).into();
        assert_eq!(internet(&local.into())?, local);
        assert!(unix(&local.into()).is_err());
        assert!(internet(&of_path(Path::new("/x"))?).is_err());
        Ok(())
    }
}
