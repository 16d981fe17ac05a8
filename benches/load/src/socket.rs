//! Sockets that do not block: made, bound, connected, read and written.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    self, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};

/// Where a server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Udp(SocketAddr),
}

/// A descriptor of a socket that does not block.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Begins to connect. That it has connected shows when it can be written to; a datagram socket is at once.
    pub(crate) fn connect(place: &Place) -> io::Result<Self> {
        let (socket, address) = Self::make(place)?;
        match net::connect(&socket.0, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            // A Unix socket whose server has not yet accepted enough: there is no such thing as on the way.
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn listen(place: &Place) -> io::Result<Self> {
        let (socket, address) = Self::make(place)?;
        if let Place::Tcp(_) = place {
            sockopt::set_socket_reuseaddr(&socket.0, true)?;
            // Linux hands it on to what is accepted.
            sockopt::set_tcp_nodelay(&socket.0, true)?;
        }
        net::bind(&socket.0, &address)?;
        if !matches!(place, Place::Udp(_)) {
            net::listen(&socket.0, 4096)?;
        }
        Ok(socket)
    }

    fn make(place: &Place) -> io::Result<(Self, SocketAddrAny)> {
        let (address, kind): (SocketAddrAny, _) = match place {
            Place::Tcp(address) => ((*address).into(), SocketType::STREAM),
            Place::Udp(address) => ((*address).into(), SocketType::DGRAM),
            Place::Unix(path) => (SocketAddrUnix::new(path)?.into(), SocketType::STREAM),
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(address.address_family(), kind, flags, None)?;
        if matches!(place, Place::Tcp(_)) {
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
        Ok((Self(socket), address))
    }

    pub(crate) fn accept(&self) -> io::Result<Self> {
        Ok(Self(net::accept_with(
            &self.0,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        )?))
    }

    /// The address it is bound to, as `HOST:PORT`; the place's own name for one that has no port.
    pub(crate) fn name(&self, place: &Place) -> io::Result<String> {
        if let Place::Unix(path) = place {
            return Ok(path.display().to_string());
        }
        let address = SocketAddr::try_from(net::getsockname(&self.0)?)?;
        Ok(address.to_string())
    }

    /// Why connecting failed, if it did.
    pub(crate) fn connected(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(&self.0)??)
    }

    pub(crate) fn end(&self) -> io::Result<()> {
        Ok(net::shutdown(&self.0, Shutdown::Write)?)
    }

    /// Receives a datagram and says from whom.
    pub(crate) fn receive_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddrAny)> {
        let (length, _, address) = net::recvfrom(&self.0, buffer, RecvFlags::empty())?;
        Ok((length, address.ok_or(io::ErrorKind::AddrNotAvailable)?))
    }

    pub(crate) fn send_to(&self, bytes: &[u8], address: &SocketAddrAny) -> io::Result<usize> {
        Ok(net::sendto(&self.0, bytes, SendFlags::empty(), address)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(net::recv(&self.0, buffer, RecvFlags::empty())?.0)
    }
}

impl io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(net::send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
