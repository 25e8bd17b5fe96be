//! A borrowed entry from any kind of directory.

use crate::client::WireEntry;
use crate::entry::{Entry, EntryView};

/// A borrowed entry.
#[derive(Debug, Clone, Copy)]
pub enum EntryRef<'a> {
    /// An owned entry.
    Whole(&'a Entry),
    /// An entry in the receive buffer.
    Wire(WireEntry<'a>),
}

impl EntryView for EntryRef<'_> {
    fn dn(&self) -> &str {
        match self {
            EntryRef::Whole(entry) => &entry.dn,
            EntryRef::Wire(entry) => entry.dn(),
        }
    }

    fn dn_octets(&self) -> &[u8] {
        match self {
            EntryRef::Whole(entry) => entry.dn_octets(),
            EntryRef::Wire(entry) => entry.dn_octets(),
        }
    }

    fn has_values_in_options(&self) -> bool {
        match self {
            EntryRef::Whole(entry) => entry.has_values_in_options(),
            EntryRef::Wire(entry) => entry.has_values_in_options(),
        }
    }

    fn len(&self) -> usize {
        match self {
            EntryRef::Whole(entry) => entry.len(),
            EntryRef::Wire(entry) => entry.len(),
        }
    }

    fn description(&self, at: usize) -> &[u8] {
        match self {
            EntryRef::Whole(entry) => EntryView::description(*entry, at),
            EntryRef::Wire(entry) => entry.description(at),
        }
    }

    fn value_count(&self, at: usize) -> usize {
        match self {
            EntryRef::Whole(entry) => entry.value_count(at),
            EntryRef::Wire(entry) => entry.value_count(at),
        }
    }

    fn encoded_values(&self, at: usize) -> Option<&[u8]> {
        match self {
            EntryRef::Whole(entry) => entry.encoded_values(at),
            EntryRef::Wire(entry) => entry.encoded_values(at),
        }
    }

    fn values_at(&self, at: usize) -> impl Iterator<Item = &[u8]> + Clone {
        match self {
            EntryRef::Whole(entry) => Either::Whole(entry.values_at(at)),
            EntryRef::Wire(entry) => Either::Wire(entry.values_at(at)),
        }
    }
}

#[derive(Clone)]
enum Either<A, B> {
    Whole(A),
    Wire(B),
}

impl<'v, A: Iterator<Item = &'v [u8]>, B: Iterator<Item = &'v [u8]>> Iterator for Either<A, B> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        match self {
            Either::Whole(values) => values.next(),
            Either::Wire(values) => values.next(),
        }
    }
}
