//! The column of each attribute description, as the server spells it.
//!
//! A server returns the attributes of similar entries in the same order and spelling. So descriptions are kept in the order
//! of their occurrence, and the next one is usually the one after the last.

use std::collections::HashMap;

/// The most spellings that are kept. A server with more costs time, not memory.
const REMEMBERED: usize = 4_096;
/// The most spellings that are compared one by one; others are looked up.
const IN_ORDER: usize = 256;

/// The destination of an attribute's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// This column.
    Column(usize),
    /// The attribute is not selected.
    Nowhere,
}

/// The spellings seen, with their destinations.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    /// The columns by their description in normal form, which is in lower case.
    columns: HashMap<String, usize>,
    in_order: Vec<(Box<[u8]>, Destination)>,
    others: HashMap<Box<[u8]>, Destination>,
    /// The current position in the order.
    at: usize,
}

impl Descriptions {
    /// Creates the table for columns with these descriptions in normal form. Of equal ones, the last one is used.
    pub(super) fn of(names: impl Iterator<Item = String>) -> Self {
        let columns = names.enumerate().map(|(n, name)| (name, n)).collect();
        Self { columns, ..Self::default() }
    }

    /// Returns the column of a description in normal form.
    pub(super) fn column(&self, normal: &str) -> Destination {
        let column = self.columns.get(normal);
        column.map_or(Destination::Nowhere, |column| Destination::Column(*column))
    }

    /// Starts another entry.
    pub(super) fn begin(&mut self) {
        self.at = 0;
    }

    /// Returns the destination of the entry's next description; `None` if it was not seen before.
    #[inline]
    pub(super) fn next(&mut self, description: &[u8]) -> Option<Destination> {
        if let Some((expected, destination)) = self.in_order.get(self.at)
            && **expected == *description
        {
            self.at += 1;
            return Some(*destination);
        }
        self.find(description)
    }

    #[cold]
    fn find(&mut self, description: &[u8]) -> Option<Destination> {
        let is_it = |(expected, _): &(Box<[u8]>, Destination)| **expected == *description;
        if let Some(at) = self.in_order.iter().position(is_it) {
            self.at = at + 1;
            return self.in_order.get(at).map(|(_, destination)| *destination);
        }
        self.others.get(description).copied()
    }

    /// Adds a description that was not seen before.
    pub(super) fn learn(&mut self, description: &[u8], destination: Destination) {
        if self.in_order.len() < IN_ORDER {
            let at = self.at.min(self.in_order.len());
            self.in_order.insert(at, (description.into(), destination));
            self.at = at + 1;
        } else if self.others.len() < REMEMBERED {
            self.others.insert(description.into(), destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_finds_the_same_columns() {
        let mut descriptions = Descriptions::of(["cn", "sn", "mail"].into_iter().map(str::to_owned));
        let mut met = 0;
        for entry in [&["cn", "mail", "x"][..], &["mail", "cn"], &["sn", "x", "mail"], &["x", "y", "sn"]] {
            descriptions.begin();
            for name in entry {
                let column = descriptions.next(name.as_bytes()).unwrap_or_else(|| {
                    met += 1;
                    let column = descriptions.column(name);
                    descriptions.learn(name.as_bytes(), column);
                    column
                });
                let expected = ["cn", "sn", "mail"].iter().position(|c| c == name);
                assert_eq!(column, expected.map_or(Destination::Nowhere, Destination::Column), "{name}");
            }
        }
        assert_eq!(met, 5, "each once");
    }

    #[test]
    fn a_server_that_makes_names_up_costs_no_memory() {
        let mut descriptions = Descriptions::of(std::iter::empty());
        for n in 0..REMEMBERED * 2 {
            let name = n.to_string();
            assert_eq!(descriptions.next(name.as_bytes()), None);
            descriptions.learn(name.as_bytes(), Destination::Nowhere);
        }
        assert_eq!((descriptions.in_order.len(), descriptions.others.len()), (IN_ORDER, REMEMBERED));
        assert_eq!(descriptions.next(b"0"), Some(Destination::Nowhere));
        assert_eq!(descriptions.next(b"8191"), None);
    }
}
