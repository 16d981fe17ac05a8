//! The registry against real descriptors: random watching, registering, closing and reusing of numbers, with both drivers.
//!
//! The model knows what each file could do now (its peer wrote, or closed) and who waits for it. After every poll, what is delivered must be
//! exactly that: nothing missing, nothing to an owner of the past.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use proptest::prelude::*;

use super::{Admission, Delivery, Direction, Manner, Ready, Registry, Seat, Wait};
use crate::driver::{Driver, Event, Events, Kind, Token};

const PLACES: usize = 5;
const POLL: Option<Duration> = Some(Duration::ZERO);

/// What happens next, to the descriptor at a place.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A new pair; a closed one's number comes back.
    Open(usize, Owner),
    /// Removes what stands, then closes: the well-behaved owner.
    Close(usize),
    /// Closes without a word while a watch stands, as a user's program may; the number may come back with the watch still there.
    CloseUnsaid(usize),
    /// The same with a duplicate that keeps the file alive in the driver's set.
    CloseKeepingDuplicate(usize),
    Watch(usize, Direction),
    /// For one event, after which the driver still knows the descriptor.
    WatchOnce(usize, Direction),
    /// Gives the number to a duplicate that an earlier `CloseKeepingDuplicate` left.
    Revive(usize),
    Unwatch(usize, Direction),
    Register(usize),
    Deregister(usize, Ending),
    /// Waits for a direction of a registered descriptor.
    Await(usize, Direction, Waiting),
    /// Reads everything, then clears the readiness, as a stream does.
    ReadDry(usize),
    PeerWrites(usize),
    PeerCloses(usize),
    Poll,
}

/// Who has a new descriptor.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// The user, who removes at last what he has left on its number.
    User,
    /// Rust code, which knows nothing of that and registers it at once.
    Rust,
}

/// How a future waits for a registered descriptor.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Passing,
    Seated,
    GivingUp,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Release,
    Detach,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let place = || 0..PLACES;
    let direction = || prop_oneof![Just(Direction::Read), Just(Direction::Write)];
    let waiting = || {
        prop_oneof![
            Just(Waiting::Passing),
            Just(Waiting::Seated),
            Just(Waiting::GivingUp)
        ]
    };
    let ending = || prop_oneof![Just(Ending::Release), Just(Ending::Detach)];
    prop_oneof![
        4 => (place(), prop_oneof![Just(Owner::User), Just(Owner::Rust)]).prop_map(|(place, owner)| Open(place, owner)),
        2 => place().prop_map(Close),
        1 => place().prop_map(CloseUnsaid),
        1 => place().prop_map(CloseKeepingDuplicate),
        6 => (place(), direction()).prop_map(|(place, direction)| Watch(place, direction)),
        6 => (place(), direction()).prop_map(|(place, direction)| WatchOnce(place, direction)),
        2 => place().prop_map(Revive),
        4 => (place(), direction()).prop_map(|(place, direction)| Unwatch(place, direction)),
        4 => place().prop_map(Register),
        2 => (place(), ending()).prop_map(|(place, ending)| Deregister(place, ending)),
        6 => (place(), direction(), waiting()).prop_map(|(place, direction, waiting)| Await(place, direction, waiting)),
        3 => place().prop_map(ReadDry),
        4 => place().prop_map(PeerWrites),
        1 => place().prop_map(PeerCloses),
        8 => Just(Poll),
    ]
}

/// An open descriptor and what its peer has done to it.
struct File {
    ours: UnixStream,
    peer: Option<UnixStream>,
    readable: bool,
    standing: Standing,
    /// Those of the present registration's waiting futures.
    seats: [Option<Seat>; 2],
}

/// What the registry was told of a descriptor.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Standing {
    Nothing,
    Watched([Option<u32>; 2]),
    Registered(Token),
}

