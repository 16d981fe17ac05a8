//! Interned strings and cached imports.
//!
//! Every Python name that Rust looks up is spelled here, once. Strings are interned on first use; an
//! import is made on first use and kept for the life of the interpreter. Nothing here is asked for
//! before the module's own import is done, so `asyncio` may import lazily whatever it likes.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

macro_rules! strings {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {$(
        $(#[$attribute])*
        #[doc = concat!("The interned string `", stringify!($name), "`.")]
        pub(crate) fn $name(py: Python<'_>) -> &Bound<'_, PyString> {
            intern!(py, stringify!($name))
        }
    )*};
}

macro_rules! imports {
    ($($name:ident: $type:ty = $module:literal, $attribute:literal;)*) => {$(
        #[doc = concat!("`", $module, ".", $attribute, "`.")]
        ///
        /// # Errors
        /// `ImportError` or `AttributeError` if the interpreter does not have it.
        pub(crate) fn $name(py: Python<'_>) -> PyResult<&Bound<'_, $type>> {
            static CACHE: PyOnceLock<Py<$type>> = PyOnceLock::new();
            CACHE.import(py, $module, $attribute)
        }
    )*};
}

strings! {
    __code__,
    __init__,
    __module__,
    __new__,
    __self__,
    _asyncgen_finalizer_hook,
    _asyncgen_firstiter_hook,
    _asyncio_future_blocking,
    _attach,
    _buffer,
    _call_connection_lost,
    _callback,
    _check_handshake_timeout,
    _check_shutdown_timeout,
    _clients,
    _detach,
    _eof,
    _force_close,
    _get_running_loop,
    _is_debug_mode,
    _limit,
    _log_destroy_pending,
    _must_cancel,
    _paused,
    _proceed,
    _read_ready,
    _sendto_ready,
    _set_running_loop,
    _sockets,
    _source_traceback,
    _stream_reader,
    _stream_reader_wr,
    _transport,
    _waiter,
    _wakeup_waiter,
    _warn_unawaited_coroutine,
    _write_ready,
    abort,
    accept,
    add_done_callback,
    buffer_updated,
    call_at,
    call_exception_handler,
    call_later,
    call_soon,
    call_soon_threadsafe,
    cancel,
    cancelled,
    cast,
    check_hostname,
    cipher,
    close,
    co_filename,
    co_name,
    co_names,
    compression,
    connect,
    connection_lost,
    connection_made,
    context,
    coro,
    create_default_context,
    create_future,
    data_received,
    datagram_received,
    debug,
    detach,
    do_handshake,
    done,
    eof_received,
    errno,
    error_received,
    exc_info,
    exception,
    f_back,
    f_code,
    f_lineno,
    family,
    feed_data,
    fget,
    fileno,
    get_buffer,
    get_debug,
    get_extra_info,
    getpeercert,
    getpeername,
    getsockname,
    getsockopt,
    gettimeout,
    handle,
    ident,
    info,
    is_closing,
    logger,
    message,
    name,
    pause_reading,
    pause_writing,
    peercert,
    peername,
    pending,
    pipe,
    proto,
    read,
    recv,
    recv_into,
    recvfrom,
    recvfrom_into,
    release,
    remove_done_callback,
    result,
    resume_reading,
    resume_writing,
    run,
    run_forever,
    send,
    sendto,
    server_hostname,
    server_side,
    set,
    set_exception,
    set_name,
    set_result,
    setblocking,
    signal,
    socket,
    sockname,
    source,
    source_traceback,
    ssl,
    ssl_object,
    sslcontext,
    #[cfg(Py_3_15)]
    take_bytes,
    time,
    tobytes,
    unwrap,
    wait,
    warn_on_full_buffer,
    warning,
    wrap_bio,
    write,
    __class__,
    __context__,
    _exception,
    _loop,
    _maybe_resume_transport,
    _wait_for_data,
    readexactly,
    readline,
    readuntil,
}

/// The module `signal`, in which people replace the function of that name.
///
/// # Errors
/// `ImportError`.
pub(crate) fn signal_module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(signal(py))
}

/// The interned string `Task`, no name for a function in Rust.
pub(crate) fn task(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "Task")
}

/// The interned string `SSLSocket`, no name for a function in Rust.
pub(crate) fn ssl_socket(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "SSLSocket")
}

/// The interned string `type`, a keyword of Rust's.
pub(crate) fn r#type(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "type")
}

/// The interned string `loop`, a keyword of Rust's.
pub(crate) fn r#loop(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "loop")
}

