//! The pages that a server accepts (RFC 2696), as its answers show: which size to request after a refusal, and what all later searches
//! request. So a server is asked once for a size that it refuses, not in each search.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{LdapSearch, Transport};
use crate::client::result_code;

const OPERATIONS_ERROR: u32 = 1;
const OTHER: u32 = 80;

/// What the searches of one directory found out about its limits.
#[derive(Debug)]
pub(crate) struct KnownLimits {
    /// The maximum of entries that the server returns without pages.
    unpaged: AtomicU32,
    /// The largest page to request; 0 is none.
    page: AtomicU32,
}

impl Default for KnownLimits {
    fn default() -> Self {
        Self { unpaged: AtomicU32::new(u32::MAX), page: AtomicU32::new(u32::MAX) }
    }
}

impl KnownLimits {
    /// Returns the maximum of entries without pages; `u32::MAX` if no limit was reached.
    pub(crate) fn unpaged(&self) -> u32 {
        self.unpaged.load(Ordering::Relaxed)
    }

    /// Records that an unpaged search was limited to so many entries.
    pub(super) fn unpaged_ended_at(&self, count: u32) {
        self.unpaged.fetch_min(count, Ordering::Relaxed);
    }

    /// Returns the largest page to request: 0 is none, `u32::MAX` any.
    pub(super) fn page(&self) -> u32 {
        self.page.load(Ordering::Relaxed)
    }

    /// Records the largest page that the server accepts. Returns whether that is news.
    fn accepts(&self, page: u32) -> bool {
        self.page.fetch_min(page, Ordering::Relaxed) > page
    }
}

/// A refused page, until its entries are returned by a request of another size.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// The result code and the server's text, until a page of another size succeeds.
    answer: Option<(u32, String)>,
    /// The number of entries to skip, because the refused page had returned them.
    skip: u32,
    /// The same at the beginning of the current page.
    skip_of_page: u32,
    /// The DN of the first entry of the refused page: the page in its place must begin with it.
    first: Option<String>,
    /// Whether the current page is in the place of a refused one.
    is_again: bool,
    /// Whether the search began again because the server had forgotten it.
    began_again: bool,
    /// References and unreadable entries on the current page, which have no fixed place among the entries.
    others_of_page: u32,
}

impl Refusal {
    pub(super) fn is_again(&self) -> bool {
        self.is_again
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.skip > 0
    }

    /// Skips an entry. Returns whether it was one to skip.
    pub(super) fn skip_one(&mut self) -> bool {
        let skips = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        skips
    }

    /// Counts a reference or an unreadable entry.
    pub(super) fn other(&mut self) {
        self.others_of_page = self.others_of_page.saturating_add(1);
    }

    /// Returns the DN with which the page must begin.
    pub(super) fn take_first(&mut self) -> Option<String> {
        self.first.take()
    }

    /// Ends a page that was not refused.
    fn page_done(&mut self) {
        (self.skip_of_page, self.is_again, self.others_of_page) = (self.skip, false, 0);
    }

    /// Forgets what the answer had returned.
    pub(super) fn begin_again(&mut self) {
        *self = Self { answer: self.answer.take(), began_again: self.began_again, ..Self::default() };
    }
}

impl LdapSearch {
    /// Records that a page, or an unpaged answer, was accepted. Logged once in a run.
    pub(super) fn accepted(&mut self) {
        self.refusal.page_done();
        let Some((code, text)) = self.refusal.answer.take() else { return };
        let page_size = self.page_size;
        if !self.directory.limits().accepts(page_size) {
            return;
        }
        let name = result_code::name(code);
        if page_size == 0 {
            tracing::warn!(
                code,
                setting = "page_size",
                "the server gives this user no paged results (RFC 2696): it answers {name} {text}; searches are unpaged from here on, which may end at its size limit"
            );
        } else {
            tracing::info!(
                code,
                setting = "page_size",
                page_size,
                "the server answers larger pages with {name} {text}: pages of {page_size} entries are requested from here on"
            );
        }
    }

