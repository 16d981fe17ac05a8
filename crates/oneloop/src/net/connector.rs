//! `Connector`: connecting to the first of several addresses that answers. The streams' `connect` is made of it, and a host of the engine
//! may use it for a `connect` of its own.
//!
//! Each target is an attempt of the staggered race: a socket is opened, bound to the first local address that can be had, connected, and
//! waited for. Whatever fails is told if everything does.
//!
//! Any kind of socket address will do. An attempt that is dropped, because another has won or the whole is given up, closes its socket.

use std::fmt;
use std::future::ready;
use std::io;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::socket::Socket;
use super::stagger::{Attempt, staggered_race};
use crate::registry::Direction;
use crate::{current, sys, time};

/// The pauses between attempts to connect to a Unix socket whose listener has no room: nothing tells when it has.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// Where to connect to, and by what kind of socket.
#[derive(Clone, Debug)]
pub struct Target {
    /// The socket's family.
    pub domain: Domain,
    /// The socket's type.
    pub kind: Type,
    /// The socket's protocol, if it is not the type's usual one.
    pub protocol: Option<Protocol>,
    /// The address.
    pub address: SockAddr,
}

/// Targets, and how to try them.
#[derive(Clone, Debug)]
pub struct Connector {
    /// In the order in which they are tried.
    pub targets: Vec<Target>,
    /// Each socket is bound to the first of these that is of its family and can be had; if there is none, its attempt fails.
    pub locals: Option<Vec<SockAddr>>,
    /// How long one attempt is alone before the next begins; `None` has each wait until the one before has failed.
    pub delay: Option<Duration>,
}

impl Connector {
    /// A connector that tries the targets one after the other, from any local address.
    pub fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            locals: None,
            delay: None,
        }
    }

    /// Connects to the first target that answers; gives a socket that is connected, non-blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// What failed, if everything did: the only error there is, or one that all of them are, else a [`ConnectError`] with each in the
    /// order of the targets; of a target that had several local addresses there may be several.
    pub async fn connect(&self) -> io::Result<Socket> {
        current::get()?;
        let begin = |number: usize| self.begin(&self.targets[number]);
        match staggered_race(self.targets.len(), self.delay, begin).await {
            Ok((_, socket)) => Ok(socket),
            Err(failures) => Err(as_one(failures.into_iter().flatten().collect())),
        }
    }

    /// Begins an attempt: everything up to the wait is done here.
    fn begin(&self, target: &Target) -> Attempt<Socket, Vec<io::Error>> {
        let mut failures = Vec::new();
        let address = target.address.clone();
        match self.call(target, &mut failures) {
            Err(error) => {
                failures.push(error);
                Box::pin(ready(Err(failures)))
            }
            Ok((socket, call)) => Box::pin(async move {
                match finish(&socket, call, &address).await {
                    Ok(()) => Ok(socket),
                    Err(error) => {
                        failures.push(error);
                        Err(failures)
                    }
                }
            }),
        }
    }

    /// Opens, binds and connects.
    fn call(&self, target: &Target, failures: &mut Vec<io::Error>) -> io::Result<(Socket, Call)> {
        let fd = sys::socket::open(target.domain, target.kind, target.protocol)?;
        let socket = Socket::from_nonblocking(fd);
        self.bind(&socket, target, failures)?;
        let call = connect(&socket, &target.address)?;
        Ok((socket, call))
    }

    /// Binds the socket, if it need be bound. What failed before an address that could be had is added to the failures.
    fn bind(
        &self,
        socket: &Socket,
        target: &Target,
        failures: &mut Vec<io::Error>,
    ) -> io::Result<()> {
        let Some(locals) = &self.locals else {
            return Ok(());
        };
        let mut last = None;
        for local in locals.iter().filter(|it| it.domain() == target.domain) {
            let bound = SockRef::from(socket).bind(local);
            failures.extend(last.take());
            match bound {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }
}

/// What a call of `connect(2)` has come to, where it did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Connected,
    /// The outcome is told by readiness to write.
    UnderWay,
    /// A Unix listener has no room: it has to be called again.
    NoRoom,
}

fn connect(socket: &Socket, address: &SockAddr) -> io::Result<Call> {
    match SockRef::from(socket).connect(address) {
        Ok(()) => Ok(Call::Connected),
        // Of another socket it would mean that the system is out of something.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && address.is_unix() => {
            Ok(Call::NoRoom)
        }
        // Interrupted, it goes on without us all the same.
        Err(error) if is_under_way(&error) => Ok(Call::UnderWay),
        Err(error) => Err(error),
    }
}

fn is_under_way(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [libc::EINPROGRESS, libc::EINTR].map(Some).contains(&code)
}

/// Waits for the connection to come about.
async fn finish(socket: &Socket, mut call: Call, address: &SockAddr) -> io::Result<()> {
    let mut pause = SHORTEST_PAUSE;
    while call == Call::NoRoom {
        time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        call = connect(socket, address)?;
    }
    if call == Call::UnderWay {
        socket.io(Direction::Write, outcome).await?;
    }
    Ok(())
}

/// `WouldBlock` for as long as it is open. Not by readiness alone, which may be spurious.
fn outcome(socket: &Socket) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}

/// The only error there is, or one that all of them are; else a [`ConnectError`].
fn as_one(mut errors: Vec<io::Error>) -> io::Error {
    let code = errors.first().and_then(io::Error::raw_os_error);
    let is_one = code.is_some() && errors.iter().all(|error| error.raw_os_error() == code);
    match errors.len() {
        0 => io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no address to connect to",
        ),
        1 => errors.remove(0),
        _ if is_one => errors.remove(0),
        _ => io::Error::new(errors[0].kind(), ConnectError { errors }),
    }
}

/// No address could be connected to, each for a reason of its own. It is inside the [`io::Error`], whose kind is that of the first.
///
/// # Examples
///
/// ```no_run
/// use oneloop::net::{ConnectError, TcpStream};
///
/// # oneloop::run(async {
/// if let Err(error) = TcpStream::connect("example.org:81").await {
///     let each = error.get_ref().and_then(|error| error.downcast_ref::<ConnectError>());
///     for error in each.map_or([].as_slice(), ConnectError::errors) {
///         println!("{error}");
///     }
/// }
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct ConnectError {
    errors: Vec<io::Error>,
}

impl ConnectError {
    /// Why each address failed, in the order in which they were tried.
    ///
    /// # Examples
    ///
    /// See [`ConnectError`].
    pub fn errors(&self) -> &[io::Error] {
        &self.errors
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address could be connected to: ")?;
        for (number, error) in self.errors.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {}
