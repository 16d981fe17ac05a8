//! Listening: what a TCP listener can be asked for, and the stream of connections that any listener gives.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::TcpListener;
use super::socket::{Socket, Waiting};
use crate::dns::{ToAddresses, first_of};
use crate::registry::Direction;
use crate::sys;

/// How many connections may wait to be accepted, unless it is said otherwise: as many as the system allows.
pub(super) const BACKLOG: i32 = i32::MAX;

/// Chooses how to listen.
///
/// # Examples
///
/// ```
/// use oneloop::net::ListenOptions;
///
/// # oneloop::run(async {
/// // One socket for IPv4 and IPv6, which other processes may listen on too.
/// let listener = ListenOptions::new()
///     .dual_stack(true)
///     .reuse_port(true)
///     .bind("[::]:0")
///     .await?;
/// # drop(listener);
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nobody listens until `bind` is called"]
pub struct ListenOptions {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    dual_stack: Option<bool>,
}

impl ListenOptions {
    /// What [`TcpListener::bind`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let listener = oneloop::net::ListenOptions::new().bind("127.0.0.1:0").await?;
    /// # drop(listener);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn new() -> Self {
        Self {
            backlog: BACKLOG,
            reuse_address: true,
            reuse_port: false,
            dual_stack: None,
        }
    }

    /// How many connections may wait to be accepted. By default, and at most, as many as the system allows.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let listener = oneloop::net::ListenOptions::new().backlog(16).bind("127.0.0.1:0").await?;
    /// # drop(listener);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        self
    }

    /// Whether the address can be had although connections of a server before are still in the system's memory (`SO_REUSEADDR`); by
    /// default it can.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let listener = oneloop::net::ListenOptions::new().reuse_address(false).bind("127.0.0.1:0").await?;
    /// # drop(listener);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Whether others who say the same may listen on the same address (`SO_REUSEPORT`): the system gives each its share of the
    /// connections.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::ListenOptions;
    ///
    /// # oneloop::run(async {
    /// let options = ListenOptions::new().reuse_port(true);
    /// let one = options.bind("127.0.0.1:0").await?;
    /// let other = options.bind(one.local_addr()?).await?;
    /// assert_eq!(one.local_addr()?, other.local_addr()?);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether a listener on an IPv6 address takes IPv4 connections too, if the address is that of all interfaces. By default it does
    /// what the system is configured for.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::{ListenOptions, TcpStream};
    ///
    /// # oneloop::run(async {
    /// let listener = ListenOptions::new().dual_stack(true).bind("[::]:0").await?;
    /// let port = listener.local_addr()?.port();
    /// let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    /// # drop(stream);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn dual_stack(mut self, dual_stack: bool) -> Self {
        self.dual_stack = Some(dual_stack);
        self
    }

    /// Listens on the first of the addresses that can be had.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    ///
    /// # Examples
    ///
    /// See [`ListenOptions`].
    pub async fn bind(&self, addresses: impl ToAddresses) -> io::Result<TcpListener> {
        first_of(addresses, "there is no address to listen on", |address| {
            self.listen(address)
        })
        .await
    }

    fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let domain = Domain::for_address(address);
        let fd = sys::socket::open(domain, Type::STREAM, Some(Protocol::TCP))?;
        let socket = SockRef::from(&fd);
        socket.set_reuse_address(self.reuse_address)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Domain::IPV6, Some(dual_stack)) = (domain, self.dual_stack) {
            socket.set_only_v6(!dual_stack)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(self.backlog)?;
        Ok(TcpListener {
            socket: Socket::from_nonblocking(fd),
        })
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The connections of a listener, as a stream that never ends: see [`TcpListener::incoming`].
///
/// # Examples
///
/// See [`TcpListener::incoming`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Incoming<'a, S> {
    waiting: Waiting<'a>,
    accepted: fn(OwnedFd) -> S,
}

impl<'a, S> Incoming<'a, S> {
    pub(super) fn new(listener: &'a Socket, accepted: fn(OwnedFd) -> S) -> Self {
        Self {
            waiting: Waiting::new(listener, Direction::Read),
            accepted,
        }
    }
}

impl<S> Stream for Incoming<'_, S> {
    type Item = io::Result<S>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<S>>> {
        let accept = |socket: &Socket| sys::socket::accept(socket.as_fd());
        let accepted = self.accepted;
        let connection = self.waiting.poll_io(context, accept);
        connection.map(|connection| Some(connection.map(|(fd, _)| accepted(fd))))
    }
}

impl<S> fmt::Debug for Incoming<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}
