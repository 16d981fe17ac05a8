//! `Gather`: whether a write is likely to be followed by another one in the same turn of its owner.
//!
//! A server that writes a head and then a body does so in every turn. Who sends for it can have the system hold the head back until the
//! body comes, which costs one segment and one wake-up of the peer instead of two. The guess is the number of writes in the turn before: a
//! stream that writes once each time never waits for anything, and a wrong guess is made once.

/// What is to become of a piece that is sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Dispatch {
    /// It goes out at once, with whatever is held back.
    Now,
    /// It may be held back: another is expected before the turn ends.
    Held,
}

/// The writes of a stream, counted by turns.
#[derive(Debug, Default)]
pub(super) struct Gather {
    turn: u32,
    /// How many writes there were in that turn.
    writes: u32,
    /// How many there were in the turn before.
    expected: u32,
}

impl Gather {
    /// A write in the turn of that number. Numbers may wrap around: two turns that are taken for one cost a wrong guess.
    #[inline]
    pub(super) fn write(&mut self, turn: u32) -> Dispatch {
        if turn != self.turn {
            self.turn = turn;
            self.expected = self.writes;
            self.writes = 0;
        }
        self.writes = self.writes.saturating_add(1);
        match self.writes < self.expected {
            true => Dispatch::Held,
            false => Dispatch::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Dispatch, Gather};

    /// What becomes of each write, for turns of so many.
    fn dispatches(turns: &[u32]) -> Vec<String> {
        let mut gather = Gather::default();
        let mut turn = |(number, &writes): (u32, &u32)| {
            let letters = (0..writes).map(|_| match gather.write(number) {
                Dispatch::Now => 'n',
                Dispatch::Held => 'h',
            });
            letters.collect()
        };
        (1..).zip(turns).map(&mut turn).collect()
    }

    #[test]
    fn a_stream_that_writes_once_a_turn_never_waits() {
        assert_eq!(dispatches(&[1, 1, 1]), ["n", "n", "n"]);
    }

    #[test]
    fn all_but_the_last_of_as_many_writes_as_before_are_held() {
        assert_eq!(dispatches(&[2, 2, 3, 3]), ["nn", "hn", "hnn", "hhn"]);
    }

    #[test]
    fn a_wrong_guess_is_made_once() {
        assert_eq!(dispatches(&[3, 1, 1, 2, 2]), ["nnn", "h", "n", "nn", "hn"]);
    }
}
