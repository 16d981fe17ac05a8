//! `Guess`: whether another datagram waits behind one that was received.
//!
//! Where there are many, to look for the next one at once saves asking the system whether there is one. Where they come one by one it is a
//! system call in vain: so each time that nothing was there behind the first, more of them are received without a guess.

use std::cell::Cell;

/// As many datagrams are received without a guess, at most: 2 to this power, less one.
const LEAST_EAGER: u8 = 4;

/// What was found by looking.
#[derive(Default)]
pub(super) struct Guess {
    /// There is a guess that was neither right nor wrong yet.
    is_open: Cell<bool>,
    /// One was right since the last that was wrong.
    was_right: Cell<bool>,
    /// How many were wrong in a row, none of them being right in between.
    wrong: Cell<u8>,
    /// How many datagrams are received without one.
    rest: Cell<u8>,
}

impl Guess {
    /// A datagram came. Whether to look for another one.
    #[must_use]
    pub(super) fn found(&self) -> bool {
        if self.is_open.take() {
            self.was_right.set(true);
        }
        match self.rest.get().checked_sub(1) {
            Some(rest) => self.rest.set(rest),
            None => self.is_open.set(true),
        }
        self.is_open.get()
    }

    /// None was there; whether that was by a guess.
    pub(super) fn missed(&self) -> bool {
        let was_open = self.is_open.take();
        if !was_open {
            return false;
        }
        let wrong = match self.was_right.take() {
            true => 0,
            false => (self.wrong.get() + 1).min(LEAST_EAGER),
        };
        self.wrong.set(wrong);
        self.rest.set((1 << wrong) - 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Guess;

    /// How many guesses go wrong while `count` bursts of `length` come.
    fn wrong(guess: &Guess, count: usize, length: usize) -> usize {
        let mut wrong = 0;
        for _ in 0..count {
            // What is not guessed the system tells of.
            let guessed = (0..length).map(|_| guess.found()).last();
            wrong += usize::from(guessed == Some(true) && guess.missed());
        }
        wrong
    }

    #[test]
    fn one_by_one_there_is_a_guess_for_every_sixteenth() {
        let guess = Guess::default();
        assert_eq!(wrong(&guess, 1 + 2 + 4 + 8, 1), 4);
        assert_eq!(wrong(&guess, 160, 1), 10);
    }

    #[test]
    fn a_burst_is_guessed_to_its_end() {
        let guess = Guess::default();
        for _ in 0..9 {
            assert!(guess.found());
        }
        assert!(guess.missed());
        assert!(guess.found(), "the next burst is, too");
    }

    #[test]
    fn bursts_are_noticed_after_others_came_one_by_one() {
        let guess = Guess::default();
        wrong(&guess, 100, 1);
        assert!((0..16).any(|_| guess.found()));
        assert!(guess.found());
    }

    #[test]
    fn what_the_system_told_of_wrongly_is_no_guess() {
        let guess = Guess::default();
        assert!(!guess.missed());
        assert!(guess.found());
    }
}