impl File {
    fn open() -> std::io::Result<Self> {
        let (ours, peer) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self {
            ours,
            peer: Some(peer),
            readable: false,
            standing: Standing::Nothing,
            seats: [None; 2],
        })
    }

    fn fd(&self) -> i32 {
        self.ours.as_raw_fd()
    }

    fn can(&self, direction: Direction) -> bool {
        // A peer that has gone is an end of file and a broken pipe, both of which count as ready. Nothing here ever fills a buffer.
        direction == Direction::Write || self.readable || self.peer.is_none()
    }
}

/// Counts how often a registered direction's waiter was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    driver: Driver,
    registry: Registry<u32>,
    files: [Option<File>; PLACES],
    next_watch: u32,
    /// Files whose number was closed under them; they go on being reported, as stale, until the set is made anew.
    zombies: Vec<UnixStream>,
    /// Numbers that were closed with a watch on them. Such a watch is its owner's mistake: it stays on the number, as in asyncio.
    abused: Vec<(i32, [Option<u32>; 2])>,
    ended: Vec<Token>,
    /// The watches that are for one event.
    once: HashSet<u32>,
}

impl Bench {
    fn new(kind: Kind) -> std::io::Result<Self> {
        Ok(Self {
            driver: Driver::new(kind)?,
            registry: Registry::new(),
            files: Default::default(),
            next_watch: 0,
            zombies: Vec::new(),
            abused: Vec::new(),
            ended: Vec::new(),
            once: HashSet::new(),
        })
    }

    fn apply(&mut self, operation: Operation) -> std::io::Result<()> {
        match operation {
            Operation::Open(place, owner) => {
                if self.files[place].is_none() {
                    let mut file = File::open()?;
                    match owner {
                        Owner::User => self.tidy_number(file.fd()),
                        Owner::Rust => self.register_over_what_is_stale(&mut file),
                    }
                    // The peer's number may be one that was closed with a watch on it, and is never watched itself.
                    self.tidy_number(file.peer.as_ref().map_or(-1, AsRawFd::as_raw_fd));
                    self.files[place] = Some(file);
                }
            }
            Operation::Close(place) => {
                if let Some(mut file) = self.files[place].take() {
                    self.forget(&mut file);
                }
            }
            Operation::CloseUnsaid(place) => self.abuse(place, false)?,
            Operation::CloseKeepingDuplicate(place) => self.abuse(place, true)?,
            Operation::Watch(place, direction) => self.watch(place, direction, false),
            Operation::WatchOnce(place, direction) => self.watch(place, direction, true),
            Operation::Revive(place) => self.revive(place)?,
            Operation::Unwatch(place, direction) => self.unwatch(place, direction),
            Operation::Register(place) => self.register(place),
            Operation::Deregister(place, ending) => self.deregister(place, ending)?,
            Operation::Await(place, direction, waiting) => {
                self.wait_for(place, direction, waiting)?;
            }
            Operation::ReadDry(place) => self.read_dry(place),
            Operation::PeerWrites(place) => {
                if let Some(file) = &mut self.files[place]
                    && let Some(peer) = &mut file.peer
                {
                    peer.write_all(b"x")?;
                    file.readable = true;
                }
            }
            Operation::PeerCloses(place) => {
                if let Some(file) = &mut self.files[place] {
                    file.peer = None;
                }
            }
            Operation::Poll => self.poll()?,
        }
        Ok(())
    }

    /// The owner of a closed number removes its watches at last, when the number is about to be somebody else's.
    fn tidy_number(&mut self, fd: i32) {
        let abused = std::mem::take(&mut self.abused);
        for (number, watches) in abused {
            if number != fd {
                self.abused.push((number, watches));
                continue;
            }
            for direction in Direction::BOTH {
                let removed = self.registry.unwatch(&mut self.driver, fd, direction);
                assert_eq!(removed, watches[direction as usize]);
            }
        }
    }

