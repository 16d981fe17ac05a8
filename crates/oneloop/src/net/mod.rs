//! The network: TCP and Unix streams and listeners, datagrams, names, and connecting to whichever address answers first.
//!
//! | asyncio | here |
//! | --- | --- |
//! | `asyncio.open_connection(host, port)` | [`connect`], [`TcpStream::connect`]; with choices: [`ConnectOptions`] |
//! | `asyncio.start_server(…)` | [`TcpListener::bind`] and [`TcpListener::accept`]; with choices: [`ListenOptions`] |
//! | `asyncio.open_unix_connection(path)` | [`UnixStream::connect`] |
//! | `asyncio.start_unix_server(…)` | [`UnixListener::bind`] and [`UnixListener::accept`] |
//! | `loop.create_datagram_endpoint(…)` | [`UdpSocket::bind`], [`UnixDatagram::bind`] |
//! | `loop.getaddrinfo(…)` | [`lookup`] |
//!
//! A stream is a descriptor and its registration with the loop, no more: there is no buffer between a program and the kernel, and no
//! task behind its back. Reading and writing are the traits of `futures-io`; their extension traits (`read_exact`, `write_all`, `lines`)
//! come with `futures-util` or `futures-lite`, which also have buffers. Options that have no method here can be set through
//! `socket2::SockRef::from(&stream)`, since all of these are descriptors (`AsFd`).
//!
//! # Examples
//!
//! An echo server, and a client that talks to it:
//!
//! ```
//! use futures_util::io::copy;
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use oneloop::net::{TcpListener, TcpStream};
//!
//! # oneloop::run(async {
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let server = oneloop::spawn(async move {
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         oneloop::spawn(async move { copy(&stream, &mut &stream).await }).detach();
//!     }
//!     # #[allow(unreachable_code)]
//!     # std::io::Result::Ok(())
//! });
//!
//! let mut stream = TcpStream::connect(address).await?;
//! stream.write_all(b"hello").await?;
//! let mut echo = [0; 5];
//! stream.read_exact(&mut echo).await?;
//! assert_eq!(&echo, b"hello");
//! drop(server); // cancelled
//! # std::io::Result::Ok(())
//! # })??;
//! # std::io::Result::Ok(())
//! ```

mod address;
mod connect;
mod connector;
mod interleave;
mod listen;
pub(crate) mod socket;
mod split;
mod stagger;
mod stream;
mod tcp;
mod udp;
mod udp_options;
mod unix;
mod unix_datagram;

pub use crate::dns::{ToAddresses, lookup};
pub use connect::{ConnectOptions, connect};
pub use connector::ConnectError;
pub use listen::{Incoming, ListenOptions};
pub use split::{ReadHalf, WriteHalf};
pub use stream::ByteStream;
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{PeerCred, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;

/// What the engine exports for those who host it.
pub(crate) mod parts {
    pub use super::connector::{Connector, Target};
    pub use super::interleave::interleave;
    pub use super::socket::Socket;
    pub use super::stagger::{Attempt, staggered_race};
}
