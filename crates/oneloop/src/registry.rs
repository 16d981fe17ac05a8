//! The registry: which descriptor is watched, in which direction, for whom.
//!
//! Readiness comes in batches, so by the time an event is delivered its descriptor may be closed and the number reused. Each slot
//! therefore has a generation, which the event carries in its token: a stale event is recognised and dropped, never delivered to the
//! new owner of the number.
//!
//! A descriptor has one of two kinds of occupant:
//!
//! - **watched** by the host (`add_reader`, push transports): level-triggered, and delivered again for as long as the condition lasts;
//! - **registered** by Rust code through the `Reactor`: edge-triggered, with the readiness remembered here until the code that read
//!   or wrote clears it, so that waiting costs no system call. Who waits is `waiters`' business.
//!
//! As `OwnerCell` asks, no method drops or clones a watch's owner or a waker that is foreign: what is removed is returned. (`W: Clone`
//! is a reference count; see `Host::Watch`.)

mod waiters;

use std::io;
use std::os::fd::RawFd;
use std::task::Waker;

use crate::driver::{Driver, Event, Interest, Mode, Token};
pub use waiters::Seat;
use waiters::Waiters;
pub(crate) use waiters::{Admission, Manner};

/// One of the two directions in which a descriptor can be ready.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Bytes, a connection, an end of file or an error can be read.
    Read,
    /// There is room to write, or an error that a write would report.
    Write,
}

impl Direction {
    const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

    fn other(self) -> Direction {
        match self {
            Direction::Read => Direction::Write,
            Direction::Write => Direction::Read,
        }
    }
}

/// A pair of values, one a direction.
#[derive(Debug, Default)]
struct PerDirection<T> {
    read: T,
    write: T,
}

impl<T> PerDirection<T> {
    fn get(&self, direction: Direction) -> &T {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    fn get_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// What waits for a descriptor.
#[derive(Debug)]
enum Occupant<W> {
    Vacant,
    Watched(PerDirection<Option<W>>),
    Registered(PerDirection<Readiness>),
}

/// What is known of one direction of a registered descriptor, and who waits for it.
#[derive(Debug, Default)]
struct Readiness {
    ready: bool,
    waiters: Waiters,
}

impl Readiness {
    /// Appends to `out` who waited.
    fn set_ready<W>(&mut self, out: &mut Vec<Ready<W>>) {
        self.ready = true;
        out.extend(self.waiters.take_all().map(Ready::Wake));
    }
}

#[derive(Debug)]
struct Slot<W> {
    generation: u32,
    occupant: Occupant<W>,
}

/// Whom an event is for.
#[derive(Debug)]
pub(crate) enum Ready<W> {
    Watch(W),
    Wake(Waker),
}

/// Whether an event found the descriptor that it was meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Delivery {
    Current,
    /// The descriptor was released since. Once is a race; again means that the driver still watches a closed number's file.
    Stale,
}

/// What [`Registry::wait`] did with the waker.
#[derive(Debug)]
#[must_use]
pub(crate) enum Wait {
    /// The direction is ready; the waker comes back.
    Ready(Waker),
    /// The direction is not ready, and this became of the waker.
    Pending(Admission),
    /// The registration is gone; the waker comes back.
    Gone(Waker),
}

/// All descriptors of one loop. `W` is what the host gets back when a watched descriptor is ready.
#[derive(Debug)]
pub(crate) struct Registry<W> {
    /// Indexed by descriptor: numbers are small and dense, so no hash is needed.
    slots: Vec<Slot<W>>,
}

impl<W: Clone> Registry<W> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Watches one direction of `fd` and returns the watch that it replaces.
    ///
    /// # Errors
    ///
    /// The driver's, with the watch given back: the descriptor is closed, or of a kind that cannot be polled (a regular file);
    /// `AlreadyExists` if the descriptor is registered by Rust code; `InvalidInput` if it is negative.
    pub(crate) fn watch(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
        direction: Direction,
        watch: W,
    ) -> Result<Option<W>, (io::Error, W)> {
        if fd < 0 {
            return Err((io::Error::from(io::ErrorKind::InvalidInput), watch));
        }
        let token = self.token_for(fd);
        let result = match self.occupant(fd) {
            Occupant::Registered(_) => Err(taken()),
            Occupant::Vacant => driver.add(fd, token, interest_in(direction), Mode::Level),
            Occupant::Watched(watched) => {
                // Modified even if nothing changes: if the number was closed and reused without our knowing, this finds it out.
                let interest = interest_of(watched).union(interest_in(direction));
                modify_or_add(driver, fd, token, interest)
            }
        };
        match result {
            Err(error) => Err((error, watch)),
            Ok(()) => Ok(self.slot_mut(fd).occupy(direction, watch)),
        }
    }