    /// What still stands on the number of a descriptor that is ours from the first goes, and is handed back.
    fn register_over_what_is_stale(&mut self, file: &mut File) {
        let fd = file.fd();
        let of_this = self.abused.extract_if(.., |(number, _)| *number == fd);
        let expected: Vec<u32> = of_this.flat_map(|(_, it)| it).flatten().collect();
        let result = self.registry.register(&mut self.driver, fd);
        let (token, stale) = result.expect("a registration");
        assert_eq!(stale, expected);
        assert!(!self.ended.contains(&token), "a token comes back");
        file.standing = Standing::Registered(token);
    }

    fn forget(&mut self, file: &mut File) {
        match file.standing {
            Standing::Nothing => {}
            Standing::Watched(watches) => {
                for direction in Direction::BOTH {
                    let fd = file.fd();
                    let removed = self.registry.unwatch(&mut self.driver, fd, direction);
                    assert_eq!(removed, watches[direction as usize]);
                }
            }
            Standing::Registered(token) => {
                assert!(self.driver.detach(file.fd()).is_ok());
                self.registry.deregister(token);
                self.ended.push(token);
            }
        }
        file.standing = Standing::Nothing;
    }

    fn abuse(&mut self, place: usize, keep_duplicate: bool) -> std::io::Result<()> {
        // Only the user's own descriptors are watched, or parked, and can be closed like that; what Rust code registered it owns.
        let is_users = |file: &mut File| !matches!(file.standing, Standing::Registered(_));
        let Some(file) = self.files[place].take_if(is_users) else {
            return Ok(());
        };
        if let Standing::Watched(watches) = file.standing {
            self.abused.push((file.fd(), watches));
        }
        if keep_duplicate {
            self.zombies.push(file.ours.try_clone()?);
        }
        Ok(())
    }

    /// An open descriptor is closed as its owner should, and its number is a duplicate's of a file that was closed under its watch.
    fn revive(&mut self, place: usize) -> std::io::Result<()> {
        let Some(mut file) = self.files[place].take() else {
            return Ok(());
        };
        self.forget(&mut file);
        let Some(duplicate) = self.zombies.first() else {
            self.files[place] = Some(file);
            return Ok(());
        };
        rustix::net::shutdown(&file.ours, rustix::net::Shutdown::Both)?;
        let mut number = std::os::fd::OwnedFd::from(file.ours);
        rustix::io::dup2(duplicate, &mut number)?;
        file.ours = number.into();
        // What was written to it is read, and its own peer is gone: it is at its end.
        file.peer = None;
        file.readable = false;
        self.files[place] = Some(file);
        Ok(())
    }

    fn watch(&mut self, place: usize, direction: Direction, once: bool) {
        let Some(file) = &mut self.files[place] else {
            return;
        };
        self.next_watch += 1;
        if once {
            self.once.insert(self.next_watch);
        }
        let put = match once {
            false => Registry::watch,
            true => Registry::watch_once,
        };
        let fd = file.fd();
        let result = put(
            &mut self.registry,
            &mut self.driver,
            fd,
            direction,
            self.next_watch,
        );
        let mut watches = match file.standing {
            Standing::Registered(_) => {
                let (error, watch) = result.expect_err("a stream has it");
                assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
                assert_eq!(watch, self.next_watch);
                return;
            }
            Standing::Watched(watches) => watches,
            Standing::Nothing => [None; 2],
        };
        let replaced = watches[direction as usize].replace(self.next_watch);
        assert_eq!(result.expect("a watch"), replaced);
        file.standing = Standing::Watched(watches);
    }

    fn unwatch(&mut self, place: usize, direction: Direction) {
        let Some(file) = &mut self.files[place] else {
            return;
        };
        let removed = self
            .registry
            .unwatch(&mut self.driver, file.fd(), direction);
        let expected = match &mut file.standing {
            Standing::Watched(watches) => watches[direction as usize].take(),
            _ => None,
        };
        assert_eq!(removed, expected);
        if file.standing == Standing::Watched([None; 2]) {
            file.standing = Standing::Nothing;
        }
    }

