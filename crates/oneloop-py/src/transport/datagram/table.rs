//! What a datagram transport is called and can do.

use pyo3::prelude::*;

use super::super::table::{self, none};
use super::DatagramTransport;
use crate::ffi::arguments::Arguments;
use crate::ffi::method;
use crate::ffi::raw_type::Definition;

pub(super) fn datagram() -> Definition<DatagramTransport> {
    let mut methods = table::common();
    methods.extend(table::reading());
    methods.extend(table::read_ready());
    methods.extend(table::buffering());
    methods.push(table::force_close());
    methods.push(method::with_arguments(
        c"sendto",
        c"sendto($self, /, data, addr=None)\n--\n\nSend a datagram; what cannot be sent at once is sent later.",
        |object, transport: &DatagramTransport, arguments: Arguments<'_, '_>| {
            let [data, addr] = arguments.bind("sendto", ["data", "addr"], 1)?;
            let addr = addr.filter(|addr| !addr.is_none());
            if let Some(data) = data {
                transport.send_to(object, &data, addr.map(|addr| addr.to_owned()))?;
            }
            none(object.py())
        },
    ));
    methods.push(method::noargs(
        c"_sendto_ready",
        c"_sendto_ready($self, /)\n--\n\nSend what waits.",
        |object, transport: &DatagramTransport| {
            transport.flush(object)?;
            none(object.py())
        },
    ));
    let mut attributes = table::attributes();
    attributes.push(table::sock());
    Definition {
        name: c"oneloop._core.DatagramTransport",
        doc: c"A transport that sends and receives datagrams.\n\nMade by the loop; follows asyncio.DatagramTransport.",
        methods,
        attributes,
        special: table::special(),
        is_open: true,
    }
}
