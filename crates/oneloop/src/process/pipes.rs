//! The pipes to and from a child: descriptors of the loop's, with the traits of `futures-io`.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use crate::net::socket::Socket;
use crate::registry::Direction;

/// What a pipe holds on Linux, so that more cannot be read at once.
const PIECE: usize = 64 * 1024;

/// More pieces than this are an error; what is left is the next call's. POSIX's `IOV_MAX` where we run.
const MOST_PIECES: usize = 1024;

/// The pipe to a child's standard input. Dropping or closing it is the end of the child's input.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use oneloop::process::{Command, Stdio};
///
/// # oneloop::run(async {
/// let mut child = Command::new("cat")
///     .stdin(Stdio::piped())
///     .stdout(Stdio::piped())
///     .spawn()?;
/// let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
/// input.write_all(b"there and back").await?;
/// drop(input);
/// let mut echo = String::new();
/// output.read_to_string(&mut echo).await?;
/// assert_eq!(echo, "there and back");
/// assert!(child.wait().await?.success());
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct ChildStdin {
    /// `None` once it is closed.
    pipe: Option<Socket>,
}

/// The pipe from a child's standard output.
///
/// # Examples
///
/// See [`ChildStdin`].
pub struct ChildStdout {
    pipe: Socket,
}

/// The pipe from a child's standard error.
///
/// # Examples
///
/// ```
/// use futures_util::AsyncReadExt;
/// use oneloop::process::{Command, Stdio};
///
/// # oneloop::run(async {
/// let mut shell = Command::new("sh").args(["-c", "echo oh >&2"]).stderr(Stdio::piped()).spawn()?;
/// let mut complaint = String::new();
/// shell.stderr.take().unwrap().read_to_string(&mut complaint).await?;
/// assert_eq!(complaint, "oh\n");
/// assert!(shell.wait().await?.success());
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct ChildStderr {
    pipe: Socket,
}

impl ChildStdin {
    pub(super) fn new(pipe: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            pipe: Some(Socket::new(pipe.into())?),
        })
    }

    fn poll_io(
        &self,
        context: &mut Context<'_>,
        operation: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match &self.pipe {
            Some(pipe) => pipe.poll_io(Direction::Write, context, |pipe| {
                Ok(operation(pipe.as_fd())?)
            }),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(context, |pipe| rustix::io::write(pipe, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let pieces = &pieces[..pieces.len().min(MOST_PIECES)];
        self.poll_io(context, |pipe| rustix::io::writev(pipe, pieces))
    }

    /// What is written is the child's to read at once.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// There is no other way to tell the child of the end than to close the pipe.
    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        drop(self.pipe.take());
        Poll::Ready(Ok(()))
    }
}

/// For another child to write to. An error if it is closed.
impl TryFrom<ChildStdin> for Stdio {
    type Error = io::Error;

    fn try_from(stdin: ChildStdin) -> io::Result<Stdio> {
        match stdin.pipe {
            Some(pipe) => inherit(pipe),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl fmt::Debug for ChildStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.pipe.as_ref().map(Socket::as_raw_fd);
        f.debug_tuple("ChildStdin").field(&number).finish()
    }
}

/// The two that are read from differ in nothing but their names.
macro_rules! reader {
    ($Reader:ident) => {
        impl $Reader {
            pub(super) fn new(pipe: impl Into<OwnedFd>) -> io::Result<Self> {
                Ok(Self {
                    pipe: Socket::new(pipe.into())?,
                })
            }

            /// What there is to read until every writer has closed the pipe.
            pub(super) async fn read_to_end(self) -> io::Result<Vec<u8>> {
                let mut all = Vec::new();
                let mut piece = vec![0; PIECE];
                loop {
                    let read = |pipe: &Socket| pipe.read(&mut piece);
                    match self.pipe.io(Direction::Read, read).await? {
                        0 => return Ok(all),
                        count => all.extend_from_slice(&piece[..count]),
                    }
                }
            }
        }

        impl AsyncRead for $Reader {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.pipe.poll_read(context, buffer)
            }
        }

        impl AsFd for $Reader {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.pipe.as_fd()
            }
        }

        impl AsRawFd for $Reader {
            fn as_raw_fd(&self) -> RawFd {
                self.pipe.as_raw_fd()
            }
        }

        /// For another child to read from: what has not been read here is its.
        impl TryFrom<$Reader> for Stdio {
            type Error = io::Error;

            fn try_from(reader: $Reader) -> io::Result<Stdio> {
                inherit(reader.pipe)
            }
        }

        impl fmt::Debug for $Reader {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Reader))
                    .field(&self.as_raw_fd())
                    .finish()
            }
        }
    };
}

reader!(ChildStdout);
reader!(ChildStderr);

/// A pipe as another child is to have it: programs expect theirs to block.
fn inherit(pipe: Socket) -> io::Result<Stdio> {
    let fd = pipe.into_fd()?;
    rustix::io::ioctl_fionbio(&fd, false)?;
    Ok(fd.into())
}
