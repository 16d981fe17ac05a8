//! TCP: [`TcpStream`] and [`TcpListener`].

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use socket2::SockRef;

use super::address::internet;
use super::connect::ConnectOptions;
use super::listen::{Incoming, ListenOptions};
use super::socket::Socket;
use super::split::{ReadHalf, WriteHalf, split};
use crate::dns::ToAddresses;
use crate::registry::Direction;
use crate::sys;

/// A TCP connection.
///
/// It reads and writes by the traits of `futures-io`, and so does a reference to it: the extension traits are `AsyncReadExt` and
/// `AsyncWriteExt` of `futures-util` or `futures-lite`. Closing it (`AsyncWriteExt::close`, or [`TcpStream::shutdown`] with
/// [`Shutdown::Write`]) tells the peer that nothing more is coming; dropping it closes the descriptor. A read or write that is given up
/// has taken or sent nothing.
///
/// A stream belongs to the loop that it first had to wait on. To use it on another one, or when that one is closed, is an error;
/// [`TcpStream::into_std`] gets it out.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use oneloop::net::{TcpListener, TcpStream};
///
/// # oneloop::run(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
/// let server = oneloop::spawn(async move {
///     let (mut peer, _) = listener.accept().await?;
///     peer.write_all(b"hello").await?;
///     std::io::Result::Ok(())
/// });
///
/// let mut stream = TcpStream::connect(address).await?;
/// let mut greeting = String::new();
/// stream.read_to_string(&mut greeting).await?;
/// assert_eq!(greeting, "hello");
/// server.await?;
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct TcpStream {
    pub(super) socket: Socket,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers, by the rules of "happy eyeballs" (RFC 8305): see [`ConnectOptions`], which has
    /// more to choose.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved; if no address answers, the error of the only one, or one that lists all of them
    /// ([`ConnectError`](super::ConnectError)).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use oneloop::net::TcpStream;
    ///
    /// # oneloop::run(async {
    /// let stream = TcpStream::connect(("example.org", 80)).await?;
    /// let other = TcpStream::connect("[::1]:8080").await?;
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn connect(addresses: impl ToAddresses) -> io::Result<Self> {
        ConnectOptions::new().connect(addresses).await
    }

    /// Takes over a connection of the standard library, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// If it cannot be made so.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::TcpStream;
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let connected = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let stream = TcpStream::from_std(connected)?;
    /// # drop(stream);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::new(stream.into())?,
        })
    }

    /// Gives the connection to the standard library. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// The driver's.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::{TcpListener, TcpStream};
    ///
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// let stream: std::net::TcpStream = stream.into_std()?;
    /// stream.set_nonblocking(false)?;
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.socket.into_fd().map(Into::into)
    }

    /// Splits the connection into halves that own it together, for two tasks. Within one task, `(&stream, &stream)` does without.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{AsyncReadExt, AsyncWriteExt};
    /// # use oneloop::net::{TcpListener, TcpStream};
    ///
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (mut peer, _) = listener.accept().await?;
    /// let (mut reader, mut writer) = stream.split();
    /// let writing = oneloop::spawn(async move { writer.write_all(b"ping").await });
    /// # let mut ping = [0; 4];
    /// # peer.read_exact(&mut ping).await?;
    /// # peer.write_all(b"pong").await?;
    /// let mut answer = [0; 4];
    /// reader.read_exact(&mut answer).await?;
    /// writing.await?;
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
        split(self)
    }

    /// Reads into `buffer` what is there, or waits for it, and leaves it there to be read again.
    ///
    /// # Errors
    ///
    /// As reading.
    ///
    /// # Examples
    ///
    /// ```
    /// # use futures_util::{AsyncReadExt, AsyncWriteExt};
    /// # use oneloop::net::{TcpListener, TcpStream};
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let mut client = TcpStream::connect(listener.local_addr()?).await?;
    /// # client.write_all(b"GET /").await?;
    /// # let (stream, _) = listener.accept().await?;
    /// let mut first = [0];
    /// stream.peek(&mut first).await?;
    /// assert_eq!(&first, b"G");
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buffer).await
    }

    /// Ends one direction of the connection, or both, at once.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended already.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::AsyncReadExt;
    /// use std::net::Shutdown;
    /// # use oneloop::net::{TcpListener, TcpStream};
    ///
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (mut peer, _) = listener.accept().await?;
    /// stream.shutdown(Shutdown::Write)?;
    /// assert_eq!(peer.read(&mut [0; 8]).await?, 0); // the end
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// # use oneloop::net::{TcpListener, TcpStream};
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// let (peer, address) = listener.accept().await?;
    /// assert_eq!(address, stream.local_addr()?);
    /// assert_eq!(peer.local_addr()?, stream.peer_addr()?);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        internet(&SockRef::from(&self.socket).local_addr()?)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended.
    ///
    /// # Examples
    ///
    /// See [`TcpStream::local_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        internet(&SockRef::from(&self.socket).peer_addr()?)
    }

    /// Whether small writes are sent at once, without waiting for an acknowledgement of what was sent before (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// # use oneloop::net::{TcpListener, TcpStream};
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// assert!(!stream.nodelay()?);
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(&self.socket).tcp_nodelay()
    }

    /// Sets what [`TcpStream::nodelay`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`TcpStream::nodelay`].
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(&self.socket).set_tcp_nodelay(nodelay)
    }

    /// How many routers a packet of this connection may pass.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// # use oneloop::net::{TcpListener, TcpStream};
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// stream.set_ttl(1)?; // this network only
    /// assert_eq!(stream.ttl()?, 1);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Sets what [`TcpStream::ttl`] tells.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`TcpStream::ttl`].
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    fn accepted(fd: OwnedFd) -> Self {
        Self {
            socket: Socket::from_nonblocking(fd),
        }
    }
}

