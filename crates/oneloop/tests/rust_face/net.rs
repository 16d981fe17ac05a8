//! The network as its users see it, on every driver: a file for each part.

mod black_hole;
mod connecting;
mod datagrams;
mod listening;
mod loops;
mod names;
mod racing;
mod streams;

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{AsyncRead, AsyncWrite};
use oneloop::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use oneloop::{Builder, DriverKind, timeout};

use crate::support::KINDS;

/// Longer than anything in here takes on the busiest machine: what hangs is to fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test on each driver that this platform has.
fn on_every_driver(test: impl AsyncFn() -> io::Result<()>) {
    for &kind in KINDS {
        run_on(kind, &test);
    }
}

fn run_on(kind: DriverKind, test: impl AsyncFn() -> io::Result<()>) {
    let run = Builder::new().driver(kind).run(timeout(PATIENCE, test()));
    match run.expect("a run") {
        Ok(result) => result.unwrap_or_else(|error| panic!("{kind:?}: {error}")),
        Err(elapsed) => panic!("{kind:?}: {elapsed}"),
    }
}

/// What one poll of a future gives.
async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await
}

/// The kinds of stream that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Tcp4,
    Tcp6,
    Unix,
    #[cfg(target_os = "linux")]
    Abstract,
    Pair,
}

const TRANSPORTS: &[Transport] = &[
    Transport::Tcp4,
    Transport::Tcp6,
    Transport::Unix,
    #[cfg(target_os = "linux")]
    Transport::Abstract,
    Transport::Pair,
];

impl Transport {
    /// Two streams that are connected to each other.
    async fn connect(self) -> io::Result<(Stream, Stream)> {
        match self {
            Transport::Tcp4 => tcp("127.0.0.1:0").await,
            Transport::Tcp6 => tcp("[::1]:0").await,
            Transport::Unix => {
                let path = TemporaryPath::new();
                unix(&UnixListener::bind(&path.0)?, path.0.clone()).await
            }
            #[cfg(target_os = "linux")]
            Transport::Abstract => {
                let name = PathBuf::from(format!("\0{}", unique_name()));
                unix(&UnixListener::bind(&name)?, name).await
            }
            Transport::Pair => {
                let (one, other) = UnixStream::pair()?;
                Ok((Stream::Unix(one), Stream::Unix(other)))
            }
        }
    }

    fn is_tcp(self) -> bool {
        matches!(self, Transport::Tcp4 | Transport::Tcp6)
    }
}

async fn tcp(address: &str) -> io::Result<(Stream, Stream)> {
    let listener = TcpListener::bind(address).await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, peer) = listener.accept().await?;
    assert_eq!(peer, client.local_addr()?);
    Ok((Stream::Tcp(client), Stream::Tcp(server)))
}

async fn unix(listener: &UnixListener, path: PathBuf) -> io::Result<(Stream, Stream)> {
    let client = UnixStream::connect(path).await?;
    let (server, peer) = listener.accept().await?;
    assert!(peer.is_unnamed());
    Ok((Stream::Unix(client), Stream::Unix(server)))
}

/// A stream of either kind.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Does the same with whatever stream it is.
macro_rules! either {
    ($either:expr, $stream:ident => $call:expr) => {
        match $either {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}
use either;

impl AsyncRead for &Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        either!(&**self, stream => Pin::new(&mut &*stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&**self, stream => Pin::new(&mut &*stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&**self, stream => Pin::new(&mut &*stream).poll_write_vectored(context, pieces))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&**self, stream => Pin::new(&mut &*stream).poll_flush(context))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&**self, stream => Pin::new(&mut &*stream).poll_close(context))
    }
}

/// A path for a socket, which is removed at the end.
struct TemporaryPath(PathBuf);

impl TemporaryPath {
    fn new() -> Self {
        Self(std::env::temp_dir().join(unique_name()))
    }
}

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("oneloop-test-{}-{number}", std::process::id())
}

/// A socket at a path of the full length that the kernel allows, and the directory that it is in.
#[cfg(target_os = "linux")]
fn bound_to_a_full_path(kind: socket2::Type) -> io::Result<(socket2::Socket, PathBuf)> {
    let directory = std::env::temp_dir().join(unique_name());
    std::fs::create_dir(&directory)?;
    let length = 108 - directory.as_os_str().len() - 1;
    let path = directory.join("x".repeat(length));
    assert_eq!(path.as_os_str().len(), 108);
    let socket = socket2::Socket::new(socket2::Domain::UNIX, kind, None)?;
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path)?)?;
    Ok((socket, directory))
}
