//! Unix sockets for datagrams: [`UnixDatagram`], by path or by Linux's abstract names.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Type};

use super::address;
use super::socket::Socket;
use crate::registry::Direction;
use crate::sys;
use crate::sys::socket::Taking;
use crate::time::sleep;

/// How long to wait before a receiver that had no room is tried again: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(32);

/// A Unix socket for datagrams, which get there, and in order. What [`UdpSocket`](super::UdpSocket) says of whole datagrams, futures that
/// are given up and loops holds here too.
///
/// # Examples
///
/// ```
/// use oneloop::net::UnixDatagram;
///
/// # let directory = std::env::temp_dir().join(format!("oneloop-doc-datagram-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("socket");
/// # oneloop::run(async {
/// let server = UnixDatagram::bind(&path)?;
/// let client = UnixDatagram::unbound()?;
/// client.send_to(b"hello", &path).await?;
///
/// let mut buffer = [0; 1500];
/// let (length, sender) = server.recv_from(&mut buffer).await?;
/// assert_eq!(&buffer[..length], b"hello");
/// assert!(sender.is_unnamed());
/// # std::io::Result::Ok(())
/// # })??;
/// # std::fs::remove_dir_all(&directory)?;
/// # std::io::Result::Ok(())
/// ```
pub struct UnixDatagram {
    pub(super) socket: Socket,
}

