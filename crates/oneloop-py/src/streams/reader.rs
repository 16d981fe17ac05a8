//! The class that a transport gives asyncio's own `StreamReader` behind its protocol: the same, with native methods to read.
//!
//! The reader stays what it is: an instance of `asyncio.StreamReader` with the same attributes, and nothing of asyncio's is patched. As soon
//! as somebody has put other methods in the place of asyncio's, on the class or on the object, those are what is called: that is looked at
//! each time. So is every call that is not plain: `read()` to the end, a tuple of separators, what is no number of bytes.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString, PySuper, PyTuple, PyType};

use super::attempt::What;
use super::class::Class;
use super::reading;
use crate::ffi::arguments::Arguments;
use crate::ffi::{call, native_method, weak};
use crate::names;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_NATIVE_STREAMS";

/// `None` inside if it is turned off, or asyncio's reader is not what is expected.
static KNOWN: PyOnceLock<Option<Reader>> = PyOnceLock::new();

/// See the module.
pub(super) struct Reader {
    /// As reading needs it.
    class: Class,
    /// As feeding needs it.
    fed: Class,
}

impl Reader {
    pub(super) fn class(&self) -> &Class {
        &self.class
    }

    pub(super) fn fed(&self) -> &Class {
        &self.fed
    }
}

/// The class, if there is one.
#[inline]
pub(super) fn known(py: Python<'_>) -> Option<&'static Reader> {
    KNOWN.get(py)?.as_ref()
}

/// Gives a reader the class, if it is exactly asyncio's and its loop is not in debug mode, where a coroutine is to tell where it was made.
pub(super) fn give(reader: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = reader.py();
    let Some(known) = known(py) else {
        return Ok(());
    };
    if !reader.get_type().is(names::stream_reader_class(py)?) {
        return Ok(());
    }
    let event_loop = reader.getattr(names::_loop(py))?;
    if call::method(names::get_debug(py), [&event_loop])?.is_truthy()? {
        return Ok(());
    }
    reader.setattr(names::__class__(py), known.class.class(py))
}

/// The reader that a protocol refers to.
pub(super) fn behind<'py>(protocol: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let reference = protocol.getattr(names::_stream_reader_wr(protocol.py()));
    weak::target(&reference.ok()?)
}