    fn register(&mut self, place: usize) {
        let Some(file) = &mut self.files[place] else {
            return;
        };
        let result = self.registry.register(&mut self.driver, file.fd());
        if file.standing == Standing::Nothing {
            let (token, stale) = result.expect("a registration");
            assert!(stale.is_empty());
            assert!(!self.ended.contains(&token), "a token comes back");
            file.standing = Standing::Registered(token);
            file.seats = [None; 2];
        } else {
            let error = result.expect_err("somebody has it");
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        }
    }

    fn deregister(&mut self, place: usize, ending: Ending) -> std::io::Result<()> {
        let is_registered = |file: &mut File| matches!(file.standing, Standing::Registered(_));
        let Some(mut file) = self.files[place].take_if(is_registered) else {
            return Ok(());
        };
        if let Standing::Registered(token) = file.standing {
            match ending {
                Ending::Release => self.driver.release(file.ours.into()),
                Ending::Detach => {
                    assert_eq!(self.driver.detach(file.fd())?, b"");
                    file.standing = Standing::Nothing;
                    self.files[place] = Some(file);
                }
            }
            self.registry.deregister(token);
            self.ended.push(token);
        }
        Ok(())
    }

    fn wait_for(
        &mut self,
        place: usize,
        direction: Direction,
        waiting: Waiting,
    ) -> std::io::Result<()> {
        let Some(file) = &mut self.files[place] else {
            return Ok(());
        };
        let Standing::Registered(token) = file.standing else {
            return Ok(());
        };
        let can = file.can(direction);
        let woken = Arc::new(Woken::default());
        let waker = std::task::Waker::from(Arc::clone(&woken));
        let known = self.registry.is_ready(token, direction);
        assert!(can || !known, "known to be ready, and is not");
        let seat = &mut file.seats[direction as usize];
        let manner = match waiting {
            Waiting::Passing => Manner::Passing,
            Waiting::Seated | Waiting::GivingUp => Manner::Seated(seat),
        };
        match self.registry.wait(token, direction, manner, waker) {
            Wait::Ready(_) => assert!(known),
            Wait::Pending(admission) => {
                assert!(!known);
                if let Admission::Displaced(waker) = admission {
                    waker.wake();
                }
                let gave_up = matches!(waiting, Waiting::GivingUp);
                if gave_up {
                    let seat = seat.take().expect("the seat that was just taken");
                    assert!(self.registry.leave(token, direction, seat).is_some());
                }
                // If it can go on, the next poll says so.
                self.poll()?;
                let is_woken = woken.0.load(Ordering::Relaxed) > 0;
                assert_eq!(is_woken, can && !gave_up);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn read_dry(&mut self, place: usize) {
        let Some(file) = &mut self.files[place] else {
            return;
        };
        // Only then: an edge that has not been reported yet would be cleared before anybody saw it, as no stream does.
        let token = match file.standing {
            Standing::Registered(token) if self.registry.is_ready(token, Direction::Read) => token,
            Standing::Registered(_) => return,
            _ => Token::RESERVED,
        };
        while file.ours.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        file.readable = false;
        if file.peer.is_some() {
            self.registry.clear(token, Direction::Read);
        }
    }

    /// Asks the driver, and compares what is delivered with what is so.
    fn poll(&mut self) -> std::io::Result<()> {
        let mut events = Events::new();
        self.driver.wait(&mut events, POLL)?;
        let mut delivered = Vec::new();
        let mut stale = false;
        for event in events {
            let mut out = Vec::new();
            let delivery = self.registry.deliver(event, &mut out);
            stale |= delivery == Delivery::Stale;
            assert!(delivery == Delivery::Current || out.is_empty());
            delivered.extend(out);
        }
        let mut watches = Vec::new();
        for ready in delivered {
            match ready {
                Ready::Watch(watch) => watches.push(watch),
                Ready::Wake(waker) => waker.wake(),
            }
        }
        self.check_watches(&watches);
        self.park(&watches);
        self.check_registrations();
        self.check_ended();
        assert!(!stale || !self.zombies.is_empty(), "stale without a cause");
        if stale {
            self.renew()?;
        }
        Ok(())
    }

    fn check_watches(&self, delivered: &[u32]) {
        let mut expected = Vec::new();
        for file in self.files.iter().flatten() {
            if let Standing::Watched(watches) = file.standing {
                let able = Direction::BOTH.into_iter().filter(|it| file.can(*it));
                expected.extend(able.filter_map(|direction| watches[direction as usize]));
            }
        }
        for watch in &expected {
            assert!(delivered.contains(watch), "watch {watch} is missing");
        }
        let abused = |watch: &u32| {
            let watches = self.abused.iter().flat_map(|(_, watches)| watches);
            watches.flatten().any(|it| it == watch)
        };
        for watch in delivered {
            // A number that was closed under its watch is reported for as long as the file lives on.
            let excused = abused(watch) && !self.zombies.is_empty();
            assert!(
                expected.contains(watch) || excused,
                "watch {watch} is not due"
            );
        }
    }

    /// Whoever gets the event of a watch that was for one parks it.
    fn park(&mut self, delivered: &[u32]) {
        for file in self.files.iter_mut().flatten() {
            let fd = file.fd();
            let Standing::Watched(watches) = &mut file.standing else {
                continue;
            };
            for direction in Direction::BOTH {
                let due = |watch: &mut u32| delivered.contains(watch) && self.once.contains(watch);
                if let Some(watch) = watches[direction as usize].take_if(due) {
                    let parked = self.registry.park(&mut self.driver, fd, direction);
                    assert_eq!(parked, Some(watch));
                }
            }
            if *watches == [None; 2] {
                file.standing = Standing::Nothing;
            }
        }
    }

    fn check_registrations(&mut self) {
        for place in 0..PLACES {
            if let Some(file) = &self.files[place]
                && let Standing::Registered(token) = file.standing
            {
                for direction in Direction::BOTH {
                    let known = self.registry.is_ready(token, direction);
                    assert_eq!(known, file.can(direction), "{direction:?} after a poll");
                }
            }
        }
    }

    fn check_ended(&mut self) {
        for token in &self.ended {
            assert!(self.registry.registered(*token).is_err());
            for direction in Direction::BOTH {
                assert!(!self.registry.is_ready(*token, direction));
                let waker = std::task::Waker::noop().clone();
                let mut seat = None;
                let manner = Manner::Seated(&mut seat);
                let wait = self.registry.wait(*token, direction, manner, waker);
                assert!(matches!(wait, Wait::Gone(_)));
                assert_eq!(seat, None);
            }
            let event = Event {
                token: *token,
                readable: true,
                writable: true,
            };
            let mut out = Vec::new();
            assert_eq!(self.registry.deliver(event, &mut out), Delivery::Stale);
            assert!(out.is_empty());
        }
    }

    /// What the loop does about a stale event.
    fn renew(&mut self) -> std::io::Result<()> {
        self.driver.abandon_after_fork()?;
        let mut out = Vec::new();
        self.registry.restore(&mut self.driver, &mut out);
        for ready in out {
            if let Ready::Wake(waker) = ready {
                waker.wake();
            }
        }
        // No longer in the set: from here on a stale event would be without a cause, except for a number that stands abused.
        if self.abused.is_empty() {
            self.zombies.clear();
        }
        Ok(())
    }
}

fn keeps_to_the_model(kind: Kind, operations: Vec<Operation>) {
    let mut bench = Bench::new(kind).expect("a driver");
    for operation in operations {
        bench.apply(operation).expect("a system call");
    }
    bench.poll().expect("a last poll");
}

/// The numbers are the process's own: what another test opens meanwhile would take a number that is closed here under a watch.
static NUMBERS: std::sync::Mutex<()> = std::sync::Mutex::new(());

proptest! {
    #[test]
    fn delivers_to_the_present_owner_alone(
        operations in proptest::collection::vec(operation(), 0..120),
    ) {
        let _numbers = NUMBERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        #[cfg(target_os = "linux")]
        keeps_to_the_model(Kind::Epoll, operations.clone());
        keeps_to_the_model(Kind::Portable, operations);
    }
}