imports! {
    handle_class: PyType = "asyncio", "Handle";
    timer_handle_class: PyType = "asyncio", "TimerHandle";
    datagram_transport_class: PyType = "asyncio", "DatagramTransport";
    transport_class: PyType = "asyncio", "Transport";
    read_transport_class: PyType = "asyncio", "ReadTransport";
    write_transport_class: PyType = "asyncio", "WriteTransport";
    buffered_protocol: PyType = "asyncio", "BufferedProtocol";
    stream_reader_class: PyType = "asyncio", "StreamReader";
    incomplete_read_error: PyAny = "asyncio", "IncompleteReadError";
    limit_overrun_error: PyAny = "asyncio", "LimitOverrunError";
    stream_reader_protocol: PyType = "asyncio", "StreamReaderProtocol";
    socket_class: PyAny = "socket", "socket";
    ipv4_family: PyAny = "socket", "AF_INET";
    ipv6_family: PyAny = "socket", "AF_INET6";
    stream_kind: PyAny = "socket", "SOCK_STREAM";
    datagram_kind: PyAny = "socket", "SOCK_DGRAM";
    raw_kind: PyAny = "socket", "SOCK_RAW";
    inet_ntop: PyAny = "socket", "inet_ntop";
    sol_socket: PyAny = "socket", "SOL_SOCKET";
    so_error: PyAny = "socket", "SO_ERROR";
    warn: PyAny = "warnings", "warn";
    extract_stack: PyAny = "asyncio.format_helpers", "extract_stack";
    strerror: PyAny = "os", "strerror";
    task_class: PyType = "asyncio", "Task";
    future_class: PyType = "asyncio", "Future";
    isfuture: PyAny = "asyncio", "isfuture";
    ensure_future: PyAny = "asyncio", "ensure_future";
    iscoroutine: PyAny = "asyncio", "iscoroutine";
    run_until_complete_cb: PyAny = "asyncio.base_events", "_run_until_complete_cb";
    // Modules whose attributes are looked up when they are used, as asyncio's loop does: people replace them, in tests above all.
    base_events: PyAny = "asyncio", "base_events";
    coroutines: PyAny = "asyncio", "coroutines";
    events: PyAny = "asyncio", "events";
    tasks: PyAny = "asyncio", "tasks";
    transport_socket_class: PyAny = "asyncio.trsock", "TransportSocket";
    debug_stack_depth: PyAny = "asyncio.constants", "DEBUG_STACK_DEPTH";
    event_class: PyAny = "threading", "Event";
    get_ident: PyAny = "threading", "get_ident";
    main_thread: PyAny = "threading", "main_thread";
    get_asyncgen_hooks: PyAny = "sys", "get_asyncgen_hooks";
    set_asyncgen_hooks: PyAny = "sys", "set_asyncgen_hooks";
    get_origin_depth: PyAny = "sys", "get_coroutine_origin_tracking_depth";
    set_origin_depth: PyAny = "sys", "set_coroutine_origin_tracking_depth";
    constants: PyAny = "asyncio", "constants";
    cancelled_error: PyAny = "asyncio", "CancelledError";
    memory_bio: PyAny = "ssl", "MemoryBIO";
    ssl_error: PyAny = "ssl", "SSLError";
    ssl_certificate_error: PyAny = "ssl", "CertificateError";
    ssl_want_read_error: PyAny = "ssl", "SSLWantReadError";
    ssl_syscall_error: PyAny = "ssl", "SSLSyscallError";
    valid_signals: PyAny = "signal", "valid_signals";
    set_wakeup_fd: PyAny = "signal", "set_wakeup_fd";
    siginterrupt: PyAny = "signal", "siginterrupt";
    default_int_handler: PyAny = "signal", "default_int_handler";
}

/// `b"\n"`.
pub(crate) fn newline(py: Python<'_>) -> &Bound<'_, PyBytes> {
    static CACHE: PyOnceLock<Py<PyBytes>> = PyOnceLock::new();
    CACHE
        .get_or_init(py, || PyBytes::new(py, b"\n").unbind())
        .bind(py)
}

/// The module `warnings`, not cached: what asks for it may be the last to go.
///
/// # Errors
/// `ImportError` while the interpreter goes down.
pub(crate) fn warnings(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "warnings"))
}

/// `_socket.socket.fileno`, which real sockets inherit.
///
/// # Errors
/// `ImportError` or `AttributeError`.
pub(crate) fn socket_fileno(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CACHE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = CACHE.get_or_try_init(py, || {
        let class = py.import("_socket")?.getattr("socket")?;
        PyResult::Ok(class.getattr(fileno(py))?.unbind())
    })?;
    Ok(found.bind(py))
}

