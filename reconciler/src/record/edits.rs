//! A list as what changed since the list before. Most of a sweep is what the last sweep showed, and a fleet is swept every minute.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a list comes out of the list before it, in the new order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListEdits<'a, T: Clone>(Vec<ListEdit<'a, T>>);

/// One part of the new list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ListEdit<'a, T: Clone> {
    /// From this place of the old list on, so many members.
    Keep(usize, usize),
    /// A member that is not in the old list, or is not the same there.
    New(Cow<'a, T>),
}

/// How many members that are gone, one after another, are passed over without an index.
const AHEAD: usize = 16;

impl<'a, T: Clone + PartialEq> ListEdits<'a, T> {
    /// How `new` comes out of `old`. As a rule the order is the same, and no index is needed. A list may have a member twice: a sweep
    /// of pages does, if something moves meanwhile.
    pub(super) fn between<K: Ord>(old: &[impl Borrow<T>], new: &'a [T], key: impl Fn(&T) -> &K) -> ListEdits<'a, T> {
        let edits = ListEdits::in_order(old, new, &key);
        let unknown = edits.0.iter().filter(|edit| matches!(edit, ListEdit::New(_))).count();
        if unknown > AHEAD + new.len() / 4 { ListEdits::in_any_order(old, new, key) } else { edits }
    }

    fn in_order<K: Ord>(old: &[impl Borrow<T>], new: &'a [T], key: impl Fn(&T) -> &K) -> ListEdits<'a, T> {
        let (mut edits, mut next) = (ListEdits(Vec::new()), 0);
        for member in new {
            if old.get(next).is_some_and(|other| other.borrow() == member) {
                edits.push(Some(next), member);
                next += 1;
                continue;
            }
            let ahead = old.get(next..(next + AHEAD).min(old.len())).unwrap_or_default();
            // A member that has changed stands where it stood, so the search goes on after it.
            let of_key = ahead.iter().position(|other| key(other.borrow()) == key(member)).map(|at| next + at);
            next = of_key.map_or(next, |at| at + 1);
            edits.push(of_key.filter(|at| old.get(*at).is_some_and(|other| other.borrow() == member)), member);
        }
        edits
    }

    fn in_any_order<K: Ord>(old: &[impl Borrow<T>], new: &'a [T], key: impl Fn(&T) -> &K) -> ListEdits<'a, T> {
        let (mut edits, mut used) = (ListEdits(Vec::new()), vec![false; old.len()]);
        let index = BTreeMap::from_iter(old.iter().enumerate().map(|(at, member)| (key(member.borrow()), at)));
        for member in new {
            let same = |at: &usize| old.get(*at).is_some_and(|other| other.borrow() == member) && used.get(*at) == Some(&false);
            let place = index.get(key(member)).copied().filter(same);
            place.and_then(|at| used.get_mut(at)).into_iter().for_each(|used| *used = true);
            edits.push(place, member);
        }
        edits
    }
}

impl<'a, T: Clone> ListEdits<'a, T> {
    fn push(&mut self, place: Option<usize>, member: &'a T) {
        match (place, self.0.last_mut()) {
            (Some(place), Some(ListEdit::Keep(from, count))) if *from + *count == place => *count += 1,
            (Some(place), _) => self.0.push(ListEdit::Keep(place, 1)),
            (None, _) => self.0.push(ListEdit::New(Cow::Borrowed(member))),
        }
    }

    /// The new list. None: the edits are not of this old list. `made` makes what the list holds of a member that is new.
    pub(crate) fn applied<U>(self, old: Vec<U>, made: impl Fn(T) -> U) -> Option<Vec<U>> {
        if matches!(self.0[..], [ListEdit::Keep(0, count)] if count == old.len()) {
            return Some(old);
        }
        let mut old: Vec<Option<U>> = old.into_iter().map(Some).collect();
        let mut new = Vec::with_capacity(old.len() + 1);
        for edit in self.0 {
            match edit {
                ListEdit::New(member) => new.push(made(member.into_owned())),
                ListEdit::Keep(from, count) => {
                    for place in old.get_mut(from..from.checked_add(count)?)? {
                        new.push(place.take()?);
                    }
                }
            }
        }
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> impl Strategy<Value = Vec<(u8, bool)>> {
        proptest::collection::vec((0..12_u8, any::<bool>()), 0..16)
    }

    proptest! {
        #[test]
        fn edits_make_the_new_list_of_the_old_one(old in list(), new in list()) {
            let edits = ListEdits::between(&old, &new, |(key, _)| key);
            prop_assert_eq!(edits.applied(old.clone(), |member| member), Some(new.clone()));
        }
    }

    #[test]
    fn a_list_that_did_not_change_is_one_edit() {
        let list: Vec<(u32, &str)> = (0..1000).map(|key| (key, "same")).collect();
        assert_eq!(ListEdits::between(&list, &list, |(key, _)| key).0.len(), 1);
        let mut changed = list.clone();
        changed[500].1 = "changed";
        assert_eq!(ListEdits::between(&list, &changed, |(key, _)| key).0.len(), 3);
        let shorter = ListEdits::between(&list, &list[1..], |(key, _)| key);
        assert_eq!(shorter.0, [ListEdit::Keep(1, 999)]);
    }

    #[test]
    fn a_list_in_another_order_is_told_by_places() {
        let list: Vec<(u32, &str)> = (0..1000).map(|key| (key, "same")).collect();
        let turned: Vec<(u32, &str)> = list.iter().rev().copied().collect();
        let told = ListEdits::between(&list, &turned, |(key, _)| key);
        assert!(told.0.iter().all(|edit| matches!(edit, ListEdit::Keep(..))));
        let gone: Vec<(u32, &str)> = list.iter().copied().filter(|(key, _)| key % 100 != 7).collect();
        assert_eq!(ListEdits::between(&list, &gone, |(key, _)| key).0.len(), 11);
    }

    #[test]
    fn edits_of_another_list_are_noticed() {
        let list = [1, 2, 3];
        let edits = ListEdits::between(&list, &list, |key| key);
        assert_eq!(edits.applied(vec![1, 2], |member| member), None);
    }
}
