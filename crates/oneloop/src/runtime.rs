//! Running: [`run`], [`Builder`], and the host that the engine runs for when there is no Python.
//!
//! The main future stays where the caller put it, so it may borrow the caller's locals; only its *turn* is an entry of the ready ring.
//! However a run ends (value, error, panic), its loop is closed before it returns: every task that it spawned, detached ones too, is
//! dropped on this thread.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::current::{self, Entered};
use crate::driver::Kind;
use crate::event_loop::{EventLoop, Item};
use crate::host::Host;
use crate::inbox::Inbox;
use crate::instant::{self, Instant};
use crate::registry::Direction;
use crate::sys::sigint::Sigint;

/// Runs `future` to completion on a new event loop, on this thread.
///
/// The loop waits with the driver that the environment variable `ONELOOP_DRIVER` names (`epoll` or `portable`), by default the best
/// one that works here. [`Builder`] has more to choose. The future may borrow from its surroundings. When it is done the loop is closed:
/// tasks that are still running are dropped before `run` returns, as `asyncio.run` cancels what is left.
///
/// # Errors
///
/// If another loop runs on this thread already, or if the system refuses what a loop needs (descriptors, above all).
///
/// # Panics
///
/// If the future does. The loop is closed first.
///
/// # Examples
///
/// ```
/// let name = String::from("Asyncio World");
/// let greeting = oneloop::run(async {
///     oneloop::yield_now().await;
///     format!("Hello, {}!", &name)
/// })?;
/// assert_eq!(greeting, "Hello, Asyncio World!");
/// # std::io::Result::Ok(())
/// ```
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    Builder::new().run(future)
}

/// Chooses how a loop runs.
///
/// # Examples
///
/// ```
/// use oneloop::{Builder, DriverKind};
///
/// let sum = Builder::new()
///     .driver(DriverKind::Portable)
///     .run(async { 1 + 1 })?;
/// assert_eq!(sum, 2);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `run` is called"]
pub struct Builder {
    driver: Option<Kind>,
    ctrl_c: bool,
}

impl Builder {
    /// What [`run`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(oneloop::Builder::new().run(async { 7 })?, 7);
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn new() -> Self {
        Self {
            driver: None,
            ctrl_c: false,
        }
    }

    /// Waits with this driver, whatever `ONELOOP_DRIVER` says.
    ///
    /// # Examples
    ///
    /// ```
    /// use oneloop::{Builder, DriverKind};
    ///
    /// let best = Builder::new().driver(DriverKind::Best);
    /// assert_eq!(best.run(async { 7 })?, 7);
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn driver(mut self, kind: Kind) -> Self {
        self.driver = Some(kind);
        self
    }

    /// Whether Ctrl-C (SIGINT) ends the run with an error of kind `Interrupted`, once the step that runs at that moment returns.
    ///
    /// The future and its tasks are dropped before the error is returned, and so get to clean up. A second Ctrl-C ends the process as
    /// usual, so that a program that is stuck can be stopped. Afterwards SIGINT is handled as it was before the run. A process that
    /// ignores SIGINT, as one started in the background by a shell does, goes on ignoring it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::future::pending;
    /// use std::io::ErrorKind;
    ///
    /// match oneloop::Builder::new().ctrl_c(true).run(pending::<()>()) {
    ///     Err(error) if error.kind() == ErrorKind::Interrupted => println!("goodbye"),
    ///     other => other?,
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub const fn ctrl_c(mut self, is_error: bool) -> Self {
        self.ctrl_c = is_error;
        self
    }

