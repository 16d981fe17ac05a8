//! `Connector`: connecting to the first of several addresses that answers. The streams' `connect` is made of it, and a host of the engine
//! may use it for a `connect` of its own.
//!
//! Each target is an attempt of the staggered race: a socket is opened, bound to the first local address that can be had, connected, and
//! waited for. What fails is recorded with the step that it failed in, since a host may have a message for each, as asyncio does;
//! whoever looks on is asked before each step, and may end everything.
//!
//! Any kind of socket address will do. An attempt that is dropped, because another has won or the whole is given up, closes its socket.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::socket::Socket;
use super::stagger::{Attempt, Lost, staggered_race};
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

/// Who is asked before each step of an attempt. An error that wraps another one ends all attempts and comes out unchanged
/// ([`Unconnected::Stopped`]); one that is the system's, or a kind alone, is a failure of that step.
pub trait Observer {
    /// A socket is about to be opened for this target.
    ///
    /// # Errors
    ///
    /// To refuse it.
    fn before_open(&mut self, target: &Target) -> io::Result<()> {
        let _ = target;
        Ok(())
    }

    /// This socket is about to be bound to `local`.
    ///
    /// # Errors
    ///
    /// To refuse it.
    fn before_bind(&mut self, socket: BorrowedFd<'_>, local: &SockAddr) -> io::Result<()> {
        let _ = (socket, local);
        Ok(())
    }

    /// This socket is about to be connected to the target.
    ///
    /// # Errors
    ///
    /// To refuse it.
    fn before_connect(&mut self, socket: BorrowedFd<'_>, target: &Target) -> io::Result<()> {
        let _ = (socket, target);
        Ok(())
    }
}

/// Nobody looks on.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// A connection.
#[derive(Debug)]
pub struct Connected {
    /// Connected, non-blocking and close-on-exec.
    pub socket: Socket,
    /// The number of its target.
    pub target: usize,
}

/// The step in which something failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Opening the socket.
    Open,
    /// Binding it to the local address of this number. Others may have been tried after it.
    Bind(usize),
    /// There was no local address of the socket's family.
    NoLocal,
    /// The call that connects.
    Connect,
    /// The connection was under way, and did not come about.
    Outcome,
}

/// Something that failed.
#[derive(Debug)]
pub struct Failure {
    /// The number of the target.
    pub target: usize,
    /// The step.
    pub phase: Phase,
    /// What was wrong.
    pub error: io::Error,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Unconnected {
    /// What failed, in the order of the targets; of a target that had several local addresses there may be several. Empty only if there
    /// is no target.
    Failed(Vec<Failure>),
    /// What the observer ended it with; or there is no loop.
    Stopped(io::Error),
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

    /// Connects to the first target that answers.
    ///
    /// # Errors
    ///
    /// What failed, if everything did.
    pub async fn connect(&self, observer: &mut dyn Observer) -> Result<Connected, Unconnected> {
        current::get().map_err(Unconnected::Stopped)?;
        let begin = |number| self.begin(number, observer);
        match staggered_race(self.targets.len(), self.delay, begin).await {
            Ok((target, socket)) => Ok(Connected { socket, target }),
            Err(Lost::AllFailed(failures)) => Err(Unconnected::Failed(
                failures.into_iter().flatten().collect(),
            )),
            Err(Lost::Stopped(error)) => Err(Unconnected::Stopped(error)),
        }
    }

    /// Begins an attempt: everything up to the wait is done here. An error is the observer's, and ends all attempts.
    fn begin(
        &self,
        number: usize,
        observer: &mut dyn Observer,
    ) -> io::Result<Attempt<Socket, Vec<Failure>>> {
        let mut failures = Failures {
            target: number,
            failures: Vec::new(),
        };
        let target = &self.targets[number];
        match self.call(target, observer, &mut failures)? {
            None => Ok(Box::pin(async { Err(failures.failures) })),
            Some((socket, call)) => {
                let address = target.address.clone();
                Ok(Box::pin(async move {
                    finish(&socket, call, &address).await.map_err(|failure| {
                        failures.add(failure.0, failure.1);
                        failures.failures
                    })?;
                    Ok(socket)
                }))
            }
        }
    }

    /// Opens, binds and connects. `None` if one of these failed.
    fn call(
        &self,
        target: &Target,
        observer: &mut dyn Observer,
        failures: &mut Failures,
    ) -> io::Result<Option<(Socket, Call)>> {
        let opened = observer
            .before_open(target)
            .and_then(|()| sys::socket::open(target.domain, target.kind, target.protocol));
        let Some(fd) = failures.note(Phase::Open, opened)? else {
            return Ok(None);
        };
        let socket = Socket::from_nonblocking(fd);
        if !self.bind(&socket, target, observer, failures)? {
            return Ok(None);
        }
        let called = observer
            .before_connect(socket.as_fd(), target)
            .and_then(|()| connect(&socket, &target.address));
        let call = failures.note(Phase::Connect, called)?;
        Ok(call.map(|call| (socket, call)))
    }

    /// Whether the socket is bound, or need not be.
    fn bind(
        &self,
        socket: &Socket,
        target: &Target,
        observer: &mut dyn Observer,
        failures: &mut Failures,
    ) -> io::Result<bool> {
        let Some(locals) = &self.locals else {
            return Ok(true);
        };
        let mut tried = false;
        for (number, local) in locals.iter().enumerate() {
            if local.domain() != target.domain {
                continue;
            }
            tried = true;
            let bound = observer
                .before_bind(socket.as_fd(), local)
                .and_then(|()| SockRef::from(socket).bind(local));
            if failures.note(Phase::Bind(number), bound)?.is_some() {
                return Ok(true);
            }
        }
        if !tried {
            failures.add(Phase::NoLocal, io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(false)
    }
}

/// What has failed of one attempt.
struct Failures {
    target: usize,
    failures: Vec<Failure>,
}

impl Failures {
    /// Takes note of a failure; passes on what ends everything.
    fn note<T>(&mut self, phase: Phase, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.get_ref().is_some() => Err(error),
            Err(error) => {
                self.add(phase, error);
                Ok(None)
            }
        }
    }

    fn add(&mut self, phase: Phase, error: io::Error) {
        self.failures.push(Failure {
            target: self.target,
            phase,
            error,
        });
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
async fn finish(
    socket: &Socket,
    mut call: Call,
    address: &SockAddr,
) -> Result<(), (Phase, io::Error)> {
    let mut pause = SHORTEST_PAUSE;
    while call == Call::NoRoom {
        time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        call = connect(socket, address).map_err(|error| (Phase::Connect, error))?;
    }
    if call == Call::UnderWay {
        let outcome = socket.io(Direction::Write, outcome).await;
        outcome.map_err(|error| (Phase::Outcome, error))?;
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

impl From<Unconnected> for io::Error {
    /// The only error there is, or one that all of them are; else a [`ConnectError`].
    fn from(unconnected: Unconnected) -> Self {
        let failures = match unconnected {
            Unconnected::Stopped(error) => return error,
            Unconnected::Failed(failures) => failures,
        };
        let mut errors: Vec<io::Error> = failures.into_iter().map(|it| it.error).collect();
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
