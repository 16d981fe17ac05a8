//! The write queue: chunks that wait to be sent, and how much of the first one is gone already.

use std::collections::VecDeque;

/// Chunks in the order in which they were written. Empty ones are never kept, so an empty queue is one that has nothing to send.
#[derive(Debug)]
pub struct Queue<C> {
    chunks: VecDeque<C>,
    /// How many bytes of the first chunk were sent.
    offset: usize,
    /// How many bytes wait.
    size: usize,
}

impl<C: AsRef<[u8]>> Default for Queue<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: AsRef<[u8]>> Queue<C> {
    /// Nothing to send.
    pub const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            offset: 0,
            size: 0,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// How many bytes wait.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Appends what is left of a chunk after its first `sent` bytes. Only the first of a queue can have been sent in part.
    pub fn push(&mut self, chunk: C, sent: usize) {
        debug_assert!(sent == 0 || self.is_empty(), "later chunks are whole");
        let rest = chunk.as_ref().len().saturating_sub(sent);
        if rest == 0 {
            return;
        }
        if self.chunks.is_empty() {
            self.offset = sent;
        }
        self.size += rest;
        self.chunks.push_back(chunk);
    }

    /// The first chunk, and how many of its bytes were sent.
    pub fn first(&self) -> Option<(&C, usize)> {
        Some((self.chunks.front()?, self.offset))
    }

    /// What waits, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut offset = self.offset;
        self.chunks
            .iter()
            .map(move |chunk| &chunk.as_ref()[std::mem::take(&mut offset)..])
    }

    /// Removes the first `count` bytes, of which there are at least so many.
    pub fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.size, "no more was sent than was waiting");
        let mut count = count.min(self.size);
        self.size -= count;
        while let Some(first) = self.chunks.front() {
            let rest = first.as_ref().len() - self.offset;
            if count < rest {
                self.offset += count;
                return;
            }
            count -= rest;
            self.offset = 0;
            self.chunks.pop_front();
        }
    }

    /// Takes everything out.
    pub fn take(&mut self) -> Queue<C> {
        std::mem::take(self)
    }

    /// Every chunk that is held, whole.
    pub fn into_chunks(self) -> impl Iterator<Item = C> {
        self.chunks.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    fn waiting(queue: &Queue<&'static [u8]>) -> Vec<u8> {
        queue.pieces().flatten().copied().collect()
    }

    #[test]
    fn a_chunk_that_was_sent_in_part_keeps_its_place() {
        let mut queue = Queue::new();
        queue.push(&b"hello"[..], 2);
        queue.push(b" world", 0);
        assert_eq!((queue.size(), waiting(&queue)), (9, b"llo world".to_vec()));
        queue.advance(4);
        assert_eq!((queue.size(), waiting(&queue)), (5, b"world".to_vec()));
        queue.advance(1);
        queue.push(b"!", 0);
        assert_eq!(waiting(&queue), b"orld!");
        queue.advance(5);
        assert!(queue.is_empty());
        assert_eq!(queue.pieces().count(), 0);
    }

    #[test]
    fn nothing_is_kept_of_an_empty_chunk() {
        let mut queue = Queue::new();
        queue.push(&b""[..], 0);
        queue.push(b"sent", 4);
        assert!(queue.is_empty());
        assert_eq!(queue.pieces().count(), 0);
    }

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut queue = Queue::new();
        queue.push(&b"abc"[..], 1);
        assert_eq!(queue.take().into_chunks().collect::<Vec<_>>(), [b"abc"]);
        assert!(queue.is_empty());
        queue.push(b"d", 0);
        assert_eq!(waiting(&queue), b"d");
    }
}
