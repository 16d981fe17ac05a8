//! Interleaving: a broken address family is to cost a delay or two, and not one for each of its addresses (RFC 8305, section 4).

use std::collections::VecDeque;

/// Has the families take turns, in the order in which they first appear; within a family the order stays. The first family begins with
/// `first` of its items, at least one. As asyncio's `interleave`, but that zero, which there leaves everything as it is, is one here.
pub fn interleave<T, F: PartialEq>(
    items: impl IntoIterator<Item = T>,
    first: usize,
    family: impl Fn(&T) -> F,
) -> Vec<T> {
    let mut families: Vec<(F, VecDeque<T>)> = Vec::new();
    for item in items {
        let its = family(&item);
        match families.iter_mut().find(|(known, _)| *known == its) {
            Some((_, members)) => members.push_back(item),
            None => families.push((its, VecDeque::from([item]))),
        }
    }
    let mut mixed = Vec::new();
    if let Some((_, members)) = families.first_mut() {
        let head = first.saturating_sub(1).min(members.len());
        mixed.extend(members.drain(..head));
    }
    loop {
        let before = mixed.len();
        mixed.extend(families.iter_mut().filter_map(|(_, it)| it.pop_front()));
        if mixed.len() == before {
            return mixed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interleave;

    /// Items are a family's letter and a number.
    fn mixed(items: &str, first: usize) -> String {
        let family = |item: &&str| item.as_bytes()[0];
        interleave(items.split_whitespace(), first, family).join(" ")
    }

    #[test]
    fn families_take_turns() {
        assert_eq!(mixed("", 1), "");
        assert_eq!(mixed("a1 a2 a3", 1), "a1 a2 a3");
        assert_eq!(mixed("a1 a2 a3 b1 b2", 1), "a1 b1 a2 b2 a3");
        assert_eq!(mixed("a1 a2 b1 c1 b2", 1), "a1 b1 c1 a2 b2");
    }

    #[test]
    fn the_first_family_begins_with_as_many_as_it_is_told() {
        assert_eq!(mixed("a1 a2 a3 b1 b2", 0), "a1 b1 a2 b2 a3");
        assert_eq!(mixed("a1 a2 a3 b1 b2", 2), "a1 a2 b1 a3 b2");
        assert_eq!(mixed("a1 a2 a3 b1 b2", 3), "a1 a2 a3 b1 b2");
        assert_eq!(mixed("a1 b1 b2", 9), "a1 b1 b2");
    }
}