/// Makes the class. Called once, by the module's initialization.
///
/// # Errors
/// What importing asyncio and building a type raise.
pub(super) fn learn(
    py: Python<'_>,
    feeding: &[(&Bound<'_, PyString>, &Py<PyAny>)],
) -> PyResult<()> {
    let reader = match std::env::var_os(SWITCH) {
        Some(value) if value == "0" => None,
        _ => {
            reading::build(py)?;
            // What is missing there is no error, but another asyncio than the known one.
            made(py, names::stream_reader_class(py)?, feeding).ok()
        }
    };
    KNOWN.get_or_init(py, || reader);
    Ok(())
}

fn made(
    py: Python<'_>,
    base: &Bound<'_, PyType>,
    feeding: &[(&Bound<'_, PyString>, &Py<PyAny>)],
) -> PyResult<Reader> {
    for (name, uses) in USES {
        expect(&base.getattr(*name)?, uses)?;
    }
    let members = PyDict::new(py);
    for name in ["__module__", "__qualname__", "__doc__"] {
        members.set_item(name, base.getattr(name)?)?;
    }
    let class = py
        .get_type::<PyType>()
        .call1((base.name()?, (base,), members))?
        .cast_into::<PyType>()?;
    add_methods(&class)?;
    let own = |name: &Bound<'_, PyString>| {
        Ok::<_, PyErr>((name.clone().unbind(), class.getattr(name)?.unbind()))
    };
    let name = |name: &Bound<'_, PyString>| name.clone().unbind();
    let kept = || {
        [
            names::_eof(py),
            names::_buffer(py),
            names::_waiter(py),
            names::_transport(py),
            names::_paused(py),
            names::_limit(py),
            names::_exception(py),
            names::_loop(py),
        ]
        .map(name)
        .into()
    };
    let above = ["read", "readexactly", "readuntil", "readline"].map(|name| {
        let name = PyString::intern(py, name);
        let function = base.getattr(&name)?.unbind();
        Ok::<_, PyErr>((base.clone().unbind(), name.unbind(), function))
    });
    let above = above.into_iter().collect::<PyResult<Vec<_>>>()?;
    let hidden = vec![
        own(names::_wait_for_data(py))?,
        own(names::_maybe_resume_transport(py))?,
        own(names::readuntil(py))?,
    ];
    let fed = feeding
        .iter()
        .map(|(name, function)| ((*name).clone().unbind(), function.clone_ref(py)))
        .collect();
    Ok(Reader {
        class: Class::new(&class, hidden, None, kept()).given(above),
        fed: Class::new(&class, fed, None, kept()).given(Vec::new()),
    })
}

/// The names that asyncio's methods use, in each of the forms that they have had.
const USES: &[(&str, &[&[&str]])] = &[
    (
        "read",
        &[
            &[
                "_exception",
                "read",
                "_limit",
                "append",
                "join",
                "_buffer",
                "_eof",
                "_wait_for_data",
                "bytes",
                "_maybe_resume_transport",
            ],
            &[
                "_exception",
                "read",
                "_limit",
                "append",
                "join",
                "_buffer",
                "_eof",
                "_wait_for_data",
                "bytes",
                "memoryview",
                "_maybe_resume_transport",
            ],
            &[
                "_exception",
                "bytearray",
                "read",
                "_limit",
                "take_bytes",
                "_buffer",
                "_eof",
                "_wait_for_data",
                "min",
                "len",
                "_maybe_resume_transport",
            ],
        ],
    ),
    (
        "readexactly",
        &[
            &[
                "ValueError",
                "_exception",
                "len",
                "_buffer",
                "_eof",
                "bytes",
                "clear",
                "exceptions",
                "IncompleteReadError",
                "_wait_for_data",
                "_maybe_resume_transport",
            ],
            &[
                "ValueError",
                "_exception",
                "len",
                "_buffer",
                "_eof",
                "bytes",
                "clear",
                "exceptions",
                "IncompleteReadError",
                "_wait_for_data",
                "memoryview",
                "_maybe_resume_transport",
            ],
            &[
                "ValueError",
                "_exception",
                "len",
                "_buffer",
                "_eof",
                "take_bytes",
                "exceptions",
                "IncompleteReadError",
                "_wait_for_data",
                "_maybe_resume_transport",
            ],
        ],
    ),
    (
        "readuntil",
        &[
            &[
                "len",
                "ValueError",
                "_exception",
                "_buffer",
                "find",
                "_limit",
                "exceptions",
                "LimitOverrunError",
                "_eof",
                "bytes",
                "clear",
                "IncompleteReadError",
                "_wait_for_data",
                "_maybe_resume_transport",
            ],
            &[
                "isinstance",
                "tuple",
                "sorted",
                "len",
                "ValueError",
                "_exception",
                "_buffer",
                "find",
                "max",
                "_limit",
                "exceptions",
                "LimitOverrunError",
                "_eof",
                "bytes",
                "clear",
                "IncompleteReadError",
                "_wait_for_data",
                "_maybe_resume_transport",
            ],
            &[
                "isinstance",
                "tuple",
                "sorted",
                "len",
                "ValueError",
                "_exception",
                "_buffer",
                "find",
                "max",
                "_limit",
                "exceptions",
                "LimitOverrunError",
                "_eof",
                "take_bytes",
                "IncompleteReadError",
                "_wait_for_data",
                "_maybe_resume_transport",
            ],
        ],
    ),
    (
        "readline",
        &[&[
            "len",
            "readuntil",
            "exceptions",
            "IncompleteReadError",
            "partial",
            "LimitOverrunError",
            "_buffer",
            "startswith",
            "consumed",
            "clear",
            "_maybe_resume_transport",
            "ValueError",
            "args",
        ]],
    ),
    // Without what an assertion asks for, which `-O` leaves out.
    (
        "_wait_for_data",
        &[&[
            "_waiter",
            "RuntimeError",
            "_paused",
            "_transport",
            "resume_reading",
            "_loop",
            "create_future",
        ]],
    ),
    (
        "_maybe_resume_transport",
        &[&[
            "_paused",
            "len",
            "_buffer",
            "_limit",
            "_transport",
            "resume_reading",
        ]],
    ),
];

/// Refuses a function that uses the names of none of these forms, in that order. (`_eof` is asked for by assertions, which `-O` leaves out.)
pub(super) fn expect(function: &Bound<'_, PyAny>, forms: &[&[&str]]) -> PyResult<()> {
    let py = function.py();
    let code = function.getattr(names::__code__(py))?;
    let used = code.getattr(names::co_names(py))?.cast_into::<PyTuple>()?;
    let used: Vec<String> = used.extract()?;
    let is_form = |form: &&[&str]| {
        let form = form.iter().filter(|name| **name != "_eof");
        used.iter().filter(|name| *name != "_eof").eq(form)
    };
    match forms.iter().any(is_form) {
        true => Ok(()),
        false => Err(PyNotImplementedError::new_err(used)),
    }
}

fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    native_method::add_to(
        class,
        c"read",
        c"read($self, n=-1)\n--\n\nRead up to n bytes, as soon as there are any; all until the end if n is negative.",
        |reader, arguments| {
            let [n] = arguments.bind("StreamReader.read", ["n"], 0)?;
            counted(reader, names::read(reader.py()), n.as_deref(), What::Some)
        },
    )?;
    native_method::add_to(
        class,
        c"readexactly",
        c"readexactly($self, n)\n--\n\nRead exactly n bytes.",
        |reader, arguments| {
            let [n] = arguments.bind("StreamReader.readexactly", ["n"], 1)?;
            counted(
                reader,
                names::readexactly(reader.py()),
                n.as_deref(),
                What::Exactly,
            )
        },
    )?;
    native_method::add_to(
        class,
        c"readuntil",
        c"readuntil($self, separator=b'\\n')\n--\n\nRead until the separator, which is part of the result.",
        |reader, arguments| {
            let [separator] = arguments.bind("StreamReader.readuntil", ["separator"], 0)?;
            until(reader, separator.as_deref())
        },
    )?;
    native_method::add_to(
        class,
        c"readline",
        c"readline($self)\n--\n\nRead until the end of the line, which is part of the result.",
        |reader, arguments: Arguments<'_, '_>| {
            let [] = arguments.bind("StreamReader.readline", [], 0)?;
            match is_known(reader) {
                true => reading::new(reader, What::Line, None),
                false => asyncios(reader, names::readline(reader.py()), None),
            }
        },
    )
}

/// A method that is given a number of bytes.
#[inline]
fn counted<'py>(
    reader: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    n: Option<&Bound<'py, PyAny>>,
    what: fn(usize) -> What,
) -> PyResult<Bound<'py, PyAny>> {
    let count = n.and_then(|n| n.cast_exact::<PyInt>().ok());
    let count = count.and_then(|n| n.extract::<isize>().ok());
    match count {
        Some(count @ 1..) if is_known(reader) => {
            reading::new(reader, what(count.cast_unsigned()), None)
        }
        _ => asyncios(reader, name, n),
    }
}

