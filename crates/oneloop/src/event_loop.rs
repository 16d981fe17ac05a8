//! `EventLoop`: the parts put together, and what its owner may ask of them.
//!
//! One idea carries it: everything that ever runs is an entry in one ready queue, in the order in which it became ready. Running is in
//! `tick`; this file holds the state, the ways into the queue, the descriptors, and closing.
//!
//! **Ownership.** While a run lasts, the state belongs to the thread that runs; [`EventLoop::place`] tells a caller where it stands, and
//! [`EventLoop::push_remote`] is what any other thread may use. While stopped, the state belongs to whoever calls, one at a time.

mod known;
mod waker;

use std::cell::Cell;
use std::io;
use std::num::NonZero;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use async_task::Runnable;

use self::known::Known;
use crate::blocking::Pool;
use crate::cell::OwnerCell;
use crate::driver::{Driver, Events, Kind, Token};
use crate::executor::Executor;
use crate::host::Host;
use crate::inbox::{Inbox, Rejected};
use crate::instant::Instant;
use crate::reactor::{Reactor, Remote, RemoteCall};
use crate::ready::Ring;
use crate::registry::{Admission, Direction, Manner, Ready, Registry, Seat, Wait};
use crate::sys;
use crate::timers::{TimerKey, Timers};

/// How many calls that block a loop has running at once. They wait for the network more than for a processor, so their number has nothing
/// to do with that of the processors.
const BLOCKING_CALLS: NonZero<usize> = NonZero::new(8).expect("not zero");

/// What the ready ring and the inbox hold.
pub(crate) enum Item<E> {
    /// An entry of the host's.
    Entry(E),
    /// The next step of a Rust task.
    Step(Runnable),
    /// A call that another thread asked for.
    Call(RemoteCall),
}

/// What a timer becomes when it is due.
pub(crate) enum Due<E> {
    Entry(E),
    Wake(Waker),
}

/// Where a caller stands towards a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The loop is not running: it belongs to whoever calls.
    Stopped,
    /// On the thread that runs the loop.
    Inside,
    /// On another thread than the one that runs the loop.
    Outside,
}

/// The driver and what it was told. The driver is absent while a wait has it.
pub(crate) struct Io<W> {
    pub(crate) driver: Option<Driver>,
    pub(crate) registry: Registry<W>,
}

/// One of the registry's ways to watch, and to end a watch.
type WatchBy<W> =
    fn(&mut Registry<W>, &mut Driver, RawFd, Direction, W) -> Result<Option<W>, (io::Error, W)>;
type EndBy<W> = fn(&mut Registry<W>, &mut Driver, RawFd, Direction) -> Option<W>;

/// An event loop that runs for `H`.
pub struct EventLoop<H: Host> {
    pub(crate) host: H,
    pub(crate) ready: OwnerCell<Ring<Item<H::Entry>>>,
    pub(crate) timers: OwnerCell<Timers<Due<H::Entry>>>,
    pub(crate) io: OwnerCell<Io<H::Watch>>,
    pub(crate) inbox: Arc<Inbox<Item<H::Entry>>>,
    remote: Arc<dyn Remote>,
    pub(crate) executor: Executor,
    pool: Pool,
    pub(crate) pacing: Pacing,
    /// Descriptors that need no poll to be found ready.
    pub(crate) known: Known,
    kind: Kind,
    backend: &'static str,
    /// The thread that runs the loop (`sys::thread_token`), zero while stopped. Relaxed everywhere: a thread only ever needs to
    /// recognise its own number, and sees its own writes.
    owner: AtomicUsize,
    /// Set by `stop`, from any thread. Relaxed: it orders nothing but itself.
    pub(crate) stopping: AtomicBool,
    /// Set once by `close`, read from any thread. Relaxed, as the inbox decides under its lock what a late push does.
    closed: AtomicBool,
    /// `sys::fork_generation` when the driver was made.
    generation: Cell<u64>,
    /// The buffers of a tick, kept for their capacity.
    pub(crate) scratch: Scratch<H>,
    /// The last time that the host's clock told without failing, for code that cannot take an error.
    last_now: Cell<Instant>,
}

