//! The fast path for asyncio's `StreamReader`: what a transport has received goes to the reader without a call into Python.
//!
//! It is taken for exactly a `StreamReaderProtocol` over exactly a `StreamReader`, as long as nobody has put other methods in the place of
//! those that it stands for, on the classes or on the objects: that is looked at each time. What it does is what they do, in their order; it
//! knows their private names, so [`learn`] makes sure at import that this interpreter's methods use no others. Where anything is unlike that,
//! and with `ONELOOP_FAST_STREAMS=0` in the environment, the protocol's method is called as any other protocol's.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyString, PyTuple, PyType};

use crate::ffi::{bound_method, bytearray, call, weak};
use crate::names;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_FAST_STREAMS";

/// asyncio's own; `None` inside if they are not what is expected.
static KNOWN: PyOnceLock<Option<Known>> = PyOnceLock::new();

/// asyncio's classes and the methods that the fast path stands for.
struct Known {
    protocol: Py<PyType>,
    reader: Py<PyType>,
    data_received: Py<PyAny>,
    stream_reader: Py<PyAny>,
    feed_data: Py<PyAny>,
    wakeup_waiter: Py<PyAny>,
}

/// A reader that has been given bytes; whoever waits for them is to be told.
pub(crate) struct Fed<'py>(Bound<'py, PyAny>);

/// Whether [`feed`] may take what this protocol is to receive.
pub(crate) fn may_feed(protocol: &Bound<'_, PyAny>) -> bool {
    let known = KNOWN.get(protocol.py()).and_then(Option::as_ref);
    known.is_some_and(|known| protocol.get_type().is(&known.protocol))
}

/// Gives the reader behind a protocol what was received, which is not empty. `None` if the protocol's method is to be called instead. Runs no
/// Python code.
#[inline]
pub(crate) fn feed<'py>(protocol: &Bound<'py, PyAny>, data: &[u8]) -> Option<PyResult<Fed<'py>>> {
    let known = KNOWN.get(protocol.py())?.as_ref()?;
    let reader = known.reader_of(protocol)?;
    let buffer = known.buffer_of(&reader)?;
    Some(bytearray::append(&buffer, data).map(|()| Fed(reader)))
}

impl Fed<'_> {
    /// Wakes who waits, and pauses the transport if there is more than enough.
    ///
    /// # Errors
    /// What the future or the transport raises.
    pub(crate) fn tell(self) -> PyResult<()> {
        let reader = self.0;
        let py = reader.py();
        let waiter = reader.getattr(names::_waiter(py))?;
        if !waiter.is_none() {
            let none = py.None().into_bound(py);
            reader.setattr(names::_waiter(py), &none)?;
            if !call::method(names::cancelled(py), [&waiter])?.is_truthy()? {
                call::method(names::set_result(py), [&waiter, &none])?;
            }
        }
        let transport = reader.getattr(names::_transport(py))?;
        if transport.is_none()
            || reader.getattr(names::_paused(py))?.is_truthy()?
            || !has_enough(&reader)?
        {
            return Ok(());
        }
        match call::method(names::pause_reading(py), [&transport]) {
            Ok(_) => reader.setattr(names::_paused(py), true),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                reader.setattr(names::_transport(py), py.None())
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a reader has more than twice its limit.
fn has_enough(reader: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = reader.py();
    let size = reader.getattr(names::_buffer(py))?.len()?;
    let limit = reader.getattr(names::_limit(py))?;
    match limit.extract::<isize>() {
        Ok(limit) => Ok(i128::try_from(size).is_ok_and(|size| size > 2 * limit as i128)),
        // Whatever else it is, Python compares with it.
        Err(_) => size.into_pyobject(py)?.gt(limit.mul(2)?),
    }
}

impl Known {
    /// The reader behind a protocol, if both are asyncio's own.
    #[inline]
    fn reader_of<'py>(&self, protocol: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let py = protocol.py();
        let class = self.protocol.bind(py);
        if !protocol.get_type().is(class)
            || !is_method(protocol, names::data_received(py), &self.data_received)
            || !class
                .getattr(names::_stream_reader(py))
                .ok()?
                .is(&self.stream_reader)
        {
            return None;
        }
        let reference = protocol.getattr(names::_stream_reader_wr(py)).ok()?;
        weak::target(&reference).filter(|reader| reader.get_type().is(&self.reader))
    }

    /// The buffer of a reader that is as asyncio's, and not at its end.
    #[inline]
    fn buffer_of<'py>(&self, reader: &Bound<'py, PyAny>) -> Option<Bound<'py, PyByteArray>> {
        let py = reader.py();
        if !is_method(reader, names::feed_data(py), &self.feed_data)
            || !is_method(reader, names::_wakeup_waiter(py), &self.wakeup_waiter)
            || !reader
                .getattr(names::_eof(py))
                .ok()?
                .is(PyBool::new(py, false))
        {
            return None;
        }
        let buffer = reader.getattr(names::_buffer(py)).ok()?;
        buffer.cast_into_exact::<PyByteArray>().ok()
    }
}

