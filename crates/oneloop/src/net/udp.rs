//! UDP: [`UdpSocket`]. Its options are in `udp_options`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::address::internet;
use super::socket::Socket;
use crate::dns::{ToAddresses, first_of};
use crate::registry::Direction;
use crate::sys;
use crate::sys::socket::Taking;

/// A UDP socket.
///
/// A datagram is sent whole or not at all, and received whole or cut off at the end of the buffer. A future that is given up has sent or
/// taken nothing. All methods take `&self`, so that an `Rc` is enough to send in one task and to receive in another.
///
/// A socket belongs to the loop that it first had to wait on; [`UdpSocket::into_std`] gets it out.
///
/// # Examples
///
/// ```
/// use oneloop::net::UdpSocket;
///
/// # oneloop::run(async {
/// let server = UdpSocket::bind("127.0.0.1:0").await?;
/// let client = UdpSocket::bind("127.0.0.1:0").await?;
/// client.send_to(b"hello", server.local_addr()?).await?;
///
/// let mut buffer = [0; 1500];
/// let (length, sender) = server.recv_from(&mut buffer).await?;
/// assert_eq!((&buffer[..length], sender), (&b"hello"[..], client.local_addr()?));
/// server.send_to(&buffer[..length], sender).await?;
/// assert_eq!(client.recv(&mut buffer).await?, 5);
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct UdpSocket {
    pub(super) socket: Socket,
}

impl UdpSocket {
    /// A socket on the first of the addresses that can be had.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, or none of the addresses can be had: then the last one's error.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("[::1]:0").await?;
    /// # drop(socket);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn bind(addresses: impl ToAddresses) -> io::Result<Self> {
        first_of(addresses, "there is no address to bind to", Self::bind_to).await
    }

    fn bind_to(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let fd = sys::socket::open(domain, Type::DGRAM, Some(Protocol::UDP))?;
        SockRef::from(&fd).bind(&address.into())?;
        Ok(Self {
            socket: Socket::from_nonblocking(fd),
        })
    }

    /// Sends to this address by default, from here on, and receives from nobody else: the first of the addresses that can be reached.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, or there is no way to any of the addresses: then the last one's error.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let server = UdpSocket::bind("127.0.0.1:0").await?;
    /// let client = UdpSocket::bind("127.0.0.1:0").await?;
    /// client.connect(server.local_addr()?).await?;
    /// client.send(b"hello").await?;
    /// assert_eq!(client.peer_addr()?, server.local_addr()?);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn connect(&self, addresses: impl ToAddresses) -> io::Result<()> {
        first_of(addresses, "there is no address to connect to", |address| {
            SockRef::from(&self.socket).connect(&address.into())
        })
        .await
    }

    /// Takes over a socket of the standard library, and makes it non-blocking: one with options that had to be set before it was bound, say.
    ///
    /// # Errors
    ///
    /// If it cannot be made so.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// let socket = UdpSocket::from_std(std::net::UdpSocket::bind("127.0.0.1:0")?)?;
    /// # drop(socket);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
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
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket: std::net::UdpSocket = UdpSocket::bind("127.0.0.1:0").await?.into_std()?;
    /// socket.set_nonblocking(false)?;
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        self.socket.into_fd().map(Into::into)
    }

    /// Sends a datagram to `address`.
    ///
    /// # Errors
    ///
    /// The system's: if it is too long, if there is no way to the address, or (on a connected socket) if an earlier one was refused.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    pub async fn send_to(&self, bytes: &[u8], address: impl Into<SocketAddr>) -> io::Result<usize> {
        let address = SockAddr::from(address.into());
        let send = |socket: &Socket| sys::socket::send_to(socket.as_fd(), bytes, &address);
        self.socket.io(Direction::Write, send).await
    }

    /// As [`UdpSocket::send_to`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is no room.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    /// use std::io::ErrorKind;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let mut buffer = [0; 16];
    /// let nothing = socket.try_recv_from(&mut buffer);
    /// assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
    /// socket.try_send_to(b"to myself", socket.local_addr()?)?;
    /// assert_eq!(socket.recv_from(&mut buffer).await?, (9, socket.local_addr()?));
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_send_to(&self, bytes: &[u8], address: impl Into<SocketAddr>) -> io::Result<usize> {
        sys::socket::send_to(self.as_fd(), bytes, &SockAddr::from(address.into()))
    }

    /// Receives a datagram, and tells who sent it. What does not fit into `buffer` is lost.
    ///
    /// # Errors
    ///
    /// The system's: on a connected socket, that nobody is there.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let receive = |socket: &Socket| receive_from(socket, buffer, Taking::It);
        self.socket.io(Direction::Read, receive).await
    }

    /// As [`UdpSocket::recv_from`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is none.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::try_send_to`].
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        receive_from(&self.socket, buffer, Taking::It)
    }

    /// As [`UdpSocket::recv_from`], and leaves the datagram to be received again.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// socket.send_to(b"hello", socket.local_addr()?).await?;
    /// let mut buffer = [0; 16];
    /// assert_eq!(socket.peek_from(&mut buffer).await?.0, 5);
    /// assert_eq!(socket.recv_from(&mut buffer).await?.0, 5);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let peek = |socket: &Socket| receive_from(socket, buffer, Taking::Nothing);
        self.socket.io(Direction::Read, peek).await
    }

    /// Sends a datagram to the address that the socket is [connected](UdpSocket::connect) to.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send_to`], and if it is not connected.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::connect`].
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let send = |socket: &Socket| sys::socket::send(socket.as_fd(), bytes);
        self.socket.io(Direction::Write, send).await
    }

    /// As [`UdpSocket::send`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is no room.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::try_send_to`].
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        sys::socket::send(self.as_fd(), bytes)
    }

    /// Receives a datagram. What does not fit into `buffer` is lost.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv_from`].
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let receive = |socket: &Socket| sys::socket::receive(socket.as_fd(), buffer, Taking::It);
        self.socket.io(Direction::Read, receive).await
    }

    /// As [`UdpSocket::recv`], without waiting.
    ///
    /// # Errors
    ///
    /// As there, and `WouldBlock` if there is none.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::try_send_to`].
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::socket::receive(self.as_fd(), buffer, Taking::It)
    }

    /// As [`UdpSocket::recv`], and leaves the datagram to be received again.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::peek_from`].
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buffer).await
    }

    /// The address of the socket.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        internet(&SockRef::from(&self.socket).local_addr()?)
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it is not.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket::connect`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        internet(&SockRef::from(&self.socket).peer_addr()?)
    }

    /// The error that the system keeps for the next operation, which then will not have it any more.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::UdpSocket;
    ///
    /// # oneloop::run(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// assert!(socket.take_error()?.is_none());
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.socket).take_error()
    }
}

fn receive_from(
    socket: &Socket,
    buffer: &mut [u8],
    taking: Taking,
) -> io::Result<(usize, SocketAddr)> {
    let (length, sender) = sys::socket::receive_from(socket.as_fd(), buffer, taking)?;
    Ok((length, internet(&sender)?))
}

impl TryFrom<std::net::UdpSocket> for UdpSocket {
    type Error = io::Error;

    fn try_from(socket: std::net::UdpSocket) -> io::Result<Self> {
        Self::from_std(socket)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UdpSocket");
        let _ = self.local_addr().map(|it| debug.field("local", &it));
        let _ = self.peer_addr().map(|it| debug.field("peer", &it));
        debug.finish_non_exhaustive()
    }
}