    /// Ends the watch on one direction of `fd` and returns it. A descriptor that is closed already is no error.
    pub(crate) fn unwatch(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
        direction: Direction,
    ) -> Option<W> {
        let slot = usize::try_from(fd)
            .ok()
            .and_then(|index| self.slots.get_mut(index))?;
        let Occupant::Watched(watched) = &mut slot.occupant else {
            return None;
        };
        let watch = watched.get_mut(direction).take()?;
        let token = token(fd, slot.generation);
        // Errors are ignored: the only ones possible say that the descriptor is closed, and then nothing is watched any more.
        if watched.get(direction.other()).is_some() {
            let _ = driver.modify(fd, token, interest_of(watched), Mode::Level);
        } else {
            slot.vacate();
            let _ = driver.remove(fd);
        }
        Some(watch)
    }

    /// The watch on one direction of `fd`.
    pub(crate) fn watched(&self, fd: RawFd, direction: Direction) -> Option<&W> {
        match self.occupant(fd) {
            Occupant::Watched(watched) => watched.get(direction).as_ref(),
            _ => None,
        }
    }

    /// Registers a descriptor for Rust code, both directions at once, edge-triggered. A watch may stand in its place whose descriptor was
    /// closed without a word, and its number reused: it ends, and comes back with the token.
    ///
    /// # Errors
    ///
    /// As [`Registry::watch`], and `AlreadyExists` if the descriptor is watched or registered.
    pub(crate) fn register(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
    ) -> io::Result<(Token, Vec<W>)> {
        let token = match self.occupant(fd) {
            Occupant::Registered(_) => return Err(taken()),
            Occupant::Vacant => self.token_for(fd),
            Occupant::Watched(_) => self.token_after(fd),
        };
        // Only the driver can tell a watch that lives from one whose file is gone: it refuses to add a file twice.
        match driver.add(fd, token, Interest::BOTH, Mode::Edge) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(taken()),
            result => result?,
        }
        let slot = self.slot_mut(fd);
        let stale = slot.vacate().into_watches();
        slot.occupant = Occupant::Registered(PerDirection::default());
        Ok((token, stale))
    }

    /// The descriptor of a registration.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it has ended.
    pub(crate) fn registered(&self, token: Token) -> io::Result<RawFd> {
        let (index, generation) = parts(token);
        match self.slots.get(index) {
            Some(Slot {
                generation: current,
                occupant: Occupant::Registered(_),
            }) if *current == generation => Ok(fd_of(token)),
            _ => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }

    /// Waits until a registered descriptor is ready in one direction.
    pub(crate) fn wait(
        &mut self,
        token: Token,
        direction: Direction,
        manner: Manner<'_>,
        waker: Waker,
    ) -> Wait {
        match self.readiness(token, direction) {
            None => Wait::Gone(waker),
            Some(state) if state.ready => Wait::Ready(waker),
            Some(state) => Wait::Pending(state.waiters.admit(manner, waker)),
        }
    }

    /// Takes back the seat of a waiting future, and its waker. The registration may have ended.
    pub(crate) fn leave(
        &mut self,
        token: Token,
        direction: Direction,
        seat: Seat,
    ) -> Option<Waker> {
        self.readiness(token, direction)?.waiters.leave(seat)
    }

    /// Whether a registered descriptor is known to be ready: the case in which no waker needs to be cloned.
    pub(crate) fn is_ready(&mut self, token: Token, direction: Direction) -> bool {
        self.readiness(token, direction)
            .is_some_and(|state| state.ready)
    }

    /// Forgets a registered descriptor's readiness, after an operation that would have blocked.
    pub(crate) fn clear(&mut self, token: Token, direction: Direction) {
        if let Some(state) = self.readiness(token, direction) {
            state.ready = false;
        }
    }

    /// Ends a registration and returns who waited for it, to be woken. The driver is told by `release` or `detach`.
    pub(crate) fn deregister(&mut self, token: Token) -> Vec<Waker> {
        // A token is only ever handed out for a registration, and vacating ends its generation.
        match self.current_slot(token).map(Slot::vacate) {
            Some(Occupant::Registered(mut state)) => {
                let readers = state.read.waiters.take_all();
                readers.chain(state.write.waiters.take_all()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Appends to `out` whom an event is for: readers before writers, as asyncio does.
    pub(crate) fn deliver(&mut self, event: Event, out: &mut Vec<Ready<W>>) -> Delivery {
        let Some(slot) = self.current_slot(event.token) else {
            return Delivery::Stale;
        };
        for direction in Direction::BOTH {
            let happened = match direction {
                Direction::Read => event.readable,
                Direction::Write => event.writable,
            };
            if !happened {
                continue;
            }
            match &mut slot.occupant {
                Occupant::Vacant => {}
                Occupant::Watched(watched) => {
                    out.extend(watched.get(direction).clone().map(Ready::Watch));
                }
                Occupant::Registered(state) => {
                    state.get_mut(direction).set_ready(out);
                }
            }
        }
        Delivery::Current
    }

    /// Tells a fresh driver of everything that is watched or registered: after a fork, or to get rid of a closed number's file.
    ///
    /// A descriptor that cannot be added again is closed: its watch stays until its owner removes it, and nothing is delivered for it;
    /// one that is registered becomes ready, so that its owner's next operation reports the error.
    pub(crate) fn restore(&mut self, driver: &mut Driver, out: &mut Vec<Ready<W>>) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Ok(fd) = RawFd::try_from(index) else {
                return;
            };
            let token = token(fd, slot.generation);
            match &mut slot.occupant {
                Occupant::Vacant => {}
                Occupant::Watched(watched) => {
                    let _ = driver.add(fd, token, interest_of(watched), Mode::Level);
                }
                Occupant::Registered(state) => {
                    if driver.add(fd, token, Interest::BOTH, Mode::Edge).is_err() {
                        state.read.set_ready(out);
                        state.write.set_ready(out);
                    }
                }
            }
        }
    }

    /// Takes every watch and every waiter; the driver is about to be dropped with its set.
    pub(crate) fn drain(&mut self) -> Vec<Ready<W>> {
        let mut out = Vec::new();
        for slot in &mut self.slots {
            match slot.vacate() {
                Occupant::Registered(mut state) => {
                    state.read.set_ready(&mut out);
                    state.write.set_ready(&mut out);
                }
                occupant => out.extend(occupant.into_watches().into_iter().map(Ready::Watch)),
            }
        }
        out
    }

    /// Every watch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &W> {
        self.slots
            .iter()
            .filter_map(|slot| match &slot.occupant {
                Occupant::Watched(watched) => Some(watched.read.iter().chain(&watched.write)),
                _ => None,
            })
            .flatten()
    }

    fn slot(&self, fd: RawFd) -> Option<&Slot<W>> {
        self.slots.get(usize::try_from(fd).ok()?)
    }

    fn occupant(&self, fd: RawFd) -> &Occupant<W> {
        self.slot(fd)
            .map_or(&Occupant::Vacant, |slot| &slot.occupant)
    }

    fn token_for(&self, fd: RawFd) -> Token {
        token(fd, self.slot(fd).map_or(0, |slot| slot.generation))
    }

    /// The token for whoever follows the slot's present occupant.
    fn token_after(&self, fd: RawFd) -> Token {
        token(fd, self.slot(fd).map_or(0, Slot::next_generation))
    }

    /// The slot of a descriptor that the driver accepted. Only then may the table grow: any number that a user makes up is refused
    /// before it costs memory.
    fn slot_mut(&mut self, fd: RawFd) -> &mut Slot<W> {
        let index = fd.unsigned_abs() as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || Slot {
                generation: 0,
                occupant: Occupant::Vacant,
            });
        }
        &mut self.slots[index]
    }

    fn current_slot(&mut self, token: Token) -> Option<&mut Slot<W>> {
        let (fd, generation) = parts(token);
        self.slots
            .get_mut(fd)
            .filter(|slot| slot.generation == generation)
    }

    fn readiness(&mut self, token: Token, direction: Direction) -> Option<&mut Readiness> {
        match &mut self.current_slot(token)?.occupant {
            Occupant::Registered(state) => Some(state.get_mut(direction)),
            _ => None,
        }
    }
}