/// Whether a method of an object is still that function, on its class and on itself.
#[inline]
fn is_method(object: &Bound<'_, PyAny>, name: &Bound<'_, PyString>, function: &Py<PyAny>) -> bool {
    object
        .getattr(name)
        .is_ok_and(|method| bound_method::is_of(&method, function))
}

/// Gets to know asyncio's classes. Called once, by the module's initialization.
///
/// # Errors
/// What importing asyncio raises.
pub(crate) fn learn(py: Python<'_>) -> PyResult<()> {
    let known = match std::env::var_os(SWITCH) {
        Some(value) if value == "0" => None,
        // What is missing there is no error, but another asyncio than the known one.
        _ => known(py)?.ok(),
    };
    KNOWN.get_or_init(py, || known);
    Ok(())
}

/// asyncio's own, if its methods use the names that the fast path uses, and no others.
fn known(py: Python<'_>) -> PyResult<PyResult<Known>> {
    let (protocol, reader) = (
        names::stream_reader_protocol(py)?,
        names::stream_reader_class(py)?,
    );
    let known = || {
        let stream_reader = protocol.getattr(names::_stream_reader(py))?;
        expect(
            &stream_reader.getattr(names::fget(py))?,
            &["_stream_reader_wr"],
        )?;
        let method = |class: &Bound<'_, PyType>, name, uses| {
            let function = class.getattr(name)?;
            expect(&function, uses)?;
            Ok::<_, PyErr>(function.unbind())
        };
        let feeding = [
            "_buffer",
            "extend",
            "_wakeup_waiter",
            "_transport",
            "_paused",
            "len",
            "_limit",
            "pause_reading",
            "NotImplementedError",
        ];
        Ok(Known {
            data_received: method(
                protocol,
                names::data_received(py),
                &["_stream_reader", "feed_data"],
            )?,
            feed_data: method(reader, names::feed_data(py), &feeding)?,
            wakeup_waiter: method(
                reader,
                names::_wakeup_waiter(py),
                &["_waiter", "cancelled", "set_result"],
            )?,
            stream_reader: stream_reader.unbind(),
            protocol: protocol.clone().unbind(),
            reader: reader.clone().unbind(),
        })
    };
    Ok(known())
}

/// Refuses a function that uses other names than these, in that order. (`_eof` is asked for by an assertion, which `-O` leaves out.)
fn expect(function: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<()> {
    let py = function.py();
    let code = function.getattr(names::__code__(py))?;
    let used = code.getattr(names::co_names(py))?.cast_into::<PyTuple>()?;
    let used: Vec<String> = used.extract()?;
    match used.iter().filter(|name| *name != "_eof").eq(names) {
        true => Ok(()),
        false => Err(PyNotImplementedError::new_err(used)),
    }
}
