//! What the state machines of push transports have in common: the words in which they ask and answer, flow control, and the way to the
//! end.

mod actions;
mod flow;
mod life;

pub use self::actions::Actions;
pub use self::flow::Limits;
pub use self::life::{Admission, Farewell};

pub(crate) use self::flow::Flow;
pub(crate) use self::life::{Life, Phase};
