//! Pausing and resuming, in both directions.

use oneloop::engine::stream::Machine;
use pyo3::prelude::*;

use super::base::Transport;
use super::kind::Kind;
use super::protocol;
use crate::ffi::context::Entered;

impl<K: Kind> Transport<K> {
    /// Tells the protocol to write no more for now.
    pub(super) fn tell_to_pause(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(protocol) = self.protocol.get(object.py()) else {
            return Ok(());
        };
        protocol::pause_writing(&protocol)
            .or_else(|error| self.report(object, error, "protocol.pause_writing() failed"))
    }

    /// Tells the protocol that it may write again.
    pub(super) fn tell_to_resume(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(protocol) = self.protocol.get(object.py()) else {
            return Ok(());
        };
        protocol::resume_writing(&protocol)
            .or_else(|error| self.report(object, error, "protocol.resume_writing() failed"))
    }

    /// Begins to read, now that the protocol knows of the connection: unless it has paused reading or closed meanwhile.
    pub(super) fn start_reading(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        // What is read runs in a copy of the context in which reading began: in a later entry, but of whoever made the transport.
        let context = self.start_in.take(object.py());
        let _entered = context.as_ref().map(Entered::new).transpose()?;
        let actions = self.machine(|machine| machine.start_reading());
        self.perform(object, actions)
    }

    /// Follows `asyncio.ReadTransport.pause_reading`.
    pub(super) fn pause_reading(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let actions = self.machine(Machine::pause_reading);
        self.perform(object, actions)?;
        if !actions.is_empty() {
            self.log_debug(object, "%r pauses reading")?;
        }
        Ok(())
    }

    /// Follows `asyncio.ReadTransport.resume_reading`.
    pub(super) fn resume_reading(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let actions = self.machine(Machine::resume_reading);
        self.perform(object, actions)?;
        if !actions.is_empty() {
            self.log_debug(object, "%r resumes reading")?;
        }
        Ok(())
    }
}
