//! Pages (RFC 2696): what a page is asked for with, and what its end means.

use crate::oid;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{LdapSearch, OPERATION};
use crate::config::DEFAULT_PAGE_SIZE;
use crate::directory::Paging;
use crate::error::DirectoryError;
use crate::protocol::ber::{INTEGER, OCTET_STRING, Reader, SEQUENCE, Writer};
use crate::protocol::controls;
use crate::protocol::message::{Control, LdapResult};
use crate::protocol::result_code;

/// So many pages in a row without an entry, and the server is going round in circles.
const MAX_EMPTY_PAGES: u32 = 1000;

/// How many times the configured size a page may grow to.
const LARGEST_GROWTH: u32 = 256;
/// How many times as large the next page is that is to be larger.
const STEP: u32 = 16;
/// A page is to be larger when waiting for its first entry took more than one part in so many of its time.
const SHARE: u32 = 48;
/// ... and not less than this: what a larger page saves would not be noticed.
const NOTICEABLE: Duration = Duration::from_millis(1);

/// How large pages are to be: a cookie comes with the end of a page alone, so that each page costs a round trip in which the
/// server has nothing to do.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    configured: u32,
    largest: u32,
    began: Instant,
    waited: Duration,
}

impl Growth {
    /// Of pages that begin with this size. Any but the default is somebody's wish, and stays. `may_grow`: all is wanted.
    pub(crate) fn new(configured: u32, may_grow: bool) -> Self {
        let grows = may_grow && configured == DEFAULT_PAGE_SIZE;
        let largest = if grows { configured * LARGEST_GROWTH } else { configured };
        Self { configured, largest, began: Instant::now(), waited: Duration::ZERO }
    }

    /// Time in which nothing of a page was here.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// The size of the page after one of this size that is all here now. A reader of ours that is slow makes the time of
    /// a page long, and the pages no larger.
    pub(crate) fn next(&mut self, size: u32, now: Instant) -> u32 {
        let took = now.saturating_duration_since(self.began);
        let is_far = self.waited >= NOTICEABLE && self.waited * SHARE > took;
        (self.began, self.waited) = (now, Duration::ZERO);
        if is_far { size.saturating_mul(STEP).min(self.largest).max(size) } else { size }
    }

    /// The size after one of this size that was cut short: while stdout cannot be written the rest of a page as configured is
    /// read, that of a larger one is not, which not every server puts up with.
    pub(crate) fn cut(&mut self, size: u32) -> u32 {
        self.largest = self.largest.min(self.configured);
        size.min(self.configured)
    }

    /// The server does not take pages of this size.
    pub(crate) fn refused(&mut self, size: u32) {
        self.largest = self.largest.min(size / 2);
    }

    /// Whether a page is larger than configured.
    pub(crate) fn has_grown(&self, size: u32) -> bool {
        size > self.configured
    }
}

impl LdapSearch {
    /// The controls that a page is asked for with, after one that ended with this cookie.
    pub(crate) fn controls(&self, cookie: &[u8]) -> Vec<Control> {
        let plain = |oid: &str| Control { oid: oid.to_owned(), critical: false, value: None };
        let mut controls = Vec::new();
        if self.page_size > 0 && self.limit == 0 {
            let size = i64::from(self.page_size.min(i32::MAX.unsigned_abs()));
            let value = Writer::build(|w| {
                w.constructed(SEQUENCE, |w| {
                    w.integer(INTEGER, size);
                    w.octets(cookie);
                });
            });
            // Critical: a server that leaves the control out would send everything at once, without a word.
            controls.push(Control { oid: oid::PAGED_RESULTS.to_owned(), critical: true, value: Some(value) });
        }
        if self.directory.manages_dsa_it() {
            controls.push(plain(oid::MANAGE_DSA_IT));
        }
        if self.directory.stays_in_domain() {
            controls.push(plain(oid::DOMAIN_SCOPE));
        }
        controls.extend(self.request.controls.iter().map(|c| Control {
            oid: c.oid().to_owned(),
            critical: true,
            value: c.value(),
        }));
        controls
    }

