//! Signals: `add_signal_handler`, and waking the loop for the interpreter's own handlers.
//!
//! CPython's C-level handler sets a flag and writes the signal's number to the wake-up descriptor. Ours is one end of a socket pair
//! whose other end the loop watches: so a signal that arrives between the last check and the wait still ends the wait. It is installed
//! while a loop runs on the main thread, and beyond that while the loop has signal handlers, as asyncio's is. A descriptor that the
//! user had set is put back afterwards, and is fed meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use oneloop::engine::{Direction, EventLoop, Place};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt};

use crate::debug;
use crate::entry::{Entry, RunsEntries, Watch};
use crate::handle::Handle;
use crate::names;
use crate::wakeup;

/// POSIX's numbers, the same on every system that we run on.
const SIGINT: i32 = 2;
const SIG_DFL: i32 = 0;
/// What the kernel answers for SIGKILL and SIGSTOP.
const EINVAL: i32 = 22;

/// The signal side of one loop.
#[derive(Default)]
pub(crate) struct Signals {
    pipe: RefCell<Option<Pipe>>,
    handlers: RefCell<BTreeMap<i32, Handle>>,
    /// Whether the interpreter writes to our pair, or would if another loop's did not cover it.
    installed: Cell<bool>,
}

struct Pipe {
    reader: UnixStream,
    writer: UnixStream,
}

