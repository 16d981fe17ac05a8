//! The fast paths for asyncio's `StreamReader`: what a transport has received goes to the reader without a call into Python (here), and
//! whoever reads from it takes it without Python code (`reader`, `reading`, `attempt`).
//!
//! The first is taken for exactly a `StreamReaderProtocol` over exactly a `StreamReader`, as long as nobody has put other methods in the place of
//! those that it stands for, on the classes or on the objects: that is looked at each time. What it does is what they do, in their order; it
//! knows their private names, so [`learn`] makes sure at import that this interpreter's methods use no others. Where anything is unlike that,
//! and with `ONELOOP_FAST_STREAMS=0` in the environment, the protocol's method is called as any other protocol's.

mod attempt;
mod class;
mod reader;
mod reading;

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyInt, PyString, PyType};

use self::class::{Attributes, Class};
use self::reader::expect;
use crate::ffi::{bound_method, bytearray, call, weak};
use crate::names;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_FAST_STREAMS";

/// asyncio's own; `None` inside if they are not what is expected.
static KNOWN: PyOnceLock<Option<Known>> = PyOnceLock::new();

/// asyncio's classes and the methods that the fast path stands for.
struct Known {
    protocol: Class,
    reader: Class,
    data_received: Py<PyAny>,
    stream_reader: Py<PyAny>,
    feed_data: Py<PyAny>,
    wakeup_waiter: Py<PyAny>,
}

/// A reader that has been given bytes; whoever waits for them is to be told.
pub(crate) struct Fed<'py> {
    class: &'py Class,
    reader: Attributes<'py>,
}

/// Whether [`feed`] may take what this protocol is to receive.
pub(crate) fn may_feed(protocol: &Bound<'_, PyAny>) -> bool {
    let known = KNOWN.get(protocol.py()).and_then(Option::as_ref);
    known.is_some_and(|known| known.protocol.is_of(protocol))
}

/// Lets the reader behind a protocol read natively, if both are asyncio's own.
pub(crate) fn adopt(protocol: &Bound<'_, PyAny>) {
    if !may_feed(protocol) {
        return;
    }
    // What goes wrong there (an audit hook, a loop of somebody else's) leaves the reader as it is.
    drop(reader::behind(protocol).map(|reader| reader::give(&reader)));
}

/// Gives the reader behind a protocol what was received, which is not empty. `None` if the protocol's method is to be called instead. Runs no
/// Python code.
#[inline]
pub(crate) fn feed<'py>(protocol: &Bound<'py, PyAny>, data: &[u8]) -> Option<PyResult<Fed<'py>>> {
    let known = KNOWN.get(protocol.py())?.as_ref()?;
    let (class, reader) = known.reader_of(protocol)?;
    let own = class.own(&reader);
    if own.is_none() && !known.has_its_methods(&reader) {
        return None;
    }
    let reader = Attributes::new(reader, own);
    let buffer = buffer_of(&reader)?;
    Some(bytearray::append(&buffer, data).map(|()| Fed { class, reader }))
}

impl Fed<'_> {
    /// Wakes who waits, and pauses the transport if there is more than enough.
    ///
    /// # Errors
    /// What the future or the transport raises.
    pub(crate) fn tell(self) -> PyResult<()> {
        let Fed { class, mut reader } = self;
        let py = reader.py();
        let waiter = reader.get(names::_waiter(py))?;
        if !waiter.is_none() {
            let none = py.None().into_bound(py);
            reader.set(names::_waiter(py), &none)?;
            if !call::method(names::cancelled(py), [&waiter])?.is_truthy()? {
                call::method(names::set_result(py), [&waiter, &none])?;
            }
            reader.renew(class);
        }
        if has_room(&reader) {
            return Ok(());
        }
        let transport = reader.get(names::_transport(py))?;
        if transport.is_none()
            || reader.get(names::_paused(py))?.is_truthy()?
            || !has_enough(&reader)?
        {
            return Ok(());
        }
        let paused = call::method(names::pause_reading(py), [&transport]);
        reader.renew(class);
        match paused {
            Ok(_) => reader.set(names::_paused(py), PyBool::new(py, true).as_any()),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                reader.set(names::_transport(py), &py.None().into_bound(py))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a reader has no more than twice its limit, and that was seen at a glance.
#[inline]
fn has_room(reader: &Attributes<'_>) -> bool {
    let py = reader.py();
    let seen = || {
        let buffer = reader.peek(names::_buffer(py))?;
        let size = buffer.cast_exact::<PyByteArray>().ok()?.len();
        let limit = reader.peek(names::_limit(py))?;
        let limit = limit.cast_exact::<PyInt>().ok()?.extract::<isize>().ok()?;
        Some(size <= usize::try_from(limit).ok()?.saturating_mul(2))
    };
    seen().unwrap_or(false)
}

/// Whether a reader has more than twice its limit.
fn has_enough(reader: &Attributes<'_>) -> PyResult<bool> {
    let py = reader.py();
    let size = reader.get(names::_buffer(py))?.len()?;
    let limit = reader.get(names::_limit(py))?;
    match limit.extract::<isize>() {
        Ok(limit) => Ok(i128::try_from(size).is_ok_and(|size| size > 2 * limit as i128)),
        // Whatever else it is, Python compares with it.
        Err(_) => size.into_pyobject(py)?.gt(limit.mul(2)?),
    }
}

/// The buffer of a reader that is as asyncio's, and not at its end.
#[inline]
fn buffer_of<'py>(reader: &Attributes<'py>) -> Option<Bound<'py, PyByteArray>> {
    let py = reader.py();
    if !reader.get(names::_eof(py)).ok()?.is(PyBool::new(py, false)) {
        return None;
    }
    let buffer = reader.get(names::_buffer(py)).ok()?;
    buffer.cast_into_exact::<PyByteArray>().ok()
}

