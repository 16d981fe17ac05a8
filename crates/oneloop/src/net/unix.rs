//! Unix sockets: [`UnixStream`] and [`UnixListener`], by path or by Linux's abstract names.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, SockAddr, SockRef, Type};

use super::address;
use super::connector::{Connector, Target};
use super::listen::{BACKLOG, Incoming};
use super::socket::Socket;
use super::split::{ReadHalf, WriteHalf, split};
use crate::registry::Direction;
use crate::sys;

/// A connection over a Unix socket. What [`TcpStream`](super::TcpStream) says of reading, writing, closing and loops holds here too.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use oneloop::net::{UnixListener, UnixStream};
///
/// # let directory = std::env::temp_dir().join(format!("oneloop-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("socket");
/// # oneloop::run(async {
/// let listener = UnixListener::bind(&path)?;
/// let mut stream = UnixStream::connect(&path).await?;
/// let (mut peer, _) = listener.accept().await?;
/// stream.write_all(b"hello").await?;
/// let mut greeting = [0; 5];
/// peer.read_exact(&mut greeting).await?;
/// assert_eq!(&greeting, b"hello");
/// # std::io::Result::Ok(())
/// # })??;
/// # std::fs::remove_dir_all(&directory)?;
/// # std::io::Result::Ok(())
/// ```
pub struct UnixStream {
    pub(super) socket: Socket,
}

impl UnixStream {
    /// Connects to the socket at `path`. On Linux a path that begins with a NUL is an abstract name.
    ///
    /// If the listener has no room for another connection at the moment, this waits until it has.
    ///
    /// # Errors
    ///
    /// If there is no such socket, nobody listens on it, or the path is too long.
    ///
    /// # Examples
    ///
    /// See [`UnixStream`].
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_to(address::of_path(path.as_ref())?).await
    }

    /// As [`UnixStream::connect`], to an address of the standard library's.
    ///
    /// # Errors
    ///
    /// As [`UnixStream::connect`]; an address without a name is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use oneloop::net::{UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// # oneloop::run(async {
    /// # let name = format!("oneloop-doc-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(&name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let stream = UnixStream::connect_addr(&address).await?;
    /// # drop((listener, stream));
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # }
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::connect_to(address::of_unix(address)?).await
    }

    async fn connect_to(address: SockAddr) -> io::Result<Self> {
        let target = Target {
            domain: Domain::UNIX,
            kind: Type::STREAM,
            protocol: None,
            address,
        };
        let socket = Connector::new(vec![target]).connect().await?;
        Ok(Self { socket })
    }

    /// Two streams that are connected to each other.
    ///
    /// # Errors
    ///
    /// If no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{AsyncReadExt, AsyncWriteExt};
    /// use oneloop::net::UnixStream;
    ///
    /// # oneloop::run(async {
    /// let (mut one, mut other) = UnixStream::pair()?;
    /// one.write_all(b"x").await?;
    /// assert_eq!(other.read(&mut [0; 8]).await?, 1);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
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
    /// use oneloop::net::UnixStream;
    ///
    /// let (one, other) = std::os::unix::net::UnixStream::pair()?;
    /// let stream = UnixStream::from_std(one)?;
    /// # drop((stream, other));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
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
    /// use oneloop::net::UnixStream;
    ///
    /// let (one, other) = UnixStream::pair()?;
    /// let stream: std::os::unix::net::UnixStream = one.into_std()?;
    /// stream.set_nonblocking(false)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixStream> {
        self.socket.into_fd().map(Into::into)
    }

    /// Splits the connection into halves that own it together, for two tasks. Within one task, `(&stream, &stream)` does without.
    ///
    /// # Examples
    ///
    /// See [`ReadHalf`].
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
    /// use futures_util::AsyncWriteExt;
    /// use oneloop::net::UnixStream;
    ///
    /// # oneloop::run(async {
    /// let (mut one, other) = UnixStream::pair()?;
    /// one.write_all(b"GET /").await?;
    /// let mut first = [0];
    /// other.peek(&mut first).await?;
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
    /// use oneloop::net::UnixStream;
    /// use std::net::Shutdown;
    ///
    /// # oneloop::run(async {
    /// let (one, mut other) = UnixStream::pair()?;
    /// one.shutdown(Shutdown::Write)?;
    /// assert_eq!(other.read(&mut [0; 8]).await?, 0); // the end
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// The address of this end; without a name if it was not bound to one.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, _other) = oneloop::net::UnixStream::pair()?;
    /// assert!(one.local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address::unix(&SockRef::from(&self.socket).local_addr()?)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, _other) = oneloop::net::UnixStream::pair()?;
    /// assert!(one.peer_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address::unix(&SockRef::from(&self.socket).peer_addr()?)
    }

    /// Who was at the other end when the connection was made: the system's word, not the peer's.
    ///
    /// # Errors
    ///
    /// The system's; `Unsupported` where it is not Linux.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, _other) = oneloop::net::UnixStream::pair()?;
    /// # #[cfg(target_os = "linux")]
    /// assert_eq!(one.peer_cred()?.process_id(), Some(std::process::id()));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_cred(&self) -> io::Result<PeerCred> {
        let (pid, uid, gid) = sys::socket::peer_credentials(self.as_fd())?;
        Ok(PeerCred { pid, uid, gid })
    }

    fn accepted(fd: OwnedFd) -> Self {
        Self {
            socket: Socket::from_nonblocking(fd),
        }
    }
}