impl Signals {
    /// Installs the wake-up descriptor for a run on the main thread. On another thread it does nothing: signals are not handled there.
    ///
    /// # Errors
    /// Those of the imports, and the engine's for a forked child.
    pub(crate) fn enter_run(
        &self,
        py: Python<'_>,
        engine: &EventLoop<impl RunsEntries>,
    ) -> PyResult<()> {
        engine.renew_after_fork()?;
        if !is_main_thread(py)? {
            return Ok(());
        }
        match self.install(py, engine) {
            // An embedding program's main thread need not be the one that CPython handles signals in; and without a descriptor left, a
            // signal still interrupts a wait, unless it comes in the instant before.
            Err(error)
                if error.is_instance_of::<PyValueError>(py)
                    || error.is_instance_of::<PyOSError>(py) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Puts the wake-up descriptor back, unless handlers of this loop still need ours.
    pub(crate) fn leave_run(&self, py: Python<'_>, engine: &EventLoop<impl RunsEntries>) {
        // Handlers become ready entries for the next run; nothing is left to be taken for a later signal.
        self.drain(py, engine);
        if self.handlers.borrow().is_empty() {
            self.uninstall(py);
        }
    }

    /// Reads what the interpreter wrote and makes the handlers ready. In the loop only.
    ///
    /// # Errors
    /// `OSError` if the pair was made on another thread and cannot be watched.
    pub(crate) fn dispatch(
        &self,
        py: Python<'_>,
        engine: &EventLoop<impl RunsEntries>,
    ) -> PyResult<()> {
        self.watch(engine)?;
        self.drain(py, engine);
        Ok(())
    }

    /// Adds or replaces the handler of a signal, which is made if that is one; follows `asyncio.loop.add_signal_handler`.
    ///
    /// # Errors
    /// `TypeError` for a coroutine or a signal that is no int, `ValueError` for an invalid number, `RuntimeError` outside the main
    /// thread or for a signal that cannot be caught.
    pub(crate) fn add(
        &self,
        engine: &EventLoop<impl RunsEntries>,
        signal: &Bound<'_, PyAny>,
        handle: impl FnOnce() -> PyResult<Handle>,
    ) -> PyResult<()> {
        let py = signal.py();
        let number = check_signal(signal)?;
        let handle = handle()?;
        if !is_main_thread(py)? {
            return Err(PyRuntimeError::new_err(
                "set_wakeup_fd only works in main thread of the main interpreter",
            ));
        }
        engine.renew_after_fork()?;
        self.install(py, engine)
            .map_err(|error| PyRuntimeError::new_err(error.value(py).to_string()))?;
        // A signal that came before is not this handler's.
        self.drain(py, engine);
        let replaced = self.handlers.borrow_mut().insert(number, handle);
        drop(replaced);
        if let Err(error) = catch(py, signal) {
            let removed = self.handlers.borrow_mut().remove(&number);
            drop(removed);
            self.uninstall_if_unused(py, engine);
            return Err(cannot_be_caught(py, error, signal));
        }
        Ok(())
    }

    /// Removes the handler of a signal and restores the default; follows `asyncio.loop.remove_signal_handler`.
    ///
    /// # Errors
    /// As [`Signals::add`].
    pub(crate) fn remove(
        &self,
        py: Python<'_>,
        engine: &EventLoop<impl RunsEntries>,
        signal: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let number = check_signal(signal)?;
        let removed = self.handlers.borrow_mut().remove(&number);
        if removed.is_none() {
            return Ok(false);
        }
        drop(removed);
        release(py, signal).map_err(|error| cannot_be_caught(py, error, signal))?;
        self.uninstall_if_unused(py, engine);
        if engine.is_closed() {
            self.close(py);
        }
        Ok(true)
    }

    /// The signals that have a handler.
    pub(crate) fn handled(&self) -> Vec<i32> {
        self.handlers.borrow().keys().copied().collect()
    }

    /// Gives up the pair once the loop is closed and the last handler is removed.
    pub(crate) fn close(&self, py: Python<'_>) {
        if self.handlers.borrow().is_empty() {
            self.clear(py);
        }
    }

    /// Lets go of everything without touching the process's signal handlers: the loop is closed or collected.
    pub(crate) fn clear(&self, py: Python<'_>) {
        let handlers = self.handlers.take();
        drop(handlers);
        self.uninstall(py);
        let pipe = self.pipe.take();
        if self.installed.get() {
            // Not the main thread: the interpreter goes on writing to it, and nobody else may get its number.
            std::mem::forget(pipe);
        }
    }

    /// Calls `visit` with every handler, for the garbage collector.
    ///
    /// # Errors
    /// The visitor's.
    pub(crate) fn visit<E>(&self, visit: impl FnMut(&Handle) -> Result<(), E>) -> Result<(), E> {
        match self.handlers.try_borrow() {
            Ok(handlers) => handlers.values().try_for_each(visit),
            Err(_) => Ok(()),
        }
    }

    /// In a forked child, replaces the pair that the child shares with its parent.
    pub(crate) fn renew_after_fork(&self, py: Python<'_>, engine: &EventLoop<impl RunsEntries>) {
        let Some(shared) = self.pipe.take() else {
            return;
        };
        drop(engine.unwatch(shared.reader.as_raw_fd(), Direction::Read));
        let was_installed = self.installed.take();
        drop(shared);
        if was_installed && let Err(error) = self.install(py, engine) {
            error.write_unraisable(py, None);
        }
    }

    fn install(&self, py: Python<'_>, engine: &EventLoop<impl RunsEntries>) -> PyResult<()> {
        let fd = self.open(engine)?;
        wakeup::install(py, fd)?;
        self.installed.set(true);
        Ok(())
    }

    fn uninstall_if_unused(&self, py: Python<'_>, engine: &EventLoop<impl RunsEntries>) {
        // A run on this thread, the main one, goes on needing it; a run elsewhere does not.
        if engine.place() != Place::Inside && self.handlers.borrow().is_empty() {
            self.uninstall(py);
        }
    }

    fn uninstall(&self, py: Python<'_>) {
        let fd = self
            .pipe
            .borrow()
            .as_ref()
            .map(|pipe| pipe.writer.as_raw_fd());
        if let Some(fd) = fd.filter(|_| self.installed.get()) {
            self.installed.set(!wakeup::uninstall(py, fd));
        }
    }

    /// The writing end, made and watched at the first need.
    fn open(&self, engine: &EventLoop<impl RunsEntries>) -> PyResult<RawFd> {
        if let Some(pipe) = &*self.pipe.borrow() {
            return Ok(pipe.writer.as_raw_fd());
        }
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let fd = writer.as_raw_fd();
        let replaced = self.pipe.replace(Some(Pipe { reader, writer }));
        drop(replaced);
        if engine.place() == Place::Outside {
            // The main thread may handle signals for a loop that runs elsewhere; watching is that thread's business.
            queue(engine, Entry::Signals);
        } else if let Err(error) = self.watch(engine) {
            drop(self.pipe.take());
            return Err(error);
        }
        Ok(fd)
    }

    /// Has the loop watch the pair, unless it does already.
    fn watch(&self, engine: &EventLoop<impl RunsEntries>) -> PyResult<()> {
        let Some(fd) = self
            .pipe
            .borrow()
            .as_ref()
            .map(|pipe| pipe.reader.as_raw_fd())
        else {
            return Ok(());
        };
        if engine.watched(fd, Direction::Read).is_none() {
            let replaced = engine.watch(fd, Direction::Read, Watch::Signals)?;
            drop(replaced);
        }
        Ok(())
    }

    fn drain(&self, py: Python<'_>, engine: &EventLoop<impl RunsEntries>) {
        let numbers = self.read();
        wakeup::feed_user(&numbers);
        for number in numbers {
            let number = i32::from(number);
            let handle = match self.handlers.borrow().get(&number) {
                Some(handle) => handle.clone_ref(py),
                // No handler of this loop's: the interpreter runs its own.
                None => continue,
            };
            if handle.is_cancelled(py) {
                let signal = number.into_pyobject(py);
                let Ok(signal) = signal;
                if let Err(error) = self.remove(py, engine, &signal.into_any()) {
                    error.write_unraisable(py, None);
                }
            } else {
                queue(engine, Entry::Callback(handle));
            }
        }
    }

    fn read(&self) -> Vec<u8> {
        let mut numbers = Vec::new();
        let pipe = self.pipe.borrow();
        let Some(pipe) = &*pipe else {
            return numbers;
        };
        let mut buffer = [0; 256];
        loop {
            match (&pipe.reader).read(&mut buffer) {
                Ok(0) => return numbers,
                Ok(count) => numbers.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Empty; the descriptor cannot fail otherwise, and a signal is no place to raise.
                Err(_) => return numbers,
            }
        }
    }
}

/// Has [`wakeup::disown_after_fork`] called in every child that Python forks. Called once, by the module's initialization.
///
/// # Errors
/// Those of the import.
pub(crate) fn watch_forks(py: Python<'_>) -> PyResult<()> {
    let keywords = PyDict::new(py);
    keywords.set_item(
        "after_in_child",
        wrap_pyfunction!(wakeup::disown_after_fork, py)?,
    )?;
    let register = py.import("os")?.getattr("register_at_fork")?;
    register.call((), Some(&keywords)).map(drop)
}

/// Makes an entry ready, whichever thread this is: the main one may handle signals for a loop that runs elsewhere.
fn queue(engine: &EventLoop<impl RunsEntries>, entry: Entry) {
    if engine.place() == Place::Outside {
        // Refused by a closed loop only, which has nothing to handle any more.
        drop(engine.push_remote(entry));
    } else {
        engine.push(entry);
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let main = names::main_thread(py)?.call0()?;
    let main: Option<u64> = main.getattr(names::ident(py))?.extract()?;
    Ok(main == Some(debug::thread_id(py)?))
}

/// As asyncio's: the number must be an int and one of the system's signals.
fn check_signal(signal: &Bound<'_, PyAny>) -> PyResult<i32> {
    let py = signal.py();
    if !signal.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "sig must be an int, not {}",
            signal.repr()?
        )));
    }
    if !names::valid_signals(py)?.call0()?.contains(signal)? {
        return Err(PyValueError::new_err(format!(
            "invalid signal number {}",
            signal.str()?
        )));
    }
    signal.extract()
}

