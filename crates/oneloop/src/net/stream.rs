//! What streams, listeners and datagram sockets have in common: each lends its socket, and is a descriptor and, if it is a stream, a reader and a writer.
//!
//! The traits of `futures-io` are there for a reference to a stream too, so `(&stream, &stream)` reads and writes at once.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::socket::Socket;
use super::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

/// A stream of bytes over a socket: [`TcpStream`] or [`UnixStream`].
pub trait ByteStream: sealed::OverSocket {}

impl ByteStream for TcpStream {}
impl ByteStream for UnixStream {}

pub(super) mod sealed {
    use super::Socket;

    pub trait OverSocket {
        fn socket(&self) -> &Socket;
    }
}

macro_rules! over_socket {
    ($($owner:ty),+) => {$(
        impl sealed::OverSocket for $owner {
            fn socket(&self) -> &Socket {
                &self.socket
            }
        }

        impl AsFd for $owner {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl AsRawFd for $owner {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.as_raw_fd()
            }
        }
    )+};
}

over_socket!(
    TcpStream,
    UnixStream,
    TcpListener,
    UnixListener,
    UdpSocket,
    UnixDatagram
);

macro_rules! reads_and_writes {
    ($($stream:ty),+) => {$(
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_read(context, buffer)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_write(context, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_write_vectored(context, pieces)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(())) // what was written is the kernel's
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.socket.finish())
            }
        }
    )+};
}

reads_and_writes!(TcpStream, &TcpStream, UnixStream, &UnixStream);