fn until<'py>(
    reader: &Bound<'py, PyAny>,
    separator: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = reader.py();
    let newline = names::newline(py).as_any();
    let is_plain = |separator: &Bound<'_, PyAny>| {
        let bytes = separator.cast_exact::<PyBytes>();
        bytes.is_ok_and(|bytes| !bytes.as_bytes().is_empty())
    };
    let given = separator.unwrap_or(newline);
    match is_plain(given) && is_known(reader) {
        true => reading::new(reader, What::Until, Some(given.clone())),
        false => asyncios(reader, names::readuntil(py), separator),
    }
}

/// Whether asyncio's methods are the ones that the native ones stand for.
#[inline]
fn is_known(reader: &Bound<'_, PyAny>) -> bool {
    let known = known(reader.py());
    known.is_some_and(|known| known.class.is_of(reader) && known.class.is_as_expected(reader.py()))
}

/// What `asyncio.StreamReader` has by that name, called for the reader.
#[cold]
fn asyncios<'py>(
    reader: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = reader.py();
    let Some(known) = known(py) else {
        return Err(PyNotImplementedError::new_err(()));
    };
    let method = PySuper::new(known.class.class(py), reader)?.getattr(name)?;
    match argument {
        Some(argument) => method.call1((argument,)),
        None => method.call0(),
    }
}