    /// Prepares the request of another size in the place of the page that was refused with this code. Returns `false` if the size is not
    /// the cause, or if it cannot be another one.
    pub(super) fn ask_again(&mut self, code: u32, text: &str) -> bool {
        let is_forgotten = self.refusal.is_again
            && !self.refusal.began_again
            && !self.cookie.is_empty()
            && self.entries_of_page == 0
            && is_of_pages(code);
        let other = self.other_size(code);
        // A size that is refused has another one to try first.
        let is_forgotten = is_forgotten && other.is_none();
        let size = match other {
            Some(size) => size,
            None if is_forgotten => self.page_size,
            None => return false,
        };
        let had = self.refusal.skip_of_page.max(self.entries_of_page);
        // Another connection may not know the cookie.
        let is_there = self.cookie.is_empty() || matches!(self.transport, Transport::Streaming(_));
        let is_continued = !is_forgotten && is_there && (had == 0 || self.refusal.others_of_page == 0);
        if !is_continued && !self.request.may_repeat {
            return false;
        }
        tracing::debug!(code, "the server refuses a page of {} entries; asking for {size}", self.page_size);
        self.growth.refused_above(size);
        if is_continued {
            if self.entries_of_page > 0 {
                self.refusal.first = Some(std::mem::take(&mut self.first_of_page));
            }
            self.refusal.skip = had;
            self.refusal.skip_of_page = had;
            self.refusal.others_of_page = 0;
        } else {
            self.give_back();
            self.restart();
            self.refusal.began_again = true;
        }
        self.refusal.is_again = true;
        if !is_forgotten {
            self.refusal.answer = Some((code, text.to_owned()));
        }
        self.page_size = size;
        self.update_recalls();
        true
    }

    /// Returns the size to request in the place of a refused one: a smaller one, or 0 for none. `None` if the code does not concern pages.
    fn other_size(&self, code: u32) -> Option<u32> {
        let size = self.page_size;
        let has_none = self.entries_of_page == 0;
        if self.limit > 0 {
            // Not a page: a sample with a size limit.
            return None;
        }
        if size == 0 {
            // Other searches were answered without pages only; this one may have them.
            let is_limit =
                matches!(code, result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED);
            return (self.is_unpaged_by_others && is_limit && !self.refusal.is_again)
                .then_some(self.growth.configured());
        }
        // The larger page was this library's choice: after any error, the configured size is right.
        if self.growth.has_grown(size) {
            let half = (size / 2).max(self.growth.configured());
            let is_too_large = code == result_code::ADMIN_LIMIT_EXCEEDED && has_none;
            return Some(if is_too_large { half } else { self.growth.configured() });
        }
        let is_first = self.cookie.is_empty() && has_none && self.refusal.skip_of_page == 0;
        let is_accepted = self.growth.was_accepted(size);
        match code {
            result_code::UNAVAILABLE_CRITICAL_EXTENSION | OPERATIONS_ERROR | OTHER => {
                (is_first && !is_accepted).then_some(0)
            }
            // The work for one page may be limited, and differs from page to page.
            result_code::ADMIN_LIMIT_EXCEEDED if has_none && size > 1 => Some(size / 2),
            code if !is_of_pages(code) || is_accepted => None,
            _ if size > 1 => Some(size / 2),
            _ => is_first.then_some(0),
        }
    }
}

/// Returns whether a code may be a server's answer to the paging control, or to the page size.
fn is_of_pages(code: u32) -> bool {
    matches!(
        code,
        OPERATIONS_ERROR
            | result_code::PROTOCOL_ERROR
            | result_code::SIZE_LIMIT_EXCEEDED
            | result_code::ADMIN_LIMIT_EXCEEDED
            | result_code::UNWILLING_TO_PERFORM
            | OTHER
    )
}
