//! What the transports of sockets and pipes are called and can do.

use oneloop::engine::stream::Machine;

use super::super::table::{self, none, truth};
use super::StreamTransport;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{self, Method};
use crate::ffi::raw_type::Definition;
use crate::names;

/// What a socket's transport is called and can do.
pub(super) fn socket() -> Definition<StreamTransport> {
    let mut methods = table::common();
    methods.extend(table::reading());
    methods.extend(table::read_ready());
    methods.extend(writing());
    methods.extend(table::buffering());
    methods.push(table::force_close());
    #[cfg(Py_3_12)]
    methods.push(method::with_arguments(
        c"writelines",
        c"writelines($self, /, list_of_data)\n--\n\nWrite several pieces of bytes at once.",
        |object, transport: &StreamTransport, arguments: Arguments<'_, '_>| {
            let [lines] = arguments.bind("writelines", ["list_of_data"], 1)?;
            if let Some(lines) = lines {
                transport.writelines(object, &lines)?;
            }
            none(object.py())
        },
    ));
    methods.push(method::noargs(
        c"_make_empty_waiter",
        c"_make_empty_waiter($self, /)\n--\n\nRefuse to write; return a future that is done when all is sent.",
        |object, transport: &StreamTransport| transport.lend(object),
    ));
    methods.push(method::noargs(
        c"_reset_empty_waiter",
        c"_reset_empty_waiter($self, /)\n--\n\nLet it be written to again.",
        |object, transport: &StreamTransport| {
            transport.take_back(object)?;
            none(object.py())
        },
    ));
    let mut attributes = table::attributes();
    attributes.push(table::sock());
    attributes.push(method::getter(
        c"_sendfile_compatible",
        |py, _: &StreamTransport| names::sendfile_native(py).cloned(),
    ));
    // asyncio's sendfile by fallback asks for it.
    attributes.push(method::getter(
        c"_protocol_paused",
        |py, transport: &StreamTransport| {
            truth(py, transport.machine(|stream| stream.is_writing_paused()))
        },
    ));
    attributes.push(method::getter(
        c"_start_tls_compatible",
        |py, _: &StreamTransport| truth(py, true),
    ));
    Definition {
        name: c"oneloop._core.SocketTransport",
        doc: c"A stream transport over a TCP or Unix socket.\n\nMade by the loop; follows asyncio.Transport.",
        methods,
        attributes,
        special: table::special(),
        is_open: true,
    }
}

/// What the transport of a pipe's reading end is called and can do.
pub(super) fn read_pipe() -> Definition<StreamTransport> {
    let mut methods = table::common();
    methods.extend(table::reading());
    methods.extend(table::read_ready());
    Definition {
        name: c"oneloop._core.ReadPipeTransport",
        doc: c"A transport that reads from a pipe.\n\nMade by the loop; follows asyncio.ReadTransport.",
        methods,
        attributes: table::attributes(),
        special: table::special(),
        is_open: true,
    }
}

/// What the transport of a pipe's writing end is called and can do.
pub(super) fn write_pipe() -> Definition<StreamTransport> {
    let mut methods = table::common();
    methods.extend(table::read_ready());
    methods.extend(writing());
    methods.extend(table::buffering());
    Definition {
        name: c"oneloop._core.WritePipeTransport",
        doc: c"A transport that writes to a pipe.\n\nMade by the loop; follows asyncio.WriteTransport.",
        methods,
        attributes: table::attributes(),
        special: table::special(),
        is_open: true,
    }
}

fn writing() -> Vec<Method<StreamTransport>> {
    vec![
        method::with_arguments(
            c"write",
            c"write($self, /, data)\n--\n\nWrite bytes; what cannot be sent at once is sent later.",
            |object, transport: &StreamTransport, arguments: Arguments<'_, '_>| {
                let [data] = arguments.bind("write", ["data"], 1)?;
                if let Some(data) = data {
                    transport.write(object, &data)?;
                }
                none(object.py())
            },
        ),
        method::noargs(
            c"_write_ready",
            c"_write_ready($self, /)\n--\n\nSend what waits.",
            |object, transport: &StreamTransport| {
                transport.flush(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"write_eof",
            c"write_eof($self, /)\n--\n\nClose the write end after what was written is sent.",
            |object, transport: &StreamTransport| {
                transport.write_eof(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"can_write_eof",
            c"can_write_eof($self, /)\n--\n\nReturn True: write_eof() works.",
            |object, _: &StreamTransport| truth(object.py(), true),
        ),
    ]
}
