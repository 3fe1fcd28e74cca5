//! Words with the places where they stand: what a segment of the index holds, in memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::store::Place;

/// About the size of a row, in bytes.
const BLOCK_BYTES: usize = 4096;
/// A word that has more has rows of its own.
const PART_PLACES: usize = 1024;
/// What a place takes on disk, about: its distances from the one before it.
const PLACE_BYTES: usize = 5;

/// One row: words in their order, each with its places, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    words: Vec<(String, Packed)>,
}

/// Places as distances, most of which are small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Packed(Vec<(u64, i64)>);

impl Packed {
    /// Of places in their order.
    fn of(places: &[Place]) -> Self {
        let mut last = Place { time: 0, position: 0 };
        let distance = |place: &Place| {
            let time = place.time.wrapping_sub(last.time);
            let position = place.position.wrapping_sub(last.position).cast_signed();
            last = *place;
            (time, position)
        };
        Self(places.iter().map(distance).collect())
    }

    fn places(&self) -> Vec<Place> {
        let mut last = Place { time: 0, position: 0 };
        let place = |(time, position): &(u64, i64)| {
            last = Place {
                time: last.time.wrapping_add(*time),
                position: last.position.wrapping_add_signed(*position),
            };
            last
        };
        self.0.iter().map(place).collect()
    }
}

impl Block {
    /// The places of a word, if it is here.
    pub(crate) fn places(&self, word: &str) -> Vec<Place> {
        let found = self.words.binary_search_by(|(one, _)| one.as_str().cmp(word));
        found.map_or_else(|_| Vec::new(), |at| self.words[at].1.places())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether anything was there to be taken out. A word without places goes too.
    pub(crate) fn take_out(&mut self, gone: &BTreeSet<Place>) -> bool {
        let mut changed = false;
        self.words.retain_mut(|(_, packed)| {
            let mut places = packed.places();
            let before = places.len();
            places.retain(|place| !gone.contains(place));
            if places.len() < before {
                changed = true;
                *packed = Packed::of(&places);
            }
            !places.is_empty()
        });
        changed
    }
}

/// Words with their places.
#[derive(Debug, Default)]
pub(crate) struct Lists(BTreeMap<String, Vec<Place>>);

impl Lists {
    pub(crate) fn add(&mut self, place: Place, words: &str) {
        for word in words.split(' ') {
            match self.0.get_mut(word) {
                Some(places) => places.push(place),
                None => drop(self.0.insert(word.to_owned(), vec![place])),
            }
        }
    }

    pub(crate) fn add_block(&mut self, block: Block) {
        for (word, packed) in block.words {
            self.0.entry(word).or_default().extend(packed.places());
        }
    }

    /// The rows, each under its first word and, of a word with rows of its own, the number of the row.
    pub(crate) fn into_blocks(self) -> Vec<((String, u32), Block)> {
        let mut blocks: Vec<((String, u32), Block)> = Vec::new();
        // Whether the last block may take more, and its size.
        let mut open: Option<usize> = None;
        for (word, mut places) in self.0 {
            places.sort_unstable();
            places.dedup();
            if places.len() > PART_PLACES {
                for (part, places) in (0..).zip(places.chunks(PART_PLACES)) {
                    let block = Block { words: vec![(word.clone(), Packed::of(places))] };
                    blocks.push(((word.clone(), part), block));
                }
                open = None;
                continue;
            }
            let bytes = word.len() + places.len() * PLACE_BYTES;
            let entry = (word, Packed::of(&places));
            match (open, blocks.last_mut()) {
                (Some(size), Some((_, block))) if size + bytes <= BLOCK_BYTES => {
                    block.words.push(entry);
                    open = Some(size + bytes);
                }
                _ => {
                    blocks.push(((entry.0.clone(), 0), Block { words: vec![entry] }));
                    open = Some(bytes);
                }
            }
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::{Lists, PART_PLACES};
    use crate::store::Place;

    fn place(number: u64) -> Place {
        // Of the history too, whose positions are far away.
        Place { time: 1_700_000_000_000 + number / 2, position: number | (number % 3) << 63 }
    }

    #[test]
    fn what_is_packed_is_found_in_the_block_whose_first_word_says_so() {
        let mut lists = Lists::default();
        let count = PART_PLACES as u64 * 2 + 7;
        for number in (0..count).rev() {
            lists.add(place(number), &format!("common w{} z{}", number % 7, number));
        }
        let mut expected: Vec<_> = (0..count).map(place).collect();
        expected.sort_unstable();
        let blocks = lists.into_blocks();
        let parts: Vec<u32> =
            blocks.iter().filter(|(key, _)| key.0 == "common").map(|(key, _)| key.1).collect();
        assert_eq!(parts, [0, 1, 2]);
        let common: Vec<_> = blocks.iter().flat_map(|(_, block)| block.places("common")).collect();
        assert_eq!(common, expected);
        assert!(blocks.is_sorted_by_key(|(key, _)| key));
        for number in 0..count {
            let word = format!("z{number}");
            let at = blocks.partition_point(|(key, _)| key.0 <= word);
            assert_eq!(blocks[at - 1].1.places(&word), [place(number)]);
            assert!(blocks[at - 1].1.places("zebra").is_empty());
        }
    }

    #[test]
    fn what_is_taken_out_leaves_no_word_behind() {
        let mut lists = Lists::default();
        lists.add(place(1), "both one");
        lists.add(place(2), "both two");
        let (_, mut block) = lists.into_blocks().remove(0);
        assert!(!block.take_out(&[place(3)].into()));
        assert!(block.take_out(&[place(1)].into()));
        assert_eq!(block.places("both"), [place(2)]);
        let mut left = Lists::default();
        left.add(place(2), "both two");
        assert_eq!(block, left.into_blocks().remove(0).1);
        assert!(block.take_out(&[place(2)].into()) && block.is_empty());
    }
}