/// Has the interpreter catch a signal and do nothing but write its number to the wake-up descriptor.
fn catch(py: Python<'_>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
    names::signal_module(py)?.call_method1(names::signal(py), (signal, noop(py)?))?;
    // Restart system calls of other threads instead of failing them.
    names::siginterrupt(py)?.call1((signal, false))?;
    Ok(())
}

/// Restores a signal's default.
fn release(py: Python<'_>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
    if signal.extract::<i32>()? == SIGINT {
        names::signal_module(py)?
            .call_method1(names::signal(py), (signal, names::default_int_handler(py)?))?;
    } else {
        names::signal_module(py)?.call_method1(names::signal(py), (signal, SIG_DFL))?;
    }
    Ok(())
}

fn cannot_be_caught(py: Python<'_>, error: PyErr, signal: &Bound<'_, PyAny>) -> PyErr {
    let errno = error
        .is_instance_of::<PyOSError>(py)
        .then(|| error.value(py).getattr("errno").ok()?.extract::<i32>().ok())
        .flatten();
    if errno == Some(EINVAL) {
        return PyRuntimeError::new_err(format!("sig {signal} cannot be caught"));
    }
    error
}

fn noop(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static NOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    NOOP.get_or_try_init(py, || {
        let function = wrap_pyfunction!(ignore_signal, py)?;
        Ok(function.into_any().unbind())
    })
    .map(|noop| noop.bind(py))
}

/// The interpreter-level handler of a signal that a loop handles: the loop reads the number from the wake-up descriptor.
#[pyfunction(name = "_ignore_signal")]
fn ignore_signal(_signal: &Bound<'_, PyAny>, _frame: &Bound<'_, PyAny>) {}