impl UnixDatagram {
    /// A socket at `path`, which must not exist yet. On Linux a path that begins with a NUL is an abstract name.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is something already; if the path is too long or cannot be made.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_to(&address::of_path(path.as_ref())?)
    }

    /// As [`UnixDatagram::bind`], on an address of the standard library's.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::bind`]; an address without a name is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use oneloop::net::UnixDatagram;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// # oneloop::run(async {
    /// # let name = format!("oneloop-doc-datagram-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(&name)?;
    /// let server = UnixDatagram::bind_addr(&address)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect_addr(&address)?;
    /// client.send(b"hello").await?;
    /// assert_eq!(server.recv(&mut [0; 16]).await?, 5);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::bind_to(&address::of_unix(address)?)
    }

    /// A socket without a name, to which nobody can send.
    ///
    /// # Errors
    ///
    /// If no descriptor is left.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    pub fn unbound() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::from_nonblocking(open()?),
        })
    }

    fn bind_to(address: &SockAddr) -> io::Result<Self> {
        let fd = open()?;
        SockRef::from(&fd).bind(address)?;
        Ok(Self {
            socket: Socket::from_nonblocking(fd),
        })
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// If no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UnixDatagram;
    ///
    /// # oneloop::run(async {
    /// let (one, other) = UnixDatagram::pair()?;
    /// one.send(b"x").await?;
    /// assert_eq!(other.recv(&mut [0; 8]).await?, 1);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// Sends to the socket at `path` by default, from here on, and receives from nobody else.
    ///
    /// # Errors
    ///
    /// If there is no such socket, or the path is too long.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::bind_addr`].
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        SockRef::from(&self.socket).connect(&address::of_path(path.as_ref())?)
    }

    /// As [`UnixDatagram::connect`], to an address of the standard library's.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::connect`]; an address without a name is refused.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::bind_addr`].
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        SockRef::from(&self.socket).connect(&address::of_unix(address)?)
    }

    /// Takes over a socket of the standard library, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// If it cannot be made so.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UnixDatagram;
    ///
    /// let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
    /// let socket = UnixDatagram::from_std(one)?;
    /// # drop((socket, other));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(socket: std::os::unix::net::UnixDatagram) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::new(socket.into())?,
        })
    }

    /// Gives the socket to the standard library. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// The driver's.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UnixDatagram;
    ///
    /// let (one, other) = UnixDatagram::pair()?;
    /// let socket: std::os::unix::net::UnixDatagram = one.into_std()?;
    /// socket.set_nonblocking(false)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixDatagram> {
        self.socket.into_fd().map(Into::into)
    }

    /// Sends a datagram to the socket at `path`. If that has no room, this waits until it has.
    ///
    /// # Errors
    ///
    /// If there is no such socket, or the datagram is too long.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    pub async fn send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let address = address::of_path(path.as_ref())?;
        self.send_patiently(bytes, &address).await
    }

    /// As [`UnixDatagram::send_to`], to an address of the standard library's: that of whoever sent something, say.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::send_to`]; an address without a name is refused.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use oneloop::net::UnixDatagram;
    ///
    /// # oneloop::run(async {
    /// let server = UnixDatagram::bind("/run/echo")?;
    /// let mut buffer = [0; 1500];
    /// loop {
    ///     let (length, sender) = server.recv_from(&mut buffer).await?;
    ///     server.send_to_addr(&buffer[..length], &sender).await?;
    /// }
    /// # #[allow(unreachable_code)]
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn send_to_addr(&self, bytes: &[u8], address: &SocketAddr) -> io::Result<usize> {
        let address = address::of_unix(address)?;
        self.send_patiently(bytes, &address).await
    }

    /// As [`UnixDatagram::send_to`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is no room.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::try_recv`].
    pub fn try_send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        sys::socket::send_to(self.as_fd(), bytes, &address::of_path(path.as_ref())?)
    }

    /// The system wakes a sender when its own socket has room again, or that of the receiver that it is connected to. Of another receiver,
    /// whose room it may have to wait for here, it says nothing: that one has to be tried now and then.
    async fn send_patiently(&self, bytes: &[u8], address: &SockAddr) -> io::Result<usize> {
        let mut wait = FIRST_WAIT;
        loop {
            let send = |socket: &Socket| match sys::socket::send_to(socket.as_fd(), bytes, address)
            {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && sys::socket::is_writable(socket.as_fd()) =>
                {
                    Ok(None)
                }
                result => result.map(Some),
            };
            if let Some(sent) = self.socket.io(Direction::Write, send).await? {
                return Ok(sent);
            }
            sleep(wait).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Receives a datagram, and tells who sent it. What does not fit into `buffer` is lost.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let receive = |socket: &Socket| receive_from(socket, buffer, Taking::It);
        self.socket.io(Direction::Read, receive).await
    }

    /// As [`UnixDatagram::recv_from`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is none.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::try_recv`].
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        receive_from(&self.socket, buffer, Taking::It)
    }

    /// As [`UnixDatagram::recv_from`], and leaves the datagram to be received again.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UnixDatagram;
    ///
    /// # oneloop::run(async {
    /// let (one, other) = UnixDatagram::pair()?;
    /// one.send(b"hello").await?;
    /// let mut buffer = [0; 16];
    /// assert_eq!(other.peek_from(&mut buffer).await?.0, 5);
    /// assert_eq!(other.peek(&mut buffer).await?, 5);
    /// assert_eq!(other.recv(&mut buffer).await?, 5);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let peek = |socket: &Socket| receive_from(socket, buffer, Taking::Nothing);
        self.socket.io(Direction::Read, peek).await
    }

    /// Sends a datagram to the socket that this one is connected to. If that has no room, this waits until it has.
    ///
    /// # Errors
    ///
    /// If it is not connected, if the other one is gone, or if the datagram is too long.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::pair`].
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let send = |socket: &Socket| sys::socket::send(socket.as_fd(), bytes);
        self.socket.io(Direction::Write, send).await
    }

    /// As [`UnixDatagram::send`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is no room.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::try_recv`].
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        sys::socket::send(self.as_fd(), bytes)
    }

    /// Receives a datagram. What does not fit into `buffer` is lost.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::recv_from`].
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::pair`].
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let receive = |socket: &Socket| sys::socket::receive(socket.as_fd(), buffer, Taking::It);
        self.socket.io(Direction::Read, receive).await
    }

    /// As [`UnixDatagram::recv`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// let (one, other) = UnixDatagram::pair()?;
    /// let nothing = other.try_recv(&mut [0; 16]);
    /// assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
    /// one.try_send(b"hello")?;
    /// assert_eq!(other.try_recv(&mut [0; 16])?, 5);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::socket::receive(self.as_fd(), buffer, Taking::It)
    }

    /// As [`UnixDatagram::recv`], and leaves the datagram to be received again.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram::peek_from`].
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buffer).await
    }

    /// Ends one direction of the socket, or both, at once.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UnixDatagram;
    /// use std::net::Shutdown;
    ///
    /// # oneloop::run(async {
    /// let (one, other) = UnixDatagram::pair()?;
    /// one.shutdown(Shutdown::Read)?;
    /// assert!(other.send(b"nobody wants it").await.is_err());
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// The address of the socket; without a name if it was not bound to one.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = oneloop::net::UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address::unix(&SockRef::from(&self.socket).local_addr()?)
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it is not.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, _other) = oneloop::net::UnixDatagram::pair()?;
    /// assert!(one.peer_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address::unix(&SockRef::from(&self.socket).peer_addr()?)
    }
}

fn open() -> io::Result<OwnedFd> {
    sys::socket::open(Domain::UNIX, Type::DGRAM, None)
}

fn receive_from(
    socket: &Socket,
    buffer: &mut [u8],
    taking: Taking,
) -> io::Result<(usize, SocketAddr)> {
    let (length, sender) = sys::socket::receive_from(socket.as_fd(), buffer, taking)?;
    // No address, nor one that the standard library cannot express, is a reason to lose a datagram.
    let sender = address::unix(&sender).or_else(|_| address::unnamed())?;
    Ok((length, sender))
}

impl TryFrom<std::os::unix::net::UnixDatagram> for UnixDatagram {
    type Error = io::Error;

    fn try_from(socket: std::os::unix::net::UnixDatagram) -> io::Result<Self> {
        Self::from_std(socket)
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UnixDatagram");
        let _ = self.local_addr().map(|it| debug.field("local", &it));
        let _ = self.peer_addr().map(|it| debug.field("peer", &it));
        debug.finish_non_exhaustive()
    }
}
