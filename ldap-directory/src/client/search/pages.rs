//! Pages (RFC 2696): the request for a page, and the meaning of its end.

use crate::oid;
use std::time::{Duration, Instant};

use super::{LdapSearch, OPERATION};
use crate::config::DEFAULT_PAGE_SIZE;
use crate::directory::Paging;
use crate::error::DirectoryError;
use crate::protocol::ber::{INTEGER, OCTET_STRING, Reader, SEQUENCE, Writer};
use crate::protocol::controls;
use crate::protocol::message::{Control, LdapResult};
use crate::protocol::result_code;
use crate::root_dse::Vendor;

/// The maximum number of consecutive empty pages, after which the server is in a loop.
const MAX_EMPTY_PAGES: u32 = 1000;

/// The maximum growth of a page, relative to the configured size.
const LARGEST_GROWTH: u32 = 256;
/// The growth from one page to the next.
const STEP: u32 = 16;
/// A page grows if waiting for its first entry takes more than this fraction of its time.
const SHARE: u32 = 48;
/// ... and not less than this: the gain would not be noticeable.
const NOTICEABLE: Duration = Duration::from_millis(1);

/// The growth of pages. A cookie arrives only with the end of a page, so each page costs a round trip in which the server is idle.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    configured: u32,
    largest: u32,
    /// The largest page that was followed by another one.
    accepted: u32,
    began: Instant,
    waited: Duration,
}

impl Growth {
    /// Returns the growth from this size. A size other than the default was configured, and is kept. `may_grow` means that all entries are
    /// wanted.
    pub(crate) fn new(configured: u32, may_grow: bool) -> Self {
        let grows = may_grow && configured == DEFAULT_PAGE_SIZE;
        let largest = if grows { configured * LARGEST_GROWTH } else { configured };
        Self { configured, largest, accepted: 0, began: Instant::now(), waited: Duration::ZERO }
    }

    /// Adds time in which no part of a page had arrived.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Returns the size of the page after a complete one. A slow consumer makes the time of a page long, but the pages no larger.
    pub(crate) fn next(&mut self, size: u32, now: Instant) -> u32 {
        self.accepted = self.accepted.max(size);
        let took = now.saturating_duration_since(self.began);
        let is_far = self.waited >= NOTICEABLE && self.waited * SHARE > took;
        (self.began, self.waited) = (now, Duration::ZERO);
        if is_far { size.saturating_mul(STEP).min(self.largest).max(size) } else { size }
    }

    /// Returns the size of the page after one that was cut short. While the consumer is busy, the rest of a page of the configured size is
    /// read ahead, but not that of a larger one, which not every server tolerates.
    pub(crate) fn cut(&mut self, size: u32) -> u32 {
        self.largest = self.largest.min(self.configured);
        size.min(self.configured)
    }

    /// Records that the server does not accept pages above this size.
    pub(crate) fn refused_above(&mut self, size: u32) {
        self.largest = self.largest.min(size);
    }

    /// Returns the configured size.
    pub(crate) fn configured(&self) -> u32 {
        self.configured
    }

    /// Returns whether the server returned a page of this size, and another one after it.
    pub(crate) fn was_accepted(&self, size: u32) -> bool {
        size <= self.accepted
    }

    /// Returns whether a page is larger than configured.
    pub(crate) fn has_grown(&self, size: u32) -> bool {
        size > self.configured
    }
}

