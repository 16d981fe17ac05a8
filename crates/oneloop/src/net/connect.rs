//! Connecting by TCP to whatever stands for an address: [`connect`] and [`ConnectOptions`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Type};

use super::TcpStream;
use super::connector::{Connector, Target};
use super::interleave::interleave;
use crate::dns::{ToAddresses, resolve};

/// What RFC 8305 recommends.
const DELAY: Duration = Duration::from_millis(250);

/// Connects to `host`, by name or address: the short form of [`TcpStream::connect`] and [`ConnectOptions::connect`].
///
/// # Errors
///
/// As [`TcpStream::connect`].
///
/// # Examples
///
/// ```no_run
/// # oneloop::run(async {
/// let stream = oneloop::net::connect("example.org", 80).await?;
/// println!("connected to {}", stream.peer_addr()?);
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    ConnectOptions::new().connect((host, port)).await
}

/// Chooses how to connect.
///
/// A host may have several addresses, and not all of them may answer: IPv6 may be broken on the way, say. So they are tried one after the
/// other, the families in turns, and each gets a head start of 250 ms before the next is tried as well. The first connection that comes
/// about is taken, and the others are closed: "happy eyeballs", RFC 8305.
///
/// # Examples
///
/// ```no_run
/// use oneloop::net::ConnectOptions;
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let options = ConnectOptions::new().delay(Some(Duration::from_millis(100)));
/// let connecting = options.connect(("example.org", 80));
/// let stream = oneloop::timeout(Duration::from_secs(5), connecting).await??;
/// # drop(stream);
/// # std::io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected until `connect` is called"]
pub struct ConnectOptions {
    locals: Vec<SocketAddr>,
    delay: Option<Duration>,
    interleave: usize,
}

impl ConnectOptions {
    /// What [`TcpStream::connect`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use oneloop::net::{ConnectOptions, TcpListener};
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// let stream = ConnectOptions::new().connect(address).await?;
    /// # drop(stream);
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn new() -> Self {
        Self {
            locals: Vec::new(),
            delay: Some(DELAY),
            interleave: 1,
        }
    }

    /// Connects from the first of these addresses that is of the right family and can be had. Port 0 is any. By default the system
    /// chooses.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::net::ConnectOptions;
    /// # use oneloop::net::TcpListener;
    ///
    /// # oneloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// let local = ([127, 0, 0, 1], 0).into();
    /// let stream = ConnectOptions::new().local_addresses([local]).connect(address).await?;
    /// assert_eq!(stream.local_addr()?.ip(), local.ip());
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addresses(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.locals = addresses.into_iter().collect();
        self
    }

    /// How long an attempt is alone before the next begins beside it; `None` tries strictly one after the other.
    ///
    /// # Examples
    ///
    /// See [`ConnectOptions`].
    pub const fn delay(mut self, delay: Option<Duration>) -> Self {
        self.delay = delay;
        self
    }

    /// How many addresses of the first family are tried before the families take turns; 1 by default. Zero keeps the addresses in the
    /// order in which the resolver, or the caller, has put them.
    ///
    /// # Examples
    ///
    /// ```
    /// let options = oneloop::net::ConnectOptions::new().interleave(2);
    /// # drop(options);
    /// ```
    pub const fn interleave(mut self, first: usize) -> Self {
        self.interleave = first;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect`].
    ///
    /// # Examples
    ///
    /// See [`ConnectOptions`].
    pub async fn connect(&self, addresses: impl ToAddresses) -> io::Result<TcpStream> {
        let mut addresses = resolve(addresses).await?;
        if self.interleave > 0 {
            addresses = interleave(addresses, self.interleave, SocketAddr::is_ipv6);
        }
        let mut connector = Connector::new(addresses.into_iter().map(target).collect());
        connector.delay = self.delay;
        if !self.locals.is_empty() {
            connector.locals = Some(self.locals.iter().copied().map(SockAddr::from).collect());
        }
        let socket = connector.connect().await?;
        Ok(TcpStream { socket })
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

fn target(address: SocketAddr) -> Target {
    Target {
        domain: Domain::for_address(address),
        kind: Type::STREAM,
        protocol: Some(Protocol::TCP),
        address: address.into(),
    }
}