impl TryFrom<std::net::TcpStream> for TcpStream {
    type Error = io::Error;

    fn try_from(stream: std::net::TcpStream) -> io::Result<Self> {
        Self::from_std(stream)
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpStream");
        // One that has ended has no peer.
        let _ = self.local_addr().map(|it| debug.field("local", &it));
        let _ = self.peer_addr().map(|it| debug.field("peer", &it));
        debug.finish_non_exhaustive()
    }
}

/// A TCP socket that accepts connections.
///
/// # Examples
///
/// ```no_run
/// use oneloop::net::{TcpListener, TcpStream};
///
/// async fn serve(stream: TcpStream) -> std::io::Result<()> {
///     // …
/// #   Ok(())
/// }
///
/// # oneloop::run(async {
/// let listener = TcpListener::bind("0.0.0.0:8080").await?;
/// loop {
///     let (stream, address) = listener.accept().await?;
///     println!("{address} has connected");
///     oneloop::spawn(serve(stream)).detach();
/// }
/// # #[allow(unreachable_code)]
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct TcpListener {
    pub(super) socket: Socket,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be had. Port 0 has the system choose one, which [`TcpListener::local_addr`] tells.
    /// [`ListenOptions`] has more to choose.
    ///
    /// # Errors
    ///
    /// If a name cannot be resolved, or no address be had.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::TcpListener;
    ///
    /// # oneloop::run(async {
    /// let listener = TcpListener::bind(("localhost", 0)).await?;
    /// println!("listening on {}", listener.local_addr()?);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn bind(addresses: impl ToAddresses) -> io::Result<Self> {
        ListenOptions::new().bind(addresses).await
    }

    /// Takes over a listener of the standard library, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// If it cannot be made so.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::TcpListener;
    ///
    /// let inherited = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let listener = TcpListener::from_std(inherited)?;
    /// # drop(listener);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::new(listener.into())?,
        })
    }

    /// Gives the listener to the standard library. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// The driver's.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::TcpListener;
    ///
    /// # oneloop::run(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let listener: std::net::TcpListener = listener.into_std()?;
    /// # drop(listener);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.socket.into_fd().map(Into::into)
    }

    /// Accepts a connection, and tells its peer's address.
    ///
    /// Several tasks may accept from one listener. A connection is never lost: if this is given up, the next to accept gets it.
    ///
    /// # Errors
    ///
    /// The system's, above all that no descriptor is left (`EMFILE`). The listener goes on working; whoever accepts in a loop gives it a
    /// pause in which others may close some.
    ///
    /// # Examples
    ///
    /// See [`TcpListener`].
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |socket: &Socket| sys::socket::accept(socket.as_fd());
        let (fd, peer) = self.socket.io(Direction::Read, accept).await?;
        Ok((TcpStream::accepted(fd), internet(&peer)?))
    }

    /// The connections as a stream that never ends. It is [`TcpListener::accept`] again and again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use futures_util::StreamExt;
    /// use oneloop::net::TcpListener;
    ///
    /// # oneloop::run(async {
    /// let listener = TcpListener::bind("0.0.0.0:8080").await?;
    /// let mut incoming = listener.incoming();
    /// while let Some(stream) = incoming.next().await {
    ///     println!("{:?}", stream?);
    /// }
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_, TcpStream> {
        Incoming::new(&self.socket, TcpStream::accepted)
    }

    /// The address that this listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// See [`TcpListener::bind`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        internet(&SockRef::from(&self.socket).local_addr()?)
    }
}

impl TryFrom<std::net::TcpListener> for TcpListener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        Self::from_std(listener)
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpListener");
        let _ = self.local_addr().map(|it| debug.field("local", &it));
        debug.finish_non_exhaustive()
    }
}