impl TryFrom<std::os::unix::net::UnixStream> for UnixStream {
    type Error = io::Error;

    fn try_from(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Self::from_std(stream)
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UnixStream");
        let _ = self.local_addr().map(|it| debug.field("local", &it));
        let _ = self.peer_addr().map(|it| debug.field("peer", &it));
        debug.finish_non_exhaustive()
    }
}

/// Who is at the other end of a Unix socket: see [`UnixStream::peer_cred`].
///
/// # Examples
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// let (one, other) = oneloop::net::UnixStream::pair()?;
/// assert_eq!(one.peer_cred()?, other.peer_cred()?);
/// # }
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PeerCred {
    pid: i32,
    uid: u32,
    gid: u32,
}

impl PeerCred {
    /// The process, unless it is in a namespace that this one does not see.
    ///
    /// # Examples
    ///
    /// See [`UnixStream::peer_cred`].
    pub fn process_id(&self) -> Option<u32> {
        u32::try_from(self.pid).ok().filter(|pid| *pid != 0)
    }

    /// The user.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let (stream, _other) = oneloop::net::UnixStream::pair()?;
    /// if stream.peer_cred()?.user_id() != 0 {
    ///     println!("this is for root only");
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn user_id(&self) -> u32 {
        self.uid
    }

    /// The group.
    ///
    /// # Examples
    ///
    /// See [`PeerCred::user_id`].
    pub fn group_id(&self) -> u32 {
        self.gid
    }
}

/// A Unix socket that accepts connections. Dropping it leaves its path in the file system, as everywhere.
///
/// # Examples
///
/// See [`UnixStream`].
pub struct UnixListener {
    pub(super) socket: Socket,
}

impl UnixListener {
    /// Listens on a socket at `path`, which must not exist yet. On Linux a path that begins with a NUL is an abstract name.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is something already; if the path is too long or cannot be made.
    ///
    /// # Examples
    ///
    /// See [`UnixStream`].
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_to(&address::of_path(path.as_ref())?)
    }

    /// As [`UnixListener::bind`], on an address of the standard library's.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`]; an address without a name is refused.
    ///
    /// # Examples
    ///
    /// See [`UnixStream::connect_addr`].
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::bind_to(&address::of_unix(address)?)
    }

    fn bind_to(address: &SockAddr) -> io::Result<Self> {
        let fd = sys::socket::open(Domain::UNIX, Type::STREAM, None)?;
        let socket = SockRef::from(&fd);
        socket.bind(address)?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            socket: Socket::from_nonblocking(fd),
        })
    }

    /// Takes over a listener of the standard library, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// If it cannot be made so.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use oneloop::net::UnixListener;
    ///
    /// let inherited = std::os::unix::net::UnixListener::bind("/run/greeter")?;
    /// let listener = UnixListener::from_std(inherited)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
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
    /// ```no_run
    /// use oneloop::net::UnixListener;
    ///
    /// let listener = UnixListener::bind("/run/greeter")?;
    /// let listener: std::os::unix::net::UnixListener = listener.into_std()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixListener> {
        self.socket.into_fd().map(Into::into)
    }

    /// Accepts a connection, and tells its peer's address: see [`TcpListener::accept`](super::TcpListener::accept).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// See [`UnixStream`].
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let accept = |socket: &Socket| sys::socket::accept(socket.as_fd());
        let (fd, peer) = self.socket.io(Direction::Read, accept).await?;
        // No address is a reason to lose a connection.
        let peer = address::unix(&peer).or_else(|_| address::unnamed())?;
        Ok((UnixStream::accepted(fd), peer))
    }

    /// The connections as a stream that never ends.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use futures_util::StreamExt;
    /// use oneloop::net::UnixListener;
    ///
    /// # oneloop::run(async {
    /// let listener = UnixListener::bind("/run/greeter")?;
    /// let mut incoming = listener.incoming();
    /// while let Some(stream) = incoming.next().await {
    ///     println!("{:?}", stream?.peer_cred()?);
    /// }
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_, UnixStream> {
        Incoming::new(&self.socket, UnixStream::accepted)
    }

    /// The address that this listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let listener = oneloop::net::UnixListener::bind("/run/greeter")?;
    /// println!("{:?}", listener.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address::unix(&SockRef::from(&self.socket).local_addr()?)
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for UnixListener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        Self::from_std(listener)
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UnixListener");
        let _ = self.local_addr().map(|it| debug.field("local", &it));
        debug.finish_non_exhaustive()
    }
}
