//! The scripted driver, for tests and simulation: what each wait delivers is written down beforehand, every call is
//! recorded, and nothing ever blocks.
//!
//! Descriptors are numbers here; none is opened, and only `release` closes the one that it was given. Time passes only
//! as far as a wait would have blocked, and [`Script::on_elapse`] is told, so that a manual clock can follow. A wait
//! that would block for ever is an error instead of a hang.
//!
//! Calls that would have cost a syscall are counted exactly, which no real driver can offer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::contract::{Backend, Event, Events, Interest, Mode, Notifier, Notify, Token};

/// See the module.
pub struct Scripted {
    script: Script,
}

/// The test's side of a [`Scripted`] driver: writes the script and reads the record.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<State>>);

/// One call that a driver received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// `add` with its arguments.
    Add(RawFd, Token, Interest, Mode),
    /// `modify` with its arguments.
    Modify(RawFd, Token, Interest, Mode),
    /// `remove`.
    Remove(RawFd),
    /// `wait` with its timeout.
    Wait(Option<Duration>),
    /// `read` with the length of its buffer.
    Read(RawFd, usize),
    /// `release`.
    Release(RawFd),
    /// `detach`.
    Detach(RawFd),
    /// A notification that had to be sent; what coalesced into an earlier one is not recorded.
    Notify,
    /// `abandon_after_fork`.
    Abandon,
}

type Elapse = Box<dyn FnMut(Duration) + Send>;

#[derive(Default)]
struct State {
    waits: VecDeque<Wait>,
    unread: HashMap<RawFd, VecDeque<u8>>,
    registered: HashMap<RawFd, Token>,
    on_elapse: Option<Elapse>,
    notified: bool,
    calls: Vec<Call>,
    syscalls: usize,
}

struct Wait {
    after: Duration,
    outcome: io::Result<Events>,
}

impl Scripted {
    /// A driver with an empty script, and the handle to it.
    pub fn new() -> (Scripted, Script) {
        let script = Script::default();
        (
            Scripted {
                script: script.clone(),
            },
            script,
        )
    }
}

impl Script {
    /// The next wait that has no script yet delivers `events` at once, exactly as they are.
    pub fn deliver(&self, events: impl Into<Events>) {
        self.deliver_after(Duration::ZERO, events);
    }

    /// The next wait that has no script yet delivers `events` after `after`. A wait with a shorter timeout ends without
    /// events, and the rest of the time is left to the following one.
    pub fn deliver_after(&self, after: Duration, events: impl Into<Events>) {
        self.state().waits.push_back(Wait {
            after,
            outcome: Ok(events.into()),
        });
    }

    /// The next wait that has no script yet fails.
    pub fn fail(&self, error: io::Error) {
        self.state().waits.push_back(Wait {
            after: Duration::ZERO,
            outcome: Err(error),
        });
    }

    /// Bytes for `read` and `detach` of `fd`, which otherwise answer `WouldBlock` and nothing.
    pub fn feed(&self, fd: RawFd, bytes: &[u8]) {
        self.state().unread.entry(fd).or_default().extend(bytes);
    }

    /// Calls `f` with the time that a wait would have been blocked, after each wait where that is not zero. It replaces
    /// the one before. It may use this handle.
    pub fn on_elapse(&self, f: impl FnMut(Duration) + Send + 'static) {
        let previous = self.state().on_elapse.replace(Box::new(f));
        drop(previous); // outside the lock: it is the test's code
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Every call since the last time, in order.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// The timeouts of every wait that [`calls`](Script::calls) holds.
    pub fn waits(&self) -> Vec<Option<Duration>> {
        let calls = self.calls();
        calls
            .into_iter()
            .filter_map(|call| match call {
                Call::Wait(timeout) => Some(timeout),
                _ => None,
            })
            .collect()
    }

    /// How many syscalls a readiness driver would have made for the calls so far.
    pub fn syscalls(&self) -> usize {
        self.state().syscalls
    }

    /// How many scripted waits are left.
    pub fn remaining(&self) -> usize {
        self.state().waits.len()
    }

    /// The token under which `fd` is registered.
    pub fn registered(&self, fd: RawFd) -> Option<Token> {
        self.state().registered.get(&fd).copied()
    }

    /// Has the driver forget a descriptor, as a kernel does when somebody closes its file.
    pub fn forget(&self, fd: RawFd) {
        self.state().registered.remove(&fd);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panicking test poisons it; its state is whole all the same, and the message should be the test's own.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapse(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let Some(mut on_elapse) = self.state().on_elapse.take() else {
            return;
        };
        on_elapse(time);
        self.state().on_elapse.get_or_insert(on_elapse);
    }
}

