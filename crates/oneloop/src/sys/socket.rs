//! System calls on sockets, where platforms differ.
//!
//! Every socket that is opened or accepted here is non-blocking and close-on-exec, and nothing that is sent here raises SIGPIPE, whatever
//! the process does about that signal: a broken pipe is an error and nothing else.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// A new socket.
pub(crate) fn open(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let socket = Socket::new(domain, kind, protocol)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket.into())
}

/// Accepts a connection, and says whose it is. One that was broken off in the queue is nobody's.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    loop {
        match accept_next(listener) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            result => return result,
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn accept_next(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    let listener = SockRef::from(&listener);
    match listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) {
        // A sandbox, or a kernel that is older than the call.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            let (socket, peer) = listener.accept_raw()?;
            socket.set_cloexec(true)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            Ok((socket.into(), peer))
        }
        accepted => accepted.map(|(socket, peer)| (socket.into(), peer)),
    }
}

#[cfg(target_vendor = "apple")]
fn accept_next(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    let (socket, peer) = SockRef::from(&listener).accept()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok((socket.into(), peer))
}

pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, NO_SIGNAL)?)
}

pub(crate) fn send_vectored(socket: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    // More than this many are an error; what is left is the next call's.
    let pieces = &pieces[..pieces.len().min(MOST_PIECES)];
    let mut control = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(
        socket,
        pieces,
        &mut control,
        NO_SIGNAL,
    )?)
}

/// Sends a datagram to an address.
pub(crate) fn send_to(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    address: &SockAddr,
) -> io::Result<usize> {
    let flags = NO_SIGNAL.bits().cast_signed();
    SockRef::from(&socket).send_to_with_flags(bytes, address, flags)
}

/// Whether what is received is received again the next time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taking {
    It,
    Nothing,
}

impl Taking {
    const fn flags(self) -> RecvFlags {
        match self {
            Self::It => RecvFlags::empty(),
            Self::Nothing => RecvFlags::PEEK,
        }
    }
}

/// Reads a datagram, or what there is of a stream. Of a datagram, what does not fit into `buffer` is lost.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    taking: Taking,
) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, taking.flags())?;
    Ok(count)
}

/// As [`receive`], and tells who sent it: of no family if the system does not tell.
///
/// Not by rustix, which panics at the longest path that a Unix socket can have.
pub(crate) fn receive_from(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    taking: Taking,
) -> io::Result<(usize, SockAddr)> {
    let buffer: *mut [u8] = buffer;
    // SAFETY: it is the same memory, borrowed for as long; nothing uninitialised gets there, since socket2 promises to hand the buffer to
    // the system and to write nothing itself.
    let buffer = unsafe { &mut *(buffer as *mut [MaybeUninit<u8>]) };
    let flags = taking.flags().bits().cast_signed();
    SockRef::from(&socket).recv_from_with_flags(buffer, flags)
}

/// Whether the socket has room for something, so that it is not for this that nothing can be sent. If the system does not tell, sending will.
pub(crate) fn is_writable(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// POSIX's `IOV_MAX`, which Linux and the BSDs have in common.
const MOST_PIECES: usize = 1024;

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// There the socket itself is told, by socket2 when it is opened; what is accepted inherits it.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Who was at the other end of a Unix socket when it was connected: process, user and group.
///
/// Not by rustix, whose process identifier cannot be zero: it is, if the process is in a namespace that this one does not see.
#[cfg(target_os = "linux")]
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(i32, u32, u32)> {
    use std::os::fd::AsRawFd;

    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is as long as `length` says, and both outlive the call.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    match code {
        0 => Ok((peer.pid, peer.uid, peer.gid)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_credentials(_: BorrowedFd<'_>) -> io::Result<(i32, u32, u32)> {
    Err(io::ErrorKind::Unsupported.into())
}
