//! `Socket`: a descriptor and its registration, which is all that a stream or a listener of the Rust face is.
//!
//! An operation is tried first, and waited for only if it would block; so is the registration made, which a connection that never has
//! to wait does without. From then on the socket belongs to that loop, and to use it on another one, or when the loop is closed, is an
//! error; before, and after [`Socket::detach`], it can go wherever its thread goes.
//!
//! An operation that is given up has happened or has not: nothing is read or written between the system call and the answer. One that
//! never has to wait gives the loop's other entries a turn now and then.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use socket2::SockRef;

use super::address::internet;
use crate::current;
use crate::driver::Token;
use crate::reactor::{LoopRef, is_same};
use crate::registry::{Direction, Seat};
use crate::sys;
use crate::sys::socket::Taking;

/// How many operations on one direction may follow one another without a wait before others get a turn.
const LONGEST_STREAK: u8 = 32;

/// A non-blocking descriptor that code on a loop reads, writes or accepts from, and waits for.
pub struct Socket {
    /// Taken only by `drop` and `detach`, which are the last to see it.
    fd: Option<OwnedFd>,
    registration: OnceCell<Registration>,
    streaks: [Cell<u8>; 2],
}

struct Registration {
    event_loop: LoopRef,
    token: Token,
}

impl Socket {
    /// Takes a descriptor, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// If it is of a kind that cannot be made so.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self::from_nonblocking(fd))
    }

    /// Takes a descriptor that is non-blocking already.
    pub(crate) fn from_nonblocking(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            registration: OnceCell::new(),
            streaks: Default::default(),
        }
    }

    /// Ends the registration and gives the descriptor back, with the bytes that the driver has read ahead. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn detach(mut self) -> io::Result<(OwnedFd, Vec<u8>)> {
        let rest = match self.registration.take() {
            Some(registration) => registration.end()?,
            None => Vec::new(),
        };
        Ok((self.take_fd(), rest))
    }

    /// The descriptor alone.
    ///
    /// # Errors
    ///
    /// As [`Socket::detach`], and if there are bytes that would be lost.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        match self.detach()? {
            (fd, rest) if rest.is_empty() => Ok(fd),
            _ => Err(io::Error::other(
                "the driver has read ahead from this socket",
            )),
        }
    }

    /// Tries `operation`, and again whenever the socket is ready in this direction, until it no longer would block.
    ///
    /// # Errors
    ///
    /// Those of the operation; of registering; if the socket belongs to another loop than the running one.
    pub fn poll_io<R>(
        &self,
        direction: Direction,
        context: &mut Context<'_>,
        operation: impl FnMut(&Self) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_in(direction, None, context, operation)
    }

    /// As [`Socket::poll_io`], for a future.
    ///
    /// # Errors
    ///
    /// As [`Socket::poll_io`].
    pub async fn io<R>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(&Self) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut waiting = Waiting::new(self, direction);
        poll_fn(|context| waiting.poll_io(context, &mut operation)).await
    }

    /// Reads what is there.
    ///
    /// # Errors
    ///
    /// As `read(2)`: `WouldBlock` if there is nothing yet.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.registration.get() {
            // The driver may hold bytes that it has read ahead.
            Some(registration) => registration.event_loop.read(registration.token, buffer),
            None => Ok(rustix::io::read(self, buffer)?),
        }
    }

    /// Reads what is there, or waits for something to be.
    ///
    /// # Errors
    ///
    /// As `read(2)`, and as [`Socket::poll_io`].
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(Direction::Read, context, |socket| socket.read(buffer))
    }

    /// Writes what there is room for, or waits for some.
    ///
    /// # Errors
    ///
    /// As `send(2)`, and as [`Socket::poll_io`].
    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let send = |socket: &Self| sys::socket::send(socket.as_fd(), bytes);
        self.poll_io(Direction::Write, context, send)
    }

    /// As [`Socket::poll_write`], from several pieces.
    ///
    /// # Errors
    ///
    /// As [`Socket::poll_write`].
    pub fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let send = |socket: &Self| sys::socket::send_vectored(socket.as_fd(), pieces);
        self.poll_io(Direction::Write, context, send)
    }

    /// Tells the peer that nothing more is written. What was written is the kernel's by now, and still sent.
    pub(crate) fn finish(&self) -> io::Result<()> {
        match self.shutdown(Shutdown::Write) {
            // The peer was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Ends one direction or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }

    /// How many routers a packet of this internet socket may pass.
    pub(crate) fn ttl(&self) -> io::Result<u32> {
        let socket = SockRef::from(self);
        match internet(&socket.local_addr()?)? {
            SocketAddr::V4(_) => socket.ttl_v4(),
            SocketAddr::V6(_) => socket.unicast_hops_v6(),
        }
    }

    /// Sets what [`Socket::ttl`] tells.
    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let socket = SockRef::from(self);
        match internet(&socket.local_addr()?)? {
            SocketAddr::V4(_) => socket.set_ttl_v4(ttl),
            SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl),
        }
    }

    /// Reads into `buffer` without taking the bytes.
    pub(crate) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let peek = |socket: &Self| sys::socket::receive(socket.as_fd(), buffer, Taking::Nothing);
        self.io(Direction::Read, peek).await
    }

    fn poll_in<R>(
        &self,
        direction: Direction,
        mut seat: Option<&mut Option<Seat>>,
        context: &mut Context<'_>,
        mut operation: impl FnMut(&Self) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.check_loop()?;
        let streak = &self.streaks[direction as usize];
        if streak.get() >= LONGEST_STREAK {
            streak.set(0);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match operation(self) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    streak.update(|count| count + 1);
                    return Poll::Ready(result);
                }
            }
            streak.set(0);
            let Registration { event_loop, token } = self.registration()?;
            event_loop.clear(*token, direction);
            let ready = match seat.as_deref_mut() {
                Some(seat) => event_loop.poll_seated(*token, direction, seat, context),
                None => event_loop.poll_ready(*token, direction, context),
            };
            ready!(ready)?;
        }
    }

    /// An error unless the socket can be used with the loop that runs on this thread.
    fn check_loop(&self) -> io::Result<()> {
        let Some(registration) = self.registration.get() else {
            return Ok(());
        };
        let is_here = |current: Option<&LoopRef>| {
            current.is_some_and(|current| is_same(current, &registration.event_loop))
        };
        if current::with(is_here) {
            return Ok(());
        }
        Err(io::Error::other(
            "the socket belongs to an event loop that is not the one that runs here",
        ))
    }

    fn registration(&self) -> io::Result<&Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        let event_loop = current::get()?;
        let token = event_loop.register(self.as_raw_fd())?;
        Ok(self
            .registration
            .get_or_init(|| Registration { event_loop, token }))
    }

    fn take_fd(&mut self) -> OwnedFd {
        self.fd.take().expect("only drop and detach take it")
    }
}

impl Registration {
    /// Ends it, and gives back what the driver has read ahead.
    fn end(self) -> io::Result<Vec<u8>> {
        match self.event_loop.detach(self.token) {
            // With its loop, which has nothing of it any more.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(Vec::new()),
            rest => rest,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else {
            return;
        };
        if let Some(Registration { event_loop, token }) = self.registration.take() {
            event_loop.release(token, fd);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.fd.as_ref().expect("only drop and detach take it");
        fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> i32 {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.as_raw_fd()).finish()
    }
}

/// A future's place among those who wait for a socket, which it gives back when it is dropped.
pub(crate) struct Waiting<'a> {
    socket: &'a Socket,
    direction: Direction,
    seat: Option<Seat>,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(socket: &'a Socket, direction: Direction) -> Self {
        Self {
            socket,
            direction,
            seat: None,
        }
    }

    pub(crate) fn poll_io<R>(
        &mut self,
        context: &mut Context<'_>,
        operation: impl FnMut(&Socket) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.socket
            .poll_in(self.direction, Some(&mut self.seat), context, operation)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take()
            && let Some(Registration { event_loop, token }) = self.socket.registration.get()
        {
            event_loop.leave(*token, self.direction, seat);
        }
    }
}