impl<W> Occupant<W> {
    /// The watches, the reader's first.
    fn into_watches(self) -> Vec<W> {
        match self {
            Self::Watched(watched) => watched.read.into_iter().chain(watched.write).collect(),
            _ => Vec::new(),
        }
    }
}

impl<W> Slot<W> {
    /// Sets the watch on one direction and returns the one before it. The caller has excluded a registered occupant.
    fn occupy(&mut self, direction: Direction, watch: W) -> Option<W> {
        match &mut self.occupant {
            Occupant::Watched(watched) => watched.get_mut(direction).replace(watch),
            _ => {
                let mut watched = PerDirection {
                    read: None,
                    write: None,
                };
                *watched.get_mut(direction) = Some(watch);
                self.occupant = Occupant::Watched(watched);
                None
            }
        }
    }

    /// Empties the slot; events that are under way for its occupant are stale from here on.
    fn vacate(&mut self) -> Occupant<W> {
        if !matches!(self.occupant, Occupant::Vacant) {
            self.generation = self.next_generation();
        }
        std::mem::replace(&mut self.occupant, Occupant::Vacant)
    }

    fn next_generation(&self) -> u32 {
        self.generation.wrapping_add(1)
    }
}

fn token(fd: RawFd, generation: u32) -> Token {
    Token(u64::from(generation) << 32 | u64::from(fd.unsigned_abs()))
}

fn parts(token: Token) -> (usize, u32) {
    let fd = token.0 & u64::from(u32::MAX);
    let generation = token.0 >> 32;
    // Both halves are 32 bits wide by construction.
    (fd as usize, generation as u32)
}

/// The descriptor that a token was made for.
fn fd_of(token: Token) -> RawFd {
    // A token is made from a non-negative descriptor.
    parts(token).0 as RawFd
}

fn interest_in(direction: Direction) -> Interest {
    match direction {
        Direction::Read => Interest::READABLE,
        Direction::Write => Interest::WRITABLE,
    }
}

fn interest_of<W>(watched: &PerDirection<Option<W>>) -> Interest {
    Interest {
        readable: watched.read.is_some(),
        writable: watched.write.is_some(),
    }
}

/// Modifies a watched descriptor. If its owner closed it without removing the watch and the number was reused, the driver does not know
/// the new file, which is then added.
fn modify_or_add(
    driver: &mut Driver,
    fd: RawFd,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    match driver.modify(fd, token, interest, Mode::Level) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            driver.add(fd, token, interest, Mode::Level)
        }
        result => result,
    }
}

fn taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "the descriptor is in use by a stream of this loop",
    )
}

#[cfg(test)]
mod tests;
