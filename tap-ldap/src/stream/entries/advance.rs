//! Reading: from one entry to the next, and from one search to the next.

use ldap_directory::entry::{Entry, EntryView as _};
use ldap_directory::{DirectoryError, EntryRef, Found};

use super::entry_scope::ScopeMatch;
use super::{Entries, PlannedSearch, ReadStep, RunningSearch, base_only};
use crate::discovery::context::HAS_SUBORDINATES;
use crate::discovery::tally::hash;

impl Entries<'_> {
    /// Returns the next entry, or `None` at the end of the stream.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn next(&mut self) -> Result<Option<Entry>, DirectoryError> {
        if !self.advance_at_once()? && !self.advance().await? {
            return Ok(None);
        }
        let mut entry = match self.held.take() {
            Some(entry) => entry,
            None => self.entry().to_entry(),
        };
        if self.asked_subordinates {
            entry.attributes.retain(|a| !a.description.eq_ignore_ascii_case(HAS_SUBORDINATES));
        }
        Ok(Some(entry))
    }

    /// Returns the current entry as the server sent it. It may have attributes that were only requested for reading.
    pub fn entry(&self) -> EntryRef<'_> {
        static NONE: Entry = Entry { dn: String::new(), attributes: Vec::new() };
        let in_place = || self.running.as_ref().and_then(|r| r.search.in_place()).map(EntryRef::Wire);
        self.held.as_ref().map(EntryRef::Whole).or_else(in_place).unwrap_or(EntryRef::Whole(&NONE))
    }

    /// Moves to the next entry. Returns `false` at the end of the stream.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn advance(&mut self) -> Result<bool, DirectoryError> {
        loop {
            if let Some(entry) = self.held.as_mut().filter(|_| self.is_incomplete) {
                // Boxed: few entries need it.
                Box::pin(self.context.directory.complete_ranges(entry)).await?;
                Box::pin(base_only::complete(&self.context.directory, entry, &self.base_only)).await?;
                self.is_incomplete = false;
                return Ok(true);
            }
            self.held = None;
            let Some(running) = &mut self.running else {
                if self.begin_step().await? {
                    if self.held.is_some() && !self.is_incomplete {
                        return Ok(true);
                    }
                    continue;
                }
                tracing::debug!("{} entries were received", self.received);
                return Ok(false);
            };
            let next = match running.search.advance().await {
                Err(e) if running.base_may_be_gone && e.is_no_such_object() => None,
                next => next?,
            };
            match next {
                None => self.running = None,
                Some(found) => {
                    if self.handle_item(found)? && !self.is_incomplete {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Moves to the next entry if it is already buffered. Returns `false` if [`Self::advance`] is needed.
    ///
    /// # Errors
    /// Fails if the search failed.
    pub fn advance_at_once(&mut self) -> Result<bool, DirectoryError> {
        if self.is_incomplete {
            return Ok(false);
        }
        self.held = None;
        while let Some(running) = &mut self.running {
            let found = match running.search.advance_at_once() {
                Err(e) if running.base_may_be_gone && e.is_no_such_object() => {
                    self.running = None;
                    return Ok(false);
                }
                found => found?,
            };
            let Some(found) = found else { return Ok(false) };
            if self.handle_item(found)? {
                return Ok(!self.is_incomplete);
            }
        }
        Ok(false)
    }

    /// Reads more of the current page into the buffer. Returns whether there is more to read. Safe to drop while it waits.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn buffer_page(&mut self) -> Result<bool, DirectoryError> {
        match &mut self.running {
            Some(running) => running.search.absorb().await,
            None => Ok(false),
        }
    }

    /// Stops reading before the end.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn close(mut self) -> Result<(), DirectoryError> {
        match self.running.take() {
            Some(running) => running.search.abandon().await,
            None => Ok(()),
        }
    }

    /// Starts the next search, or holds the next of the entries that are already read. Returns `false` if there is no step left.
    async fn begin_step(&mut self) -> Result<bool, DirectoryError> {
        let Some(step) = self.steps.pop_front() else { return Ok(false) };
        match step {
            ReadStep::Ready(mut ready) => {
                if let Some(entry) = ready.pop_front() {
                    self.received += 1;
                    if let Some(emitted) = &mut self.emitted {
                        emitted.add(hash(entry.dn.as_bytes()));
                    }
                    self.held = Some(entry);
                    self.is_incomplete = !self.base_only.is_empty();
                    self.steps.push_front(ReadStep::Ready(ready));
                }
            }
            ReadStep::Search(PlannedSearch { request, scope, base_may_be_gone }) => {
                let base = request.base.clone();
                let search = self.context.directory.search(request).await?;
                let steps_before = self.steps.len();
                self.searches += 1;
                self.running = Some(Box::new(RunningSearch {
                    search,
                    base,
                    scope,
                    base_may_be_gone,
                    steps_before,
                    beginnings: 0,
                }));
            }
        }
        Ok(true)
    }

    /// Handles an item of the running search. Returns whether it is an entry of the stream.
    fn handle_item(&mut self, found: Found) -> Result<bool, DirectoryError> {
        match found {
            Found::Reference(_) => {
                self.gaps.references += 1;
                return Ok(false);
            }
            Found::Unreadable(_) => {
                self.gaps.unreadable += 1;
                return Ok(false);
            }
            Found::Entry(entry) => self.held = Some(entry),
            Found::InPlace => {}
        }
        self.received += 1;
        if self.emitted.is_some() {
            self.check_restart();
        }
        let ScopeMatch { is_in_stream, below } = self.match_scope()?;
        if let Some((dn, key, container)) = below {
            self.read_below(&dn, &key, container);
        }
        if !is_in_stream {
            self.held = None;
            return Ok(false);
        }
        let hash = self.emitted.is_some().then(|| hash(self.entry().dn_octets()));
        if let (Some(emitted), Some(hash)) = (&mut self.emitted, hash) {
            emitted.add(hash);
        }
        let entry = self.entry();
        if entry.has_values_in_options() || !self.base_only.is_empty() {
            self.held = Some(entry.to_entry());
            self.is_incomplete = true;
        }
        Ok(true)
    }

    /// Checks whether the running search was restarted, so that its entries are returned again.
    fn check_restart(&mut self) {
        let Some(running) = &mut self.running else { return };
        let beginnings = running.search.beginnings();
        if beginnings == running.beginnings {
            return;
        }
        running.beginnings = beginnings;
        if self.searches == 1 {
            self.emitted = self.emitted.take().map(|emitted| emitted.empty_like());
        } else {
            self.is_repeated = true;
        }
    }
}
