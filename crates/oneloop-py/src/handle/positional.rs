//! A callback's positional arguments, which need no tuple as long as they are few and nobody looks at them.
//!
//! Nearly every callback has two at most. They are kept as they came and handed to the callback so; a tuple is made of them when somebody
//! asks for `_args`, and is the same from then on.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::ffi::arguments::Rest;
use crate::ffi::call;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;

/// The arguments, or none any more.
pub(super) struct Positional {
    /// The tuple, or the first argument.
    first: Slot,
    second: Slot,
    shape: Cell<Shape>,
}

/// What is in the slots. What it says may be more than what is there after `clear`, never less.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A tuple or nothing: what Python sees.
    Seen,
    Empty,
    One,
    Two,
}

impl Positional {
    /// # Errors
    /// `MemoryError`.
    #[inline(always)]
    pub(super) fn new(args: Rest<'_, '_>) -> PyResult<Self> {
        let shape = match args.len() {
            0 => Shape::Empty,
            1 => Shape::One,
            2 => Shape::Two,
            _ => return Self::many(args),
        };
        Ok(Self {
            first: Slot::new(args.get(0).map(|value| value.to_owned())),
            second: Slot::new(args.get(1).map(|value| value.to_owned())),
            shape: Cell::new(shape),
        })
    }

    #[cold]
    fn many(args: Rest<'_, '_>) -> PyResult<Self> {
        Ok(Self {
            first: Slot::new(Some(args.tuple()?.into_any())),
            second: Slot::default(),
            shape: Cell::new(Shape::Seen),
        })
    }

    /// Calls `callback` with them; with none if they are gone.
    ///
    /// # Errors
    /// What the callback raised.
    #[inline]
    pub(super) fn call(&self, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = callback.py();
        // The callback may take them away from here, so it gets references of its own.
        match self.shape.get() {
            Shape::One => {
                if let Some(only) = self.first.get(py) {
                    return call::with(callback, [&only]).map(drop);
                }
            }
            Shape::Two => {
                if let (Some(first), Some(second)) = (self.first.get(py), self.second.get(py)) {
                    return call::with(callback, [&first, &second]).map(drop);
                }
            }
            Shape::Seen => {
                if let Some(args) = self.first.get(py) {
                    return call::with_tuple(callback, &args.cast_into()?).map(drop);
                }
            }
            Shape::Empty => {}
        }
        call::with(callback, []).map(drop)
    }

    /// As Python sees them: a tuple, the same each time, or nothing.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn tuple<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shape = self.shape.get();
        if shape == Shape::Seen {
            return Ok(self.first.get(py));
        }
        let args = self.first.get(py).into_iter().chain(self.second.get(py));
        let args = PyTuple::new(py, args.collect::<Vec<_>>())?.into_any();
        // Making it may have run the collector, and with it code that put something else here.
        if self.shape.get() == shape {
            self.set(py, Some(args.clone()));
        }
        Ok(Some(args))
    }

    /// Puts others in their place: a tuple or nothing.
    pub(super) fn set(&self, py: Python<'_>, args: Option<Bound<'_, PyAny>>) {
        // Before the old ones go, whose end may run code that looks here.
        self.shape.set(Shape::Seen);
        let old = (self.first.replace(py, args), self.second.take(py));
        drop(old);
    }

    /// # Errors
    /// The collector's wish to stop.
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.first.traverse(visit)?;
        self.second.traverse(visit)
    }

    #[inline]
    pub(super) fn release(self, py: Python<'_>) {
        self.first.release(py);
        self.second.release(py);
    }
}