/// When the loop last polled and last let other threads at the host.
pub(crate) struct Pacing {
    pub(crate) polled_at: Cell<Instant>,
    pub(crate) blocked_at: Cell<Instant>,
    /// Something was registered, connected, closed or written since the last poll, which may have made a descriptor ready.
    pub(crate) dirty: Cell<bool>,
    /// How many watches want a poll on every tick (`Host::wants_polls`).
    pub(crate) prompt_watches: Cell<usize>,
    /// How many watches and registered descriptors a timer must not overtake (`Host::precedes_timers`).
    pub(crate) ahead_of_timers: Cell<usize>,
}

pub(crate) struct Scratch<H: Host> {
    pub(crate) events: OwnerCell<Events>,
    pub(crate) deliveries: OwnerCell<Vec<Ready<H::Watch>>>,
    inbox: OwnerCell<Vec<Item<H::Entry>>>,
}

impl<H: Host> EventLoop<H> {
    /// A loop on the driver that `kind` asks for.
    ///
    /// # Errors
    ///
    /// The driver's: no descriptor left, or a driver that this system does not have.
    pub fn new(kind: Kind, host: H) -> io::Result<Self> {
        Ok(Self::with_driver(Driver::new(kind)?, kind, host))
    }

    /// A loop whose host refers back to it.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::new`].
    pub fn new_cyclic(kind: Kind, host: impl FnOnce(Weak<Self>) -> H) -> io::Result<Rc<Self>> {
        let driver = Driver::new(kind)?;
        Ok(Rc::new_cyclic(|event_loop| {
            Self::with_driver(driver, kind, host(Weak::clone(event_loop)))
        }))
    }

    /// A loop on a driver that exists already, such as a scripted one; `kind` is what replaces it should its thread be lost by a fork.
    pub fn with_driver(driver: Driver, kind: Kind, host: H) -> Self {
        let inbox = Arc::new(Inbox::new(driver.notifier()));
        Self {
            host,
            ready: OwnerCell::new(Ring::new()),
            timers: OwnerCell::new(Timers::new()),
            remote: Arc::clone(&inbox) as Arc<dyn Remote>,
            inbox,
            executor: Executor::new(),
            pool: Pool::new(BLOCKING_CALLS, "oneloop-pool"),
            pacing: Pacing {
                polled_at: Cell::default(),
                blocked_at: Cell::default(),
                dirty: Cell::new(true),
                prompt_watches: Cell::new(0),
                ahead_of_timers: Cell::new(0),
            },
            known: Known::default(),
            kind,
            backend: driver.name(),
            io: OwnerCell::new(Io {
                driver: Some(driver),
                registry: Registry::new(),
            }),
            owner: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            generation: Cell::new(sys::fork_generation()),
            scratch: Scratch {
                events: OwnerCell::default(),
                deliveries: OwnerCell::default(),
                inbox: OwnerCell::default(),
            },
            last_now: Cell::default(),
        }
    }

    /// Who the loop runs for.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The name of the driver.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Where the calling thread stands.
    #[inline]
    pub fn place(&self) -> Place {
        match self.owner.load(Ordering::Relaxed) {
            0 => Place::Stopped,
            owner if owner == sys::thread_token() => Place::Inside,
            _ => Place::Outside,
        }
    }