impl Known {
    /// The reader behind a protocol, if both are asyncio's own, and so are the protocol's methods.
    #[inline]
    fn reader_of<'py>(
        &'py self,
        protocol: &Bound<'py, PyAny>,
    ) -> Option<(&'py Class, Bound<'py, PyAny>)> {
        let py = protocol.py();
        let own = self.protocol.own(protocol);
        if own.is_none() && !self.is_its_protocol(protocol) {
            return None;
        }
        let name = names::_stream_reader_wr(py);
        let reference = Attributes::new(protocol.clone(), own).get(name).ok()?;
        let reader = weak::target(&reference)?;
        let native = reader::known(py).map(reader::Reader::fed);
        let class = native.into_iter().chain([&self.reader]);
        class
            .into_iter()
            .find(|class| class.is_of(&reader))
            .map(|class| (class, reader))
    }

    /// Whether asking a protocol itself finds asyncio's methods.
    fn is_its_protocol(&self, protocol: &Bound<'_, PyAny>) -> bool {
        let py = protocol.py();
        let property = || protocol.get_type().getattr(names::_stream_reader(py)).ok();
        self.protocol.is_of(protocol)
            && is_method(protocol, names::data_received(py), &self.data_received)
            && property().is_some_and(|property| property.is(&self.stream_reader))
    }

    /// The same of a reader.
    fn has_its_methods(&self, reader: &Bound<'_, PyAny>) -> bool {
        let py = reader.py();
        is_method(reader, names::feed_data(py), &self.feed_data)
            && is_method(reader, names::_wakeup_waiter(py), &self.wakeup_waiter)
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
    if let Some(known) = &known {
        let feeding = [
            (names::feed_data(py), &known.feed_data),
            (names::_wakeup_waiter(py), &known.wakeup_waiter),
        ];
        reader::learn(py, &feeding)?;
    }
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
            &[&["_stream_reader_wr"]],
        )?;
        let method = |class: &Bound<'_, PyType>, name, uses| {
            let function = class.getattr(name)?;
            expect(&function, &[uses])?;
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
        let data_received = method(
            protocol,
            names::data_received(py),
            &["_stream_reader", "feed_data"],
        )?;
        let feed_data = method(reader, names::feed_data(py), &feeding)?;
        let wakeup_waiter = method(
            reader,
            names::_wakeup_waiter(py),
            &["_waiter", "cancelled", "set_result"],
        )?;
        let stream_reader = stream_reader.unbind();
        let name = |name: &Bound<'_, PyString>| name.clone().unbind();
        let kept = [
            names::_eof(py),
            names::_buffer(py),
            names::_waiter(py),
            names::_transport(py),
            names::_paused(py),
            names::_limit(py),
        ];
        Ok(Known {
            protocol: Class::new(
                protocol,
                vec![(name(names::data_received(py)), data_received.clone_ref(py))],
                Some((name(names::_stream_reader(py)), stream_reader.clone_ref(py))),
                vec![name(names::_stream_reader_wr(py))],
            ),
            reader: Class::new(
                reader,
                vec![
                    (name(names::feed_data(py)), feed_data.clone_ref(py)),
                    (name(names::_wakeup_waiter(py)), wakeup_waiter.clone_ref(py)),
                ],
                None,
                kept.map(name).into(),
            ),
            data_received,
            stream_reader,
            feed_data,
            wakeup_waiter,
        })
    };
    Ok(known())
}