impl LdapSearch {
    /// Returns the controls of the page after this cookie.
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
            // Critical: a server that ignores the control would send everything at once.
            controls.push(Control { oid: oid::PAGED_RESULTS.to_owned(), critical: true, value: Some(value) });
        }
        if self.directory.manages_dsa_it() {
            controls.push(plain(oid::MANAGE_DSA_IT));
        }
        if self.directory.stays_in_domain() {
            controls.push(plain(oid::DOMAIN_SCOPE));
        }
        controls.extend(self.directory.own_values_control());
        controls.extend(self.request.controls.iter().map(|c| Control {
            oid: c.oid().to_owned(),
            critical: true,
            value: c.value(),
        }));
        controls
    }

    /// Evaluates the end of a page. Returns whether another one follows.
    pub(crate) fn page_ended(
        &mut self,
        result: LdapResult,
        controls: &[Control],
    ) -> Result<bool, DirectoryError> {
        if result.code == result_code::SUCCESS
            || self.page_size == 0 && self.limit == 0 && self.entries_of_page > 0
        {
            self.accepted();
        }
        match result.code {
            result_code::SUCCESS => {
                let dirsync = controls.iter().find(|c| c.oid == oid::DIRSYNC);
                self.dirsync = dirsync.and_then(|c| controls::dirsync_end(c.value.as_deref()?));
                let cookie = paged_cookie(controls).ok_or_else(|| {
                    self.protocol("the server sent a cookie that RFC 2696 does not have".into())
                })?;
                if self.page_size == 0 || cookie.is_empty() {
                    return self.check_end(controls).map(|()| false);
                }
                self.empty_pages = if self.entries_of_page == 0 { self.empty_pages + 1 } else { 0 };
                if self.empty_pages > MAX_EMPTY_PAGES {
                    return Err(self.protocol("the server keeps answering with empty pages".into()));
                }
                self.cookie = cookie;
                Ok(true)
            }
            // The requested number: the caller wants no others.
            result_code::SIZE_LIMIT_EXCEEDED if matches!(self.request.paging, Paging::Limited(limit) if self.entries_of_page >= limit) => {
                Ok(false)
            }
            result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED
                if self.limit > 0 && !matches!(self.request.paging, Paging::Limited(_)) =>
            {
                // More entries are wanted than were requested, or the server's own limit is lower: the next sample begins with pages.
                if self.entries_of_page < self.limit {
                    self.directory.limits().unpaged_ended_at(self.entries_of_page);
                }
                self.limit = 0;
                self.update_recalls();
                Ok(true)
            }
            code if !result_code::may_be_retried(code, &result.text)
                && self.ask_again(code, &result.text) =>
            {
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

    /// Checks that the server said that there is no further page. It must (RFC 2696 section 3); something between that drops the control
    /// would make each page the last one.
    fn check_end(&self, controls: &[Control]) -> Result<(), DirectoryError> {
        let is_asked = self.page_size > 0 && self.limit == 0;
        if !is_asked || controls.iter().any(|control| control.oid == oid::PAGED_RESULTS) {
            return Ok(());
        }
        let root = self.directory.root_dse();
        // Those send it with every page that has entries (389 DS not without: no such base). Another server may leave it out if the first
        // page has everything.
        let always_sends = matches!(root.vendor, Vendor::OpenLdap | Vendor::Ds389 | Vendor::ActiveDirectory)
            && root.supports_control(oid::PAGED_RESULTS);
        let may_be_all = self.entries_of_page == 0 || !always_sends && self.entries_of_page < self.page_size;
        if self.cookie.is_empty() && may_be_all {
            return Ok(());
        }
        Err(self.protocol(
            "the end of a page came without the control that says whether there are more (RFC 2696): something between this program and the server drops it; or set page_size to 0".into(),
        ))
    }

    /// Returns advice if a paged search reaches a limit for all its pages together: smaller pages do not help.
    fn with_advice(&self, code: u32, text: String) -> String {
        let is_limit = matches!(code, result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED);
        if !is_limit || self.page_size == 0 || self.cookie.is_empty() && self.entries_of_page == 0 {
            return text;
        }
        let advice = "the server limits the entries of all pages of a search together (OpenLDAP: size.prtotal), which smaller pages do not change: have the limit raised, or set page_size to 0 to read unpaged";
        if text.is_empty() { advice.to_owned() } else { format!("{text}; {advice}") }
    }
}

/// Returns the cookie of a page's answer (RFC 2696 section 2): a sequence of size and cookie. `None` if it is malformed. An answer without
/// the control is complete, like one with an empty cookie.
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

    /// Returns the sizes of pages with this duration, after this wait.
    fn sizes(configured: u32, waited: u64, took: u64, refused: Option<u32>) -> Vec<u32> {
        let mut growth = Growth::new(configured, true);
        let mut size = configured;
        let mut now = growth.began;
        let next = |_| {
            growth.waited(Duration::from_millis(waited));
            now += Duration::from_millis(took);
            size = growth.next(size, now);
            if refused.is_some_and(|most| size > most) {
                size /= 2;
                growth.refused_above(size);
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
        growth.refused_above(500);
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
