//! Who fills an index, and who prints STATE, share it.

use std::cell::{RefCell, RefMut};
use std::path::Path;
use std::rc::Rc;

use super::{IndexError, IndexPosition, KeyIndex};

/// The indexes of a run. No STATE goes out before [`Indexes::commit`].
#[derive(Default)]
pub(crate) struct Indexes {
    open: Vec<SharedIndex>,
}

impl Indexes {
    /// Opens the index of a stream, or makes it.
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

    /// Makes all that was noted in any of them last, and closes those that nobody fills any more.
    pub(crate) fn commit(&mut self) -> Result<(), IndexError> {
        for index in &self.open {
            index.get().commit()?;
        }
        self.open.retain(|index| Rc::strong_count(&index.0) > 1);
        Ok(())
    }

    /// Before records leave the process: makes the keys of changes that a log tells last.
    pub(crate) fn commit_ahead(&self) -> Result<(), IndexError> {
        self.open.iter().try_for_each(|index| index.get().commit_ahead())
    }
}

/// The index of a stream.
#[derive(Clone)]
pub(crate) struct SharedIndex(Rc<RefCell<KeyIndex>>);

impl SharedIndex {
    /// The index itself, for one thing to do with it.
    pub(crate) fn get(&self) -> RefMut<'_, KeyIndex> {
        self.0.borrow_mut()
    }

    /// What a bookmark has to say before anything new was found to be gone.
    pub(crate) fn position(&self) -> IndexPosition {
        self.get().position()
    }
}
