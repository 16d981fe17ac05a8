//! Raw CPython: the crate's only `unsafe`.
//!
//! Everything here exists because PyO3 cannot say it: a native subclass of a Python class, a thread
//! that survives the interpreter's exit, an object slot that costs one word. Each file
//! offers safe functions with a stated contract; the rest of the crate denies `unsafe`.
//!
//! The promises rest on the GIL: `lib` declares `gil_used = true`, so a payload or a [`slot::Slot`]
//! is never entered by two threads at once. A free-threaded build needs another answer first.
#![allow(
    unsafe_code,
    reason = "the binding to CPython's C API that PyO3 has no safe form of"
)]

pub(crate) mod arguments;
pub(crate) mod attached;
pub(crate) mod audit;
pub(crate) mod bound_method;
pub(crate) mod buffer;
pub(crate) mod builtin;
pub(crate) mod bytearray;
pub(crate) mod bytes;
pub(crate) mod c_task;
pub(crate) mod c_type;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod coroutine;
pub(crate) mod descriptor;
pub(crate) mod dict;
mod entry;
pub(crate) mod error;
pub(crate) mod exit;
pub(crate) mod instance;
pub(crate) mod method;
pub(crate) mod native_method;
pub(crate) mod raw_type;
pub(crate) mod running;
pub(crate) mod signals;
pub(crate) mod slot;
pub(crate) mod thread;
pub(crate) mod thread_state;
pub(crate) mod weak;