    /// Looks at the end of a page. Whether there is another one.
    pub(crate) fn page_ended(
        &mut self,
        result: LdapResult,
        controls: &[Control],
    ) -> Result<bool, DirectoryError> {
        let first = self.cookie.is_empty() && self.entries_of_page == 0;
        if (result.code == result_code::SUCCESS || self.entries_of_page > 0)
            && let Some((code, text)) = self.without_pages.take()
        {
            let name = result_code::name(code);
            tracing::warn!(
                code,
                setting = "page_size",
                "the server answers a search with paged results (RFC 2696) with {name} {text}; it is read unpaged, which may end at its size limit"
            );
        }
        match result.code {
            result_code::SUCCESS => {
                let dirsync = controls.iter().find(|c| c.oid == oid::DIRSYNC);
                self.dirsync = dirsync.and_then(|c| controls::dirsync_end(c.value.as_deref()?));
                let cookie = paged_cookie(controls).ok_or_else(|| {
                    self.protocol("the server sent a cookie that RFC 2696 does not have".into())
                })?;
                if self.page_size == 0 || cookie.is_empty() {
                    return Ok(false);
                }
                self.empty_pages = if self.entries_of_page == 0 { self.empty_pages + 1 } else { 0 };
                if self.empty_pages > MAX_EMPTY_PAGES {
                    return Err(self.protocol("the server keeps answering with empty pages".into()));
                }
                self.cookie = cookie;
                Ok(true)
            }
            // As many as were asked for: who asked so wants no others.
            result_code::SIZE_LIMIT_EXCEEDED if matches!(self.request.paging, Paging::Limited(limit) if self.entries_of_page >= limit) => {
                Ok(false)
            }
            result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED
                if self.limit > 0 && !matches!(self.request.paging, Paging::Limited(_)) =>
            {
                // More is wanted than was asked for, or the server's own limit is lower: the next sample asks for pages
                // at once.
                if self.entries_of_page < self.limit {
                    self.directory.size_limit().fetch_min(self.entries_of_page, Ordering::Relaxed);
                }
                self.limit = 0;
                Ok(true)
            }
            result_code::ADMIN_LIMIT_EXCEEDED if self.page_size > 1 && self.entries_of_page == 0 => {
                let smaller = self.page_size / 2;
                tracing::debug!(
                    "the server refuses pages of {} entries; asking for {smaller}",
                    self.page_size
                );
                self.growth.refused(self.page_size);
                self.page_size = smaller;
                Ok(true)
            }
            result_code::UNAVAILABLE_CRITICAL_EXTENSION if first && self.page_size > 0 => {
                tracing::warn!(
                    "the server has no paged results (RFC 2696); reading unpaged, which may end at its size limit"
                );
                self.page_size = 0;
                Ok(true)
            }
            // A larger page was our wish alone: whatever the server says of it, the size that was asked for is right.
            code if is_of_pages(code)
                && self.entries_of_page == 0
                && self.growth.has_grown(self.page_size) =>
            {
                tracing::debug!(code, "the server refuses pages of {} entries", self.page_size);
                self.growth.refused(self.page_size);
                self.page_size = self.growth.cut(self.page_size);
                Ok(true)
            }
            code if is_of_pages(code) && first && self.page_size > 0 => {
                self.without_pages = Some((code, result.text));
                self.page_size = 0;
                Ok(true)
            }
            code => Err(DirectoryError::Operation {
                operation: OPERATION,
                dn: self.request.base.clone(),
                code,
                matched: result.matched,
                text: self.with_advice(code, result.text),
            }),
        }
    }

    /// What helps where a paged read ends at a limit for all of its pages together: smaller pages do not.
    fn with_advice(&self, code: u32, text: String) -> String {
        let is_limit = matches!(code, result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED);
        if !is_limit || self.page_size == 0 || self.cookie.is_empty() && self.entries_of_page == 0 {
            return text;
        }
        let advice = "the server ends a paged read at a number of entries in all (OpenLDAP: size.prtotal, 389 DS: nsPagedSizeLimit), which smaller pages do not change: have the limit raised, or set page_size to 0 to read unpaged";
        if text.is_empty() { advice.to_owned() } else { format!("{text}; {advice}") }
    }
}

/// Whether a code may be a server's answer to the control for pages, or to their size.
fn is_of_pages(code: u32) -> bool {
    const OPERATIONS_ERROR: u32 = 1;
    const OTHER: u32 = 80;
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

/// The cookie of a page's answer (RFC 2696 section 2): a sequence of size and cookie. `None` where it is malformed. An answer
/// without the control is all there is, as one with an empty cookie.
pub(crate) fn paged_cookie(controls: &[Control]) -> Option<Vec<u8>> {
    let Some(control) = controls.iter().find(|c| c.oid == oid::PAGED_RESULTS) else {
        return Some(Vec::new());
    };
    let mut parts = Reader::new(control.value.as_deref()?).constructed(SEQUENCE)?;
    parts.integer(INTEGER)?;
    parts.take(OCTET_STRING).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of pages that take so long, after so long a wait.
    fn sizes(configured: u32, waited: u64, took: u64, refused: Option<u32>) -> Vec<u32> {
        let mut growth = Growth::new(configured, true);
        let mut size = configured;
        let mut now = growth.began;
        let next = |_| {
            growth.waited(Duration::from_millis(waited));
            now += Duration::from_millis(took);
            size = growth.next(size, now);
            if refused.is_some_and(|most| size > most) {
                growth.refused(size);
                size /= 2;
            }
            size
        };
        (0..6).map(next).collect()
    }

    #[test]
    fn pages_grow_while_the_way_to_the_server_is_long() {
        assert_eq!(sizes(1000, 5, 12, None), [16_000, 256_000, 256_000, 256_000, 256_000, 256_000]);
        assert_eq!(sizes(1000, 1, 50, None), [1000; 6], "near");
        assert_eq!(sizes(1000, 5, 500, None), [1000; 6], "a slow reader");
        let mut growth = Growth::new(1000, true);
        assert_eq!((growth.cut(256_000), growth.cut(500), growth.cut(0)), (1000, 500, 0));
        growth.waited(Duration::from_mins(1));
        assert_eq!(growth.next(1000, growth.began + Duration::from_mins(1)), 1000, "not after a cut");
        growth.refused(1000);
        growth.cut(500);
        growth.waited(Duration::from_mins(1));
        assert_eq!(growth.next(500, growth.began + Duration::from_mins(1)), 500, "refused before the cut");
        assert_eq!(sizes(500, 5, 12, None), [500; 6], "as configured");
        assert_eq!(
            sizes(1000, 1, 40, None),
            [16_000, 256_000, 256_000, 256_000, 256_000, 256_000],
            "a little"
        );
        assert_eq!(
            sizes(1000, 5, 12, Some(3000)),
            [8000, 4000, 2000, 2000, 2000, 2000],
            "not what the server refuses"
        );
    }
}