    /// Runs `future` to completion on a new event loop: see [`run`].
    ///
    /// # Errors
    ///
    /// As [`run`]; `Interrupted` if the builder was told so by [`Builder::ctrl_c`]; `ResourceBusy` if it was, and a loop on another thread
    /// waits for Ctrl-C already.
    pub fn run<F: Future>(&self, future: F) -> io::Result<F::Output> {
        if current::with(|current| current.is_some()) {
            return Err(io::Error::other(
                "Cannot run the event loop while another loop is running",
            ));
        }
        let kind = match self.driver {
            Some(kind) => kind,
            None => Kind::from_env()?,
        };
        // Dropped after the session: the loop watches its descriptor.
        let ctrl_c = if self.ctrl_c { Sigint::catch()? } else { None };
        let session = Session::start(kind)?;
        if let Some(ctrl_c) = &ctrl_c {
            session
                .event_loop
                .watch(ctrl_c.fd(), Direction::Read, CtrlC)?;
        }
        // Dropped before the session: the main future goes first, while there is still a loop around it.
        let mut main = pin!(future);
        let turn = Arc::new(Turn::new(&session.event_loop));
        let waker = Waker::from(Arc::clone(&turn));
        let mut context = Context::from_waker(&waker);
        let mut output = None;
        turn.wake_by_ref();
        let result = session.event_loop.run_with(|entry| {
            match (entry, &ctrl_c) {
                (Entry::MainTurn, _) => turn.begin(),
                (Entry::CtrlC, Some(ctrl_c)) if !Sigint::is_caught() => {
                    // A forked child has seen its parent's. Its own would have ended it.
                    session.event_loop.unwatch(ctrl_c.fd(), Direction::Read);
                    return Ok(());
                }
                (Entry::CtrlC, _) => {
                    return Err(io::Error::new(
                        io::ErrorKind::Interrupted,
                        "interrupted by Ctrl-C",
                    ));
                }
            }
            if let Poll::Ready(value) = main.as_mut().poll(&mut context) {
                output = Some(value);
                // At the end of this tick, which has no other turn in it: a wake since `begin` is one of the next tick's.
                session.event_loop.stop();
            }
            Ok(())
        });
        match (output, result) {
            (Some(output), _) => Ok(output),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(io::Error::other(
                "Event loop stopped before Future completed.",
            )),
        }
    }
}

/// The loop of one [`Builder::run`]: current for as long as it lasts, and closed at its end.
struct Session {
    event_loop: Rc<EventLoop<RustHost>>,
    // After the loop's closing, so that what is dropped then finds a loop, which refuses its new tasks.
    _entered: Entered,
}

impl Session {
    fn start(kind: Kind) -> io::Result<Self> {
        let event_loop = Rc::new(EventLoop::new(kind, RustHost)?);
        let _entered = current::enter(Rc::clone(&event_loop) as _);
        Ok(Self {
            event_loop,
            _entered,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The only refusal is that of a running loop, and the run is over.
        let _ = self.event_loop.close();
    }
}

/// Whom the engine runs for in a program without Python.
struct RustHost;

/// What the ready ring holds beside the tasks' steps.
enum Entry {
    /// The main future was woken.
    MainTurn,
    /// SIGINT has arrived.
    CtrlC,
}

/// The watch on SIGINT's descriptor.
#[derive(Clone)]
struct CtrlC;

impl Host for RustHost {
    type Entry = Entry;
    type Watch = CtrlC;
    type Error = io::Error;

    fn now(&self) -> io::Result<Instant> {
        Ok(instant::monotonic())
    }

    fn run(&self, _: Entry) -> io::Result<()> {
        // What entries need lives in `Builder::run`, whose own closure runs them; nobody else runs this loop.
        Err(io::Error::other("the main future is not in reach"))
    }

    fn wants_polls(_: &CtrlC) -> bool {
        false
    }

    fn readiness(&self, CtrlC: CtrlC) -> Entry {
        Entry::CtrlC
    }
}

/// The main future's waker: it queues at most one turn at a time.
struct Turn {
    inbox: Arc<Inbox<Item<Entry>>>,
    /// Whether a turn is queued. What was done before a wake has to be seen by the poll that follows, even if that wake found the turn
    /// queued already: hence release by whoever wakes and acquire in `begin`, both as read-modify-write.
    queued: AtomicBool,
}

impl Turn {
    fn new(event_loop: &EventLoop<RustHost>) -> Self {
        Self {
            inbox: Arc::clone(&event_loop.inbox),
            queued: AtomicBool::new(false),
        }
    }

    fn begin(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            // On the loop's own thread too: the inbox is drained before anything is pushed after it, so the order is kept. It refuses
            // only when the loop is closed, and then there is no turn to be had.
            let _ = self.inbox.push(Item::Entry(Entry::MainTurn));
        }
    }
}
