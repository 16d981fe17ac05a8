//! `OwnerCell`: the one way to hold mutable state in the engine.
//!
//! The discipline, which every user of the cell keeps:
//!
//! - a cell is entered with [`OwnerCell::with`], which hands out `&mut T` and returns by value;
//! - inside, nothing foreign is called, cloned or *dropped*: a drop may run a Python `__del__`, which may call any method of the loop
//!   and so enter the same cell again. What is removed is returned and dropped outside.
//!
//! A violation is a bug of the engine and panics at the second entry instead of aliasing, which is why this is a checked cell and not
//! an `UnsafeCell`: the check is one load and one store next to data that is touched anyway.

use std::cell::RefCell;

/// Mutable state behind `&self`, entered by closures that neither call nor drop anything foreign.
#[derive(Debug, Default)]
pub(crate) struct OwnerCell<T> {
    value: RefCell<T>,
}

impl<T> OwnerCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: RefCell::new(value),
        }
    }

    /// Enters the cell.
    ///
    /// # Panics
    ///
    /// If the cell is already entered, which means that `f` called or dropped something foreign.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.value.borrow_mut())
    }

    /// Enters the cell unless it is entered already: for visitors that may come at any time, such as a garbage collector.
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.value
            .try_borrow_mut()
            .ok()
            .map(|mut value| f(&mut value))
    }

    /// Moves the value out and leaves the default in its place.
    #[inline]
    pub(crate) fn take(&self) -> T
    where
        T: Default,
    {
        self.with(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::OwnerCell;

    #[test]
    fn with_returns_by_value() {
        let cell = OwnerCell::new(vec![1, 2]);
        assert_eq!(cell.with(|items| items.pop()), Some(2));
        assert_eq!(cell.take(), [1]);
        assert!(cell.take().is_empty());
    }

    #[test]
    #[should_panic(expected = "already borrowed")]
    fn a_second_entry_panics_instead_of_aliasing() {
        let cell = OwnerCell::new(0);
        cell.with(|_| cell.with(|value| *value += 1));
    }

    #[test]
    fn a_visitor_is_turned_away_while_the_cell_is_entered() {
        let cell = OwnerCell::new(0);
        assert_eq!(cell.with(|_| cell.try_with(|value| *value)), None);
        assert_eq!(cell.try_with(|value| *value), Some(0));
    }
}