impl State {
    fn record(&mut self, call: Call, syscalls: usize) {
        self.calls.push(call);
        self.syscalls += syscalls;
    }

    /// What the wait ends with, and the time that it takes.
    fn next_wait(&mut self, timeout: Option<Duration>) -> (Duration, io::Result<Events>) {
        let notified = std::mem::take(&mut self.notified);
        let patience = if notified {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        match (self.waits.front_mut(), patience) {
            (Some(next), Some(patience)) if next.after > patience => {
                next.after -= patience;
                (patience, Ok(Events::new()))
            }
            (Some(_), _) => match self.waits.pop_front() {
                Some(next) => (next.after, next.outcome),
                None => (Duration::ZERO, Ok(Events::new())),
            },
            (None, Some(patience)) => (patience, Ok(Events::new())),
            (None, None) => (
                Duration::ZERO,
                Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "the scripted driver has no wait left and would block for ever",
                )),
            ),
        }
    }
}

impl Backend for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(Arc::new(self.script.clone()))
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest, mode: Mode) -> io::Result<()> {
        let mut state = self.script.state();
        state.record(Call::Add(fd, token, interest, mode), 1);
        token.check()?;
        check(fd)?;
        if state.registered.contains_key(&fd) {
            return Err(Errno::EXIST.into());
        }
        state.registered.insert(fd, token);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        let mut state = self.script.state();
        state.record(Call::Modify(fd, token, interest, mode), 1);
        check(fd)?;
        let registered = state.registered.get_mut(&fd).ok_or(Errno::NOENT)?;
        *registered = token.check()?;
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        let mut state = self.script.state();
        state.record(Call::Remove(fd), 1);
        check(fd)?;
        state.registered.remove(&fd).ok_or(Errno::NOENT)?;
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let (elapsed, outcome) = {
            let mut state = self.script.state();
            state.record(Call::Wait(timeout), 1);
            state.next_wait(timeout)
        };
        self.script.elapse(elapsed);
        events.extend::<Vec<Event>>(outcome?);
        Ok(())
    }

    fn read(&mut self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.script.state();
        state.record(Call::Read(fd, buf.len()), 1);
        check(fd)?;
        let Some(unread) = state.unread.get_mut(&fd).filter(|bytes| !bytes.is_empty()) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        io::Read::read(unread, buf)
    }

    fn release(&mut self, fd: OwnedFd) {
        let mut state = self.script.state();
        let number = fd.as_raw_fd();
        let registered = state.registered.remove(&number).is_some();
        state.record(Call::Release(number), 1 + usize::from(registered));
    }

    fn detach(&mut self, fd: RawFd) -> io::Result<Vec<u8>> {
        let mut state = self.script.state();
        let registered = state.registered.remove(&fd).is_some();
        state.record(Call::Detach(fd), usize::from(registered));
        check(fd)?;
        Ok(state.unread.remove(&fd).unwrap_or_default().into())
    }

    fn abandon_after_fork(&mut self) -> io::Result<()> {
        let mut state = self.script.state();
        state.record(Call::Abandon, 0);
        state.registered.clear();
        state.notified = false;
        Ok(())
    }
}

impl Notify for Script {
    fn notify(&self) -> io::Result<()> {
        let mut state = self.state();
        if !std::mem::replace(&mut state.notified, true) {
            state.record(Call::Notify, 1);
        }
        Ok(())
    }
}

