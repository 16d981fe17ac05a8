//! A Rust future as a coroutine's work, or as a part of it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use super::{Turn, Work};
use crate::entry::Holds;

/// A future, and the waker that it is polled with.
pub(crate) struct Driven {
    future: Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>>>>,
    waker: Option<Waker>,
}

impl Driven {
    /// The work of a future that owns no Python objects of a program's.
    pub(crate) fn new(future: impl Future<Output = PyResult<Py<PyAny>>> + 'static) -> Self {
        Self {
            future: Box::pin(future),
            waker: None,
        }
    }
}

impl Work for Driven {
    fn poll(&mut self, turn: &Turn<'_, '_>) -> Poll<PyResult<Py<PyAny>>> {
        let waker = self.waker.get_or_insert_with(|| turn.waker());
        self.future.as_mut().poll(&mut Context::from_waker(waker))
    }
}

impl Holds for Driven {
    fn visit(&self, _: &mut dyn FnMut(&Py<PyAny>)) {}
}
