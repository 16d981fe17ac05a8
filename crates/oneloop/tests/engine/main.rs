//! The engine as its hosts see it: a file for each thing that it promises. One program, so that it links once.

mod support;

mod costs;
mod failing_runs;
mod known_ready;
mod polling;
mod reentrancy;
mod stale_events;
mod threads;
mod tick_order;
mod wakers;
mod watching_once;