/// asyncio's logger, by the name under which asyncio's loop logs: it is there that people replace it.
///
/// # Errors
/// `ImportError` or `AttributeError`.
pub(crate) fn current_logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    base_events(py)?.getattr(logger(py))
}

/// The interned string `SSL_HANDSHAKE_TIMEOUT`.
pub(crate) fn ssl_handshake_timeout(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "SSL_HANDSHAKE_TIMEOUT")
}

/// The interned string `SSL_SHUTDOWN_TIMEOUT`.
pub(crate) fn ssl_shutdown_timeout(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "SSL_SHUTDOWN_TIMEOUT")
}

/// asyncio's private mark of a transport whose `sendfile` reads and writes.
///
/// # Errors
/// `ImportError` or `AttributeError`.
pub(crate) fn sendfile_fallback(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CACHE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    sendfile_mode(py, &CACHE, intern!(py, "FALLBACK"))
}

/// asyncio's private mark of a transport whose `sendfile` is the system's.
///
/// # Errors
/// `ImportError` or `AttributeError`.
pub(crate) fn sendfile_native(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CACHE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    sendfile_mode(py, &CACHE, intern!(py, "TRY_NATIVE"))
}

fn sendfile_mode<'py>(
    py: Python<'py>,
    cache: &'static PyOnceLock<Py<PyAny>>,
    name: &Bound<'py, PyString>,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let mode = cache.get_or_try_init(py, || {
        let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
        PyResult::Ok(modes.getattr(name)?.unbind())
    })?;
    Ok(mode.bind(py))
}

/// `("loop",)`, the keyword that tasks and futures are made with.
pub(crate) fn loop_keyword(py: Python<'_>) -> PyResult<&Bound<'_, PyTuple>> {
    static CACHE: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let tuple = CACHE.get_or_try_init(py, || PyTuple::new(py, [r#loop(py)]).map(Bound::unbind))?;
    Ok(tuple.bind(py))
}

/// The kind of handle that asyncio makes in `call_soon_threadsafe`, where it has one of its own (3.14).
///
/// # Errors
/// `ImportError`.
pub(crate) fn thread_safe_handle_class(py: Python<'_>) -> PyResult<Option<&Bound<'_, PyType>>> {
    static CACHE: PyOnceLock<Option<Py<PyType>>> = PyOnceLock::new();
    let found = CACHE.get_or_try_init(py, || {
        let events = py.import("asyncio.events")?;
        let class = events.getattr_opt(intern!(py, "_ThreadSafeHandle"))?;
        PyResult::Ok(match class {
            Some(class) => Some(class.cast_into::<PyType>()?.unbind()),
            None => None,
        })
    })?;
    Ok(found.as_ref().map(|class| class.bind(py)))
}

/// asyncio's own test for coroutine functions, which is `inspect`'s from 3.14 on (asyncio's is deprecated there).
///
/// # Errors
/// `ImportError`.
pub(crate) fn iscoroutinefunction(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CACHE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let module = if cfg!(Py_3_14) { "inspect" } else { "asyncio" };
    CACHE.import(py, module, "iscoroutinefunction")
}

/// asyncio's description of a callback and where it is defined: `(callback, args) -> str`, with `debug` as a
/// keyword where the interpreter has it (it then hides arguments outside debug mode).
pub(crate) struct CallbackFormat {
    pub(crate) function: Py<PyAny>,
    pub(crate) takes_debug: bool,
}

/// The private helper behind asyncio's "Exception in callback …", or `None` where it is gone.
pub(crate) fn callback_format(py: Python<'_>) -> Option<&'static CallbackFormat> {
    static CACHE: PyOnceLock<Option<CallbackFormat>> = PyOnceLock::new();
    CACHE
        .get_or_init(py, || find_callback_format(py).ok())
        .as_ref()
}

fn find_callback_format(py: Python<'_>) -> PyResult<CallbackFormat> {
    let function = py
        .import("asyncio.format_helpers")?
        .getattr("_format_callback_source")?;
    let defaults = function.getattr("__kwdefaults__")?;
    let takes_debug = match defaults.cast::<PyDict>() {
        Ok(defaults) => defaults.contains(debug(py))?,
        Err(_) => false,
    };
    Ok(CallbackFormat {
        function: function.unbind(),
        takes_debug,
    })
}