    /// Whether entries are ready. For the owner.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.with(|ready| ready.is_empty())
    }

    /// Whether [`EventLoop::close`] was called.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Has the current run, or the next one, return at the end of its tick. From any thread; like asyncio's, it does not end a wait.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Appends an entry to the ready ring. For the owner; elsewhere, [`EventLoop::push_remote`].
    #[inline]
    pub fn push(&self, entry: H::Entry) {
        self.push_item(Item::Entry(entry));
    }

    /// Appends an entry to the loop's inbox and ends its wait. From any thread.
    ///
    /// # Errors
    ///
    /// Gives the entry back if the loop is closed.
    pub fn push_remote(&self, entry: H::Entry) -> Result<(), H::Entry> {
        match self.inbox.push(Item::Entry(entry)) {
            Err(Rejected(Item::Entry(entry))) => Err(entry),
            _ => Ok(()),
        }
    }

    /// Arms a timer whose entry becomes ready once `deadline` is reached on the host's clock. For the owner.
    pub fn arm(&self, deadline: Instant, entry: H::Entry) -> TimerKey {
        self.timers
            .with(|timers| timers.arm(deadline, Due::Entry(entry)))
    }

    /// Cancels a timer and gives back its entry, unless it has fired. For the owner.
    pub fn cancel(&self, timer: TimerKey) -> Option<H::Entry> {
        match self.timers.with(|timers| timers.cancel(timer))? {
            Due::Entry(entry) => Some(entry),
            Due::Wake(waker) => {
                drop(waker);
                None
            }
        }
    }

    /// Watches one direction of a descriptor, level-triggered, and returns the watch it replaces. For the owner.
    ///
    /// # Errors
    ///
    /// The driver's (closed, or of a kind that cannot be polled), `AlreadyExists` if a stream of this loop has the descriptor,
    /// `InvalidInput` if it is negative. The watch is dropped, and an earlier one stays.
    pub fn watch(
        &self,
        fd: RawFd,
        direction: Direction,
        watch: H::Watch,
    ) -> io::Result<Option<H::Watch>> {
        self.watch_by(Registry::watch, fd, direction, watch)
    }

    /// As [`EventLoop::watch`], for one event: then whoever gets it calls [`EventLoop::park_if`], and until then nothing more is heard of
    /// that direction. To watch the descriptor in this way again costs half as much as a [`EventLoop::watch`] that is ended. For the owner.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::watch`].
    pub fn watch_once(
        &self,
        fd: RawFd,
        direction: Direction,
        watch: H::Watch,
    ) -> io::Result<Option<H::Watch>> {
        self.watch_by(Registry::watch_once, fd, direction, watch)
    }

    fn watch_by(
        &self,
        put: WatchBy<H::Watch>,
        fd: RawFd,
        direction: Direction,
        watch: H::Watch,
    ) -> io::Result<Option<H::Watch>> {
        self.renew_after_fork()?;
        self.pacing.dirty.set(true);
        let (is_prompt, is_ahead) = (H::wants_polls(&watch), H::precedes_timers(&watch));
        let result = self.io.with(|io| match io.driver.as_mut() {
            Some(driver) => put(&mut io.registry, driver, fd, direction, watch),
            None => Err((self.no_driver(), watch)),
        });
        // The watch of a refusal is dropped here, outside the cell.
        let replaced = result.map_err(|(error, _watch)| error)?;
        if is_prompt {
            self.pacing.prompt_watches.update(|count| count + 1);
        }
        if is_ahead {
            self.pacing.ahead_of_timers.update(|count| count + 1);
        }
        self.discount(replaced.as_ref());
        Ok(replaced)
    }

    /// Ends the watch on one direction of a descriptor and returns it. The descriptor may be closed already. For the owner.
    pub fn unwatch(&self, fd: RawFd, direction: Direction) -> Option<H::Watch> {
        self.renew_after_fork().ok()?;
        let removed = self
            .io
            .with(|io| io.registry.unwatch(io.driver.as_mut()?, fd, direction));
        self.discount(removed.as_ref());
        removed
    }

    /// As [`EventLoop::unwatch`], but only if `is_mine` says that the watch is the caller's: the number may be somebody else's by now.
    /// `is_mine` looks at the watch and calls nobody. For the owner.
    pub fn unwatch_if(
        &self,
        fd: RawFd,
        direction: Direction,
        is_mine: impl FnOnce(&H::Watch) -> bool,
    ) -> Option<H::Watch> {
        self.end_if(Registry::unwatch, fd, direction, is_mine)
    }

    /// As [`EventLoop::unwatch_if`], for a watch of [`EventLoop::watch_once`] that has had its event. For the owner.
    pub fn park_if(
        &self,
        fd: RawFd,
        direction: Direction,
        is_mine: impl FnOnce(&H::Watch) -> bool,
    ) -> Option<H::Watch> {
        self.end_if(Registry::park, fd, direction, is_mine)
    }

    fn end_if(
        &self,
        end: EndBy<H::Watch>,
        fd: RawFd,
        direction: Direction,
        is_mine: impl FnOnce(&H::Watch) -> bool,
    ) -> Option<H::Watch> {
        self.renew_after_fork().ok()?;
        let removed = self.io.with(|io| {
            is_mine(io.registry.watched(fd, direction)?)
                .then(|| end(&mut io.registry, io.driver.as_mut()?, fd, direction))?
        });
        self.discount(removed.as_ref());
        removed
    }

    /// Something was written, shut down or closed outside the engine's own calls, which may have made another descriptor of this
    /// process ready: the next tick polls. For the owner.
    #[inline]
    pub fn note_io(&self) {
        self.pacing.dirty.set(true);
    }

    /// Whoever watches the descriptor ([`EventLoop::watch`]) thinks that it is ready still, having taken only a part of what there was.
    /// The next tick delivers that in the place of the poll that it can then do without; a tick that polls goes by what it is told. To be
    /// wrong costs the watcher a look in vain. For the owner, during a run.
    pub fn note_ready(&self, fd: RawFd, direction: Direction) {
        let is_watched = self.io.with(|io| {
            let watch = io.registry.watched(fd, direction);
            watch.is_some_and(H::precedes_timers)
        });
        if is_watched {
            self.known.note(fd, direction);
        }
    }

    /// The watch on one direction of a descriptor. For the owner.
    pub fn watched(&self, fd: RawFd, direction: Direction) -> Option<H::Watch> {
        self.io
            .with(|io| io.registry.watched(fd, direction).cloned())
    }

    /// Calls `visit` with every entry and every watch that the loop holds, for a garbage collector. What cannot be reached at the
    /// moment is left out. `visit` must not call the loop.
    pub fn visit(&self, mut visit: impl FnMut(Held<'_, H>)) {
        self.ready.try_with(|ready| {
            for item in ready.iter() {
                if let Item::Entry(entry) = item {
                    visit(Held::Entry(entry));
                }
            }
        });
        self.timers.try_with(|timers| {
            for due in timers.iter() {
                if let Due::Entry(entry) = due {
                    visit(Held::Entry(entry));
                }
            }
        });
        self.io.try_with(|io| {
            for watch in io.registry.iter() {
                visit(Held::Watch(watch));
            }
        });
    }

    /// Closes the loop: refuses new tasks and blocking calls; drops every future; drops ring, timers, watches and inbox; then the driver. Everything
    /// foreign is dropped on this thread, outside every cell. A second call does nothing.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if the loop is running.
    pub fn close(&self) -> io::Result<()> {
        if self.place() != Place::Stopped {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.executor.close();
        self.pool.close();
        self.drop_tasks();
        self.drop_queued();
        drop(self.inbox.close());
        // What ran in these drops may have queued more, which is dropped as well.
        while self.drop_queued() {}
        drop(self.io.with(|io| io.driver.take()));
        Ok(())
    }

    /// Counts a watch that has ended. What is known may be of that one.
    fn discount(&self, ended: Option<&H::Watch>) {
        if ended.is_some() {
            self.known.forget();
        }
        if ended.is_some_and(H::wants_polls) {
            self.pacing.prompt_watches.update(|count| count - 1);
        }
        if ended.is_some_and(H::precedes_timers) {
            self.pacing.ahead_of_timers.update(|count| count - 1);
        }
    }

    /// Ends a registration, and counts that it has ended.
    fn deregister(&self, registry: &mut Registry<H::Watch>, token: Token) -> Vec<Waker> {
        if registry.registered(token).is_ok() {
            self.pacing.ahead_of_timers.update(|count| count - 1);
        }
        registry.deregister(token)
    }

    /// Makes this thread the owner.
    pub(crate) fn claim(&self) -> bool {
        self.owner
            .compare_exchange(0, sys::thread_token(), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    pub(crate) fn disclaim(&self) {
        self.owner.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn push_item(&self, item: Item<H::Entry>) {
        // One FIFO: what other threads pushed before this must run before it.
        if self.inbox.has_items() {
            self.drain_inbox();
        }
        self.ready.with(|ready| ready.push(item));
    }

    /// Moves what other threads pushed to the ring.
    pub(crate) fn drain_inbox(&self) {
        let mut items = self.scratch.inbox.take();
        self.inbox.drain(&mut items);
        self.ready.with(|ready| {
            for item in items.drain(..) {
                ready.push(item);
            }
        });
        self.scratch.inbox.with(|scratch| *scratch = items);
    }

    /// In a forked child, replaces what the child would share with its parent. A load and a comparison otherwise.
    ///
    /// # Errors
    ///
    /// No descriptor is left, or a thread that the child does not have held the inbox.
    #[inline]
    pub fn renew_after_fork(&self) -> io::Result<()> {
        let generation = sys::fork_generation();
        if generation == self.generation.get() || self.is_closed() {
            return Ok(());
        }
        self.renew(generation)
    }

    #[cold]
    fn renew(&self, generation: u64) -> io::Result<()> {
        // Not by `place`: a new thread may have got the memory, and so the number, of the one that was lost.
        if !sys::survived_forks(self.generation.get(), self.owner.load(Ordering::Relaxed)) {
            self.disclaim();
        }
        self.rebuild_driver()?;
        self.generation.set(generation);
        self.pool.renew_after_fork();
        self.host.after_fork();
        Ok(())
    }

    /// Gives the loop a fresh set with a fresh notifier, and watches everything again.
    pub(crate) fn rebuild_driver(&self) -> io::Result<()> {
        let mut driver = match self.io.with(|io| io.driver.take()) {
            Some(mut driver) => {
                if let Err(error) = driver.abandon_after_fork() {
                    // No descriptor was left, say. It is as it was before, and this can be tried again.
                    self.io.with(|io| io.driver = Some(driver));
                    return Err(error);
                }
                driver
            }
            // A thread that this process does not have took it into its wait.
            None => Driver::new(self.kind)?,
        };
        if let Err(lost) = self.inbox.replace_after_fork(driver.notifier()) {
            self.io.with(|io| io.driver = Some(driver));
            return Err(lost.into());
        }
        let mut out = Vec::new();
        self.io.with(|io| {
            io.registry.restore(&mut driver, &mut out);
            io.driver = Some(driver);
        });
        for ready in out {
            if let Ready::Wake(waker) = ready {
                waker.wake();
            }
        }
        Ok(())
    }

    /// Drops every task's future, here on the owner's thread.
    fn drop_tasks(&self) {
        while self.executor.live() > 0 {
            let woken = self.executor.wake_all();
            if !self.empty_ring() && woken == 0 {
                // What is left was woken by another thread, which is about to push its step.
                if self.executor.was_forked() {
                    // It may not exist in this process. A leak is better than a hang.
                    return;
                }
                std::thread::yield_now();
            }
        }
    }

    /// Drops everything that is queued, armed and watched; whether there was anything.
    fn drop_queued(&self) -> bool {
        let any_ready = self.empty_ring();
        let timers = self.timers.with(Timers::drain);
        let watches = self.io.with(|io| io.registry.drain());
        any_ready || !timers.is_empty() || !watches.is_empty()
    }

    fn empty_ring(&self) -> bool {
        let mut any = false;
        self.drain_inbox();
        while let Some(item) = self.ready.with(Ring::pop) {
            drop(item);
            any = true;
        }
        any
    }

    fn poll_in(
        &self,
        token: Token,
        direction: Direction,
        manner: Manner<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.io.with(|io| io.registry.is_ready(token, direction)) {
            return Poll::Ready(Ok(()));
        }
        let waker = context.waker().clone();
        let wait = |io: &mut Io<_>| io.registry.wait(token, direction, manner, waker);
        match self.io.with(wait) {
            Wait::Ready(waker) => {
                drop(waker);
                Poll::Ready(Ok(()))
            }
            Wait::Gone(waker) => {
                drop(waker);
                Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected)))
            }
            Wait::Pending(admission) => {
                match admission {
                    Admission::Kept => {}
                    Admission::Spare(waker) => drop(waker),
                    Admission::Displaced(waker) => waker.wake(),
                }
                Poll::Pending
            }
        }
    }

    /// Why there is no driver.
    #[cold]
    fn no_driver(&self) -> io::Error {
        if self.is_closed() {
            return io::Error::other("the event loop is closed");
        }
        // A breach of the ownership rule, answered instead of undefined.
        io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the loop is waiting on another thread",
        )
    }
}

