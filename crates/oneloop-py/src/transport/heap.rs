//! Memory for large messages, which the process keeps between them.
//!
//! A message of a hundred kilobytes goes through several objects of that size, and each is freed before the next comes. The GNU C library
//! hands such memory back to the system at once, as a mapping of its own or from the end of the heap, and the next message pays for every
//! page again: a fault, and zeroes. It stops doing so for sizes that it has seen freed before. So the first large read has it see one.
//!
//! It is the library's own rule, at work in any program that has freed an object so large; a program or a user who has set its limits
//! (`mallopt`, `MALLOC_TRIM_THRESHOLD_`) has turned the rule off, and that stays so. Nothing is held by us. The price is that up to twice
//! [`SIZE`] may stay with the process that it would have handed back, once it reads large messages and never before. Other C libraries have
//! other rules, and lose nothing by this.

use std::hint::black_box;
use std::sync::Once;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_KEEP_MEMORY";

/// What is to be kept: a few messages in all their forms.
const SIZE: usize = 4 * 1024 * 1024;

static SHOWN: Once = Once::new();

/// Large messages have begun to come. Cheap when called again.
#[inline]
pub(super) fn keep() {
    SHOWN.call_once(|| {
        if std::env::var_os(SWITCH).is_none_or(|value| value != "0") {
            // Never touched, so no page of it is ever made. Hidden from the compiler, which would leave out both calls.
            drop(black_box(Vec::<u8>::with_capacity(SIZE)));
        }
    });
}
