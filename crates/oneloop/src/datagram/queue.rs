//! The send queue: datagrams that wait to be sent, and how much that is.

use std::collections::{VecDeque, vec_deque};

/// Whole datagrams in the order in which they were sent. Empty ones are datagrams, too.
#[derive(Debug)]
pub(super) struct Queue<C, A> {
    datagrams: VecDeque<(C, A)>,
    /// What each counts beside its bytes.
    header: usize,
    size: usize,
}

/// Datagrams that will not be sent, to be dropped where that is harmless.
#[derive(Debug)]
#[must_use = "dropping an address may call anybody; do it where that is harmless"]
pub struct Dropped<C, A>(VecDeque<(C, A)>);

impl<C, A> Dropped<C, A> {
    pub(super) fn nothing() -> Self {
        Self(VecDeque::new())
    }
}

impl<C, A> IntoIterator for Dropped<C, A> {
    type Item = (C, A);
    type IntoIter = vec_deque::IntoIter<(C, A)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<C: AsRef<[u8]>, A> Queue<C, A> {
    pub(super) const fn new(header: usize) -> Self {
        Self {
            datagrams: VecDeque::new(),
            header,
            size: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn push_back(&mut self, chunk: C, address: A) {
        self.size += self.weight(&chunk);
        self.datagrams.push_back((chunk, address));
    }

    pub(super) fn push_front(&mut self, chunk: C, address: A) {
        self.size += self.weight(&chunk);
        self.datagrams.push_front((chunk, address));
    }

    pub(super) fn pop_front(&mut self) -> Option<(C, A)> {
        let first = self.datagrams.pop_front()?;
        self.size -= self.weight(&first.0);
        Some(first)
    }

    pub(super) fn take(&mut self) -> Dropped<C, A> {
        self.size = 0;
        Dropped(std::mem::take(&mut self.datagrams))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&C, &A)> {
        self.datagrams
            .iter()
            .map(|(chunk, address)| (chunk, address))
    }

    fn weight(&self, chunk: &C) -> usize {
        chunk.as_ref().len() + self.header
    }
}
