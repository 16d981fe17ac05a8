//! What the state machines of push transports have in common: what they are asked and answer ([`Machine`], [`Actions`]), flow control, and
//! the way to the end.

mod actions;
mod flow;
mod life;
mod machine;

pub use self::actions::Actions;
pub use self::flow::Limits;
pub use self::life::{Admission, Farewell};
pub use self::machine::{Machine, State};

pub(crate) use self::life::Phase;
