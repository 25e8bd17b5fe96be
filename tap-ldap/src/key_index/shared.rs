//! Indexes are shared by the streams that fill them and by the output, which prints the STATE.

use std::cell::{RefCell, RefMut};
use std::path::Path;
use std::rc::Rc;

use super::{IndexError, IndexPosition, KeyIndex};

/// The indexes of a run. [`Indexes::commit`] is called before each STATE.
#[derive(Default)]
pub(crate) struct Indexes {
    open: Vec<SharedIndex>,
}

impl Indexes {
    /// Opens the index of a stream, or creates it.
    pub(crate) fn open(
        &mut self,
        folder: &Path,
        stream: &str,
        key: &[String],
    ) -> Result<SharedIndex, IndexError> {
        let index = SharedIndex(Rc::new(RefCell::new(KeyIndex::open(folder, stream, key)?)));
        self.open.push(index.clone());
        Ok(index)
    }

    /// Makes all indexes durable, and closes those that no stream fills any more.
    pub(crate) fn commit(&mut self) -> Result<(), IndexError> {
        for index in &self.open {
            index.get().commit()?;
        }
        self.open.retain(|index| Rc::strong_count(&index.0) > 1);
        Ok(())
    }

    /// Makes the keys of a log's changes durable, before their records leave the process.
    pub(crate) fn commit_ahead(&self) -> Result<(), IndexError> {
        self.open.iter().try_for_each(|index| index.get().commit_ahead())
    }
}

/// The index of a stream.
#[derive(Clone)]
pub(crate) struct SharedIndex(Rc<RefCell<KeyIndex>>);

impl SharedIndex {
    /// Borrows the index for one operation.
    pub(crate) fn get(&self) -> RefMut<'_, KeyIndex> {
        self.0.borrow_mut()
    }

    /// Returns the position for a bookmark before any deletion of this run.
    pub(crate) fn position(&self) -> IndexPosition {
        self.get().position()
    }
}
