//! The registry: which descriptor is watched, in which direction, for whom.
//!
//! Readiness comes in batches, so by the time an event is delivered its descriptor may be closed and the number reused. Each slot
//! therefore has a generation, which the event carries in its token: a stale event is recognised and dropped, never delivered to the
//! new owner of the number.
//!
//! A descriptor has one of two kinds of occupant:
//!
//! - **watched** by the host (`add_reader`, push transports): level-triggered, and delivered again for as long as the condition lasts; or
//!   once (`sock_recv` and its like), after which the driver goes on knowing the descriptor, *parked*: to wait again costs one system call
//!   instead of two, and one that is asked of the descriptor as it is by then, since its owner may have closed it and the number be
//!   another file's. It is one-shot in the kernel, so a file whose number was closed while a duplicate lives on is silent;
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

/// How long a watch lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lasting {
    /// Until it is ended.
    Always,
    /// Until the descriptor is ready. Who gets the event ends it (`Registry::park`).
    Once,
}

/// One direction's watch.
#[derive(Debug)]
struct Watched<W> {
    watch: W,
    lasting: Lasting,
}

/// What waits for a descriptor.
#[derive(Debug)]
enum Occupant<W> {
    Vacant,
    /// Nobody waits. The driver knows the descriptor, if its owner has not closed it since, and says nothing, or one thing more.
    Parked,
    Watched(PerDirection<Option<Watched<W>>>),
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
    /// Whether the driver may know a file by this number that nobody has told it to forget: one that was parked, or closed too early.
    left_behind: bool,
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
        let lasting = Lasting::Always;
        self.put(driver, fd, direction, Watched { watch, lasting })
    }

    /// As [`Registry::watch`], for one event. Whoever gets it calls [`Registry::park`].
    ///
    /// # Errors
    ///
    /// As [`Registry::watch`].
    pub(crate) fn watch_once(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
        direction: Direction,
        watch: W,
    ) -> Result<Option<W>, (io::Error, W)> {
        let lasting = Lasting::Once;
        self.put(driver, fd, direction, Watched { watch, lasting })
    }

    fn put(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
        direction: Direction,
        watched: Watched<W>,
    ) -> Result<Option<W>, (io::Error, W)> {
        if fd < 0 {
            return Err((io::Error::from(io::ErrorKind::InvalidInput), watched.watch));
        }
        let token = self.token_for(fd);
        let alone = (interest_in(direction), mode_of(watched.lasting));
        let result = match self.occupant(fd) {
            Occupant::Registered(_) => Err(taken()),
            Occupant::Vacant => self.add(driver, fd, token, alone).map(|()| true),
            Occupant::Parked => modify_or_add(driver, fd, token, alone),
            Occupant::Watched(present) => {
                // Modified even if nothing changes: if the number was closed and reused without our knowing, this finds it out.
                let other = present.get(direction.other()).as_ref();
                let how = together(direction, watched.lasting, other);
                modify_or_add(driver, fd, token, how)
            }
        };
        match result {
            Err(error) => Err((error, watched.watch)),
            Ok(is_new) => {
                let slot = self.slot_mut(fd);
                slot.left_behind |= is_new && !matches!(slot.occupant, Occupant::Vacant);
                Ok(slot.occupy(direction, watched))
            }
        }
    }

    /// Ends the watch on one direction of `fd` and returns it. A descriptor that is closed already is no error.
    pub(crate) fn unwatch(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
        direction: Direction,
    ) -> Option<W> {
        let slot = self.taken_slot(fd)?;
        let (watched, other) = slot.take_watch(direction)?;
        let token = token(fd, slot.generation);
        // No errors of the caller's: the only ones possible say that the descriptor is closed, and then nothing is watched any more.
        let result = if let Some((interest, mode)) = other {
            driver.modify(fd, token, interest, mode)
        } else {
            slot.vacate();
            driver.remove(fd)
        };
        slot.left_behind |= result.is_err();
        Some(watched.watch)
    }

    /// As [`Registry::unwatch`], after the event of a watch that was for one: the driver says nothing more by itself, so it is left
    /// knowing the descriptor. What is watched for longer is ended.
    pub(crate) fn park(
        &mut self,
        driver: &mut Driver,
        fd: RawFd,
        direction: Direction,
    ) -> Option<W> {
        let slot = self.taken_slot(fd)?;
        if !matches!(
            &slot.occupant,
            Occupant::Watched(PerDirection { read: Some(one), write: None } | PerDirection { read: None, write: Some(one) })
                if one.lasting == Lasting::Once
        ) {
            // The event has silenced the other direction, too, which this sets right.
            return self.unwatch(driver, fd, direction);
        }
        let (watched, _) = slot.take_watch(direction)?;
        slot.occupant = Occupant::Parked;
        slot.left_behind = true;
        Some(watched.watch)
    }

    /// The watch on one direction of `fd`.
    pub(crate) fn watched(&self, fd: RawFd, direction: Direction) -> Option<&W> {
        match self.occupant(fd) {
            Occupant::Watched(watched) => {
                let watched = watched.get(direction).as_ref()?;
                Some(&watched.watch)
            }
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
            Occupant::Parked | Occupant::Watched(_) => self.token_after(fd),
        };
        let how = (Interest::BOTH, Mode::Edge);
        match self.occupant(fd) {
            // Only the driver can tell a watch that lives from one whose file is gone: it refuses to add a file twice.
            Occupant::Watched(_) => match driver.add(fd, token, how.0, how.1) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(taken()),
                result => result?,
            },
            _ => self.add(driver, fd, token, how)?,
        }
        let slot = self.slot_mut(fd);
        let stale = slot.vacate().into_watches();
        slot.left_behind |= !stale.is_empty();
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
                ..
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
                // Parked: what was reported before its watch ended, or of a file that is another by now.
                Occupant::Vacant | Occupant::Parked => {}
                Occupant::Watched(watched) => {
                    let watch = watched.get(direction).as_ref();
                    out.extend(watch.map(|watched| Ready::Watch(watched.watch.clone())));
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
            slot.left_behind = false;
            match &mut slot.occupant {
                Occupant::Vacant => {}
                Occupant::Parked => {
                    slot.vacate();
                }
                Occupant::Watched(watched) => {
                    let (interest, mode) = how_of(watched);
                    let _ = driver.add(fd, token, interest, mode);
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
            .map(|watched| &watched.watch)
    }

    /// Adds a descriptor that nobody waits for. If it was left behind, closed while a duplicate lived on, and has its number back (`dup2`),
    /// the driver still knows it. Not in any other case: what the driver knows beside may be its own.
    fn add(&self, driver: &mut Driver, fd: RawFd, token: Token, how: How) -> io::Result<()> {
        match driver.add(fd, token, how.0, how.1) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && self.slot(fd).is_some_and(|slot| slot.left_behind) =>
            {
                driver.modify(fd, token, how.0, how.1)
            }
            result => result,
        }
    }

    fn slot(&self, fd: RawFd) -> Option<&Slot<W>> {
        self.slots.get(usize::try_from(fd).ok()?)
    }

    fn taken_slot(&mut self, fd: RawFd) -> Option<&mut Slot<W>> {
        self.slots.get_mut(usize::try_from(fd).ok()?)
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
                left_behind: false,
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
            Self::Watched(watched) => {
                let watched = watched.read.into_iter().chain(watched.write);
                watched.map(|watched| watched.watch).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl<W> Slot<W> {
    /// Sets the watch on one direction and returns the one before it. The caller has excluded a registered occupant.
    fn occupy(&mut self, direction: Direction, watch: Watched<W>) -> Option<W> {
        match &mut self.occupant {
            Occupant::Watched(watched) => {
                let replaced = watched.get_mut(direction).replace(watch)?;
                Some(replaced.watch)
            }
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

    /// Takes the watch on one direction, and says how the other one is watched, if it is.
    fn take_watch(&mut self, direction: Direction) -> Option<(Watched<W>, Option<How>)> {
        let Occupant::Watched(watched) = &mut self.occupant else {
            return None;
        };
        let taken = watched.get_mut(direction).take()?;
        let other = direction.other();
        let remaining = watched.get(other).as_ref();
        let how = remaining.map(|watched| (interest_in(other), mode_of(watched.lasting)));
        Some((taken, how))
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

/// What the driver is asked for, and how.
type How = (Interest, Mode);

fn mode_of(lasting: Lasting) -> Mode {
    match lasting {
        Lasting::Always => Mode::Level,
        Lasting::Once => Mode::OneShot,
    }
}

/// How a descriptor is watched whose other direction may be watched as well: the kernel has one mode for both, and what is ready once too
/// often does no harm.
fn together<W>(direction: Direction, lasting: Lasting, other: Option<&Watched<W>>) -> How {
    match other {
        None => (interest_in(direction), mode_of(lasting)),
        Some(other) if other.lasting == lasting => (Interest::BOTH, mode_of(lasting)),
        Some(_) => (Interest::BOTH, Mode::Level),
    }
}

fn how_of<W>(watched: &PerDirection<Option<Watched<W>>>) -> How {
    match (&watched.read, &watched.write) {
        (Some(read), write) => together(Direction::Read, read.lasting, write.as_ref()),
        (None, Some(write)) => together::<W>(Direction::Write, write.lasting, None),
        (None, None) => (Interest::NONE, Mode::OneShot),
    }
}

/// Modifies a descriptor that the driver should know. If its owner closed it without a word and the number was reused, the driver does not
/// know the new file, which is then added: so the answer says.
fn modify_or_add(driver: &mut Driver, fd: RawFd, token: Token, how: How) -> io::Result<bool> {
    match driver.modify(fd, token, how.0, how.1) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            driver.add(fd, token, how.0, how.1).map(|()| true)
        }
        result => result.map(|()| false),
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