/// The kernel's answer to a number that can be no descriptor's.
fn check(fd: RawFd) -> io::Result<()> {
    match fd {
        0.. => Ok(()),
        _ => Err(Errno::BADF.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Driver;

    const EVENT: Event = Event {
        token: Token(1),
        readable: true,
        writable: false,
    };

    fn scripted() -> (Driver, Script) {
        let (scripted, script) = Scripted::new();
        (Driver::Scripted(scripted), script)
    }

    fn wait(driver: &mut Driver, timeout: Option<Duration>) -> io::Result<Events> {
        let mut events = Events::new();
        driver.wait(&mut events, timeout)?;
        Ok(events)
    }

    #[test]
    fn waits_deliver_the_script_in_order_and_fail_at_its_end() -> io::Result<()> {
        let (mut driver, script) = scripted();
        script.deliver([EVENT]);
        script.deliver([]);
        script.fail(Errno::NOMEM.into());
        assert_eq!(wait(&mut driver, None)?, [EVENT]);
        assert_eq!(wait(&mut driver, None)?, []);
        assert!(wait(&mut driver, None).is_err_and(|e| e.raw_os_error().is_some()));
        assert_eq!(script.remaining(), 0);
        assert!(wait(&mut driver, None).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
        Ok(())
    }

    #[test]
    fn time_passes_as_far_as_a_wait_would_have_blocked() -> io::Result<()> {
        let (mut driver, script) = scripted();
        let clock = Arc::new(Mutex::new(Duration::ZERO));
        let now = {
            let clock = clock.clone();
            move || *clock.lock().unwrap_or_else(PoisonError::into_inner)
        };
        script.on_elapse(move |time| {
            *clock.lock().unwrap_or_else(PoisonError::into_inner) += time;
        });
        let millis = Duration::from_millis;
        script.deliver_after(millis(30), [EVENT]);
        assert_eq!(wait(&mut driver, Some(millis(20)))?, []);
        assert_eq!(now(), millis(20));
        script.notify()?;
        assert_eq!(wait(&mut driver, None)?, []);
        assert_eq!(now(), millis(20));
        assert_eq!(wait(&mut driver, Some(millis(20)))?, [EVENT]);
        assert_eq!(now(), millis(30));
        assert_eq!(wait(&mut driver, Some(millis(5)))?, []);
        assert_eq!(now(), millis(35));
        Ok(())
    }

    #[test]
    fn every_call_is_recorded_and_its_syscalls_counted() -> io::Result<()> {
        let (mut driver, script) = scripted();
        let fd = rustix::io::fcntl_dupfd_cloexec(io::stderr(), 0)?;
        let number = fd.as_raw_fd();
        driver.add(number, Token(1), Interest::BOTH, Mode::Level)?;
        driver.modify(number, Token(2), Interest::NONE, Mode::OneShot)?;
        assert_eq!(script.registered(number), Some(Token(2)));
        wait(&mut driver, Some(Duration::ZERO))?;
        driver.notifier().notify()?;
        driver.notifier().notify()?;
        assert_eq!(script.waits(), [Some(Duration::ZERO)]);
        driver.release(fd);
        assert_eq!(script.registered(number), None);
        let expected = [
            Call::Add(number, Token(1), Interest::BOTH, Mode::Level),
            Call::Modify(number, Token(2), Interest::NONE, Mode::OneShot),
            Call::Wait(Some(Duration::ZERO)),
            Call::Notify,
            Call::Release(number),
        ];
        assert_eq!(script.take_calls(), expected);
        assert_eq!(script.calls(), []);
        assert_eq!(script.syscalls(), 6); // release: deregister and close
        Ok(())
    }

    #[test]
    fn what_was_fed_is_read_or_given_back() -> io::Result<()> {
        let (mut driver, script) = scripted();
        let mut buf = [0; 4];
        assert!(
            driver
                .read(5, &mut buf)
                .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        );
        script.feed(5, b"read and rest");
        assert_eq!(driver.read(5, &mut buf)?, 4);
        assert_eq!(&buf, b"read");
        assert_eq!(driver.detach(5)?, b" and rest");
        assert_eq!(driver.detach(5)?, b"");
        Ok(())
    }
}