/// What [`EventLoop::visit`] shows.
pub enum Held<'a, H: Host> {
    /// An entry that is ready or waits for its time.
    Entry(&'a H::Entry),
    /// A watch on a descriptor.
    Watch(&'a H::Watch),
}

impl<H: Host> Drop for EventLoop<H> {
    fn drop(&mut self) {
        // A running loop is held by its run, so this can only be a stopped one.
        let _ = self.close();
    }
}

impl<H: Host> Reactor for EventLoop<H> {
    fn now(&self) -> Instant {
        // A clock that fails ends the run at the next tick, which asks it again; a future meanwhile sees the time that was last known.
        if let Ok(now) = self.host.now() {
            self.last_now.set(now);
        }
        self.last_now.get()
    }

    fn arm(&self, deadline: Instant, waker: Waker) -> TimerKey {
        self.timers
            .with(|timers| timers.arm(deadline, Due::Wake(waker)))
    }

    fn cancel(&self, timer: TimerKey) {
        drop(self.timers.with(|timers| timers.cancel(timer)));
    }

    fn register(&self, fd: RawFd) -> io::Result<Token> {
        self.renew_after_fork()?;
        self.pacing.dirty.set(true);
        let (token, stale) = self.io.with(|io| {
            let driver = io.driver.as_mut().ok_or_else(|| self.no_driver())?;
            io.registry.register(driver, fd)
        })?;
        self.pacing.ahead_of_timers.update(|count| count + 1);
        for watch in stale {
            self.discount(Some(&watch));
            self.host.superseded(watch);
        }
        Ok(token)
    }

    fn poll_ready(
        &self,
        token: Token,
        direction: Direction,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_in(token, direction, Manner::Passing, context)
    }

    fn poll_seated(
        &self,
        token: Token,
        direction: Direction,
        seat: &mut Option<Seat>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_in(token, direction, Manner::Seated(seat), context)
    }

    fn leave(&self, token: Token, direction: Direction, seat: Seat) {
        drop(self.io.with(|io| io.registry.leave(token, direction, seat)));
    }

    fn clear(&self, token: Token, direction: Direction) {
        self.io.with(|io| io.registry.clear(token, direction));
    }

    fn read(&self, token: Token, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.with(|io| {
            // A token that has ended must not read from whoever has the number now.
            let fd = io.registry.registered(token)?;
            let driver = io.driver.as_mut().ok_or_else(|| self.no_driver())?;
            driver.read(fd, buffer)
        })
    }

    fn release(&self, token: Token, fd: OwnedFd) {
        self.pacing.dirty.set(true);
        let waiters = self.io.with(|io| {
            if let Some(driver) = io.driver.as_mut() {
                driver.release(fd);
            }
            self.deregister(&mut io.registry, token)
        });
        waiters.into_iter().for_each(Waker::wake);
    }

    fn detach(&self, token: Token) -> io::Result<Vec<u8>> {
        let (waiters, rest) = self.io.with(|io| {
            let rest = io
                .registry
                .registered(token)
                .and_then(|fd| match io.driver.as_mut() {
                    Some(driver) => driver.detach(fd),
                    None => Ok(Vec::new()),
                });
            (self.deregister(&mut io.registry, token), rest)
        });
        waiters.into_iter().for_each(Waker::wake);
        rest
    }

    #[inline]
    fn push(&self, step: Runnable) {
        self.push_item(Item::Step(step));
    }

    fn executor(&self) -> &Executor {
        &self.executor
    }

    fn remote(&self) -> &Arc<dyn Remote> {
        &self.remote
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl<E: Send + 'static> Remote for Inbox<Item<E>> {
    fn push(&self, step: Runnable) -> Result<(), Runnable> {
        match self.push(Item::Step(step)) {
            Err(Rejected(Item::Step(step))) => Err(step),
            _ => Ok(()),
        }
    }

    fn call(&self, call: RemoteCall) -> Result<(), RemoteCall> {
        match self.push(Item::Call(call)) {
            Err(Rejected(Item::Call(call))) => Err(call),
            _ => Ok(()),
        }
    }

    fn wake(&self) {
        self.wake();
    }
}
