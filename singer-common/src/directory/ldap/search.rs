//! Searching with pages (RFC 2696): one page of entries is the most that waits in memory.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use ldap3::asn1::{PL, StructureTag, TagClass, parse_tag, parse_uint};
use ldap3::controls::{Control, ManageDsaIt, PagedResults, RawControl};
use ldap3::{Ldap, LdapError, LdapResult, ResultEntry, SearchOptions, SearchStream};

use super::controls::{self, DIRSYNC, DirSyncEnd, SearchControl};
use super::{DOMAIN_SCOPE, LdapDirectory, result_code};
use crate::directory::config::Referrals;
use crate::directory::error::DirectoryError;
use crate::directory::{Paging, Scope, SearchItem, SearchRequest};
use crate::entry::{Attribute, Entry};

/// OID of the paged results control.
pub(super) const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// So many pages in a row without an entry, and the server is going round in circles.
const MAX_EMPTY_PAGES: u32 = 1000;
/// The most entries that may come without pages, and wait in memory: larger samples are read by pages.
const LARGEST_UNPAGED: u32 = 5_000;
const OPERATION: &str = "search";

type Page = SearchStream<'static, String, Vec<String>>;

/// A search under way. Only one paged search at a time may run on a connection: OpenLDAP keeps one cookie.
pub struct LdapSearch {
    directory: LdapDirectory,
    request: SearchRequest,
    /// The page size in use; 0 is unpaged.
    page_size: u32,
    /// The size limit to ask for (RFC 4511 section 4.5.1.4), which is how a sample begins; 0 is none. slapd finds the
    /// next page of a subtree by walking through the ids of all entries, whatever lies in between; an unpaged search
    /// walks through the subtree alone.
    limit: u32,
    /// The DNs that came under the size limit: what follows begins anew, and they are left out of it.
    given: HashSet<String>,
    cookie: Vec<u8>,
    page: Option<Page>,
    state: Progress,
    empty_pages: u32,
    entries_of_page: u32,
    dirsync: Option<DirSyncEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Done,
}

impl std::fmt::Debug for LdapSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapSearch")
            .field("request", &self.request)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl LdapSearch {
    pub(super) fn new(directory: LdapDirectory, request: SearchRequest) -> Self {
        let configured = directory.config().page_size;
        let page_size = match request.paging {
            // A base search has one entry: a page would only cost. DirSync has pages of its own.
            _ if request.scope == Scope::Base => 0,
            _ if request.controls.iter().any(|c| matches!(c, SearchControl::DirSync { .. })) => 0,
            Paging::Configured => configured,
            Paging::AtMost(limit) => configured.min(limit.max(1)),
            Paging::Off => 0,
        };
        let most = directory.size_limit().load(Ordering::Relaxed).min(LARGEST_UNPAGED);
        let limit = match request.paging {
            Paging::AtMost(limit) if request.scope != Scope::Base && limit <= most => limit,
            _ => 0,
        };
        Self {
            directory,
            request,
            page_size,
            limit,
            given: HashSet::new(),
            cookie: Vec::new(),
            page: None,
            state: Progress::Running,
            empty_pages: 0,
            entries_of_page: 0,
            dirsync: None,
        }
    }

    /// What the answer to [`SearchControl::DirSync`] said at its end, once that was reached.
    pub fn dirsync_end(&self) -> Option<&DirSyncEnd> {
        self.dirsync.as_ref()
    }

    /// The next item; `None` at the end of a complete answer, and ever after.
    pub async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        if self.state == Progress::Done {
            return Ok(None);
        }
        let result = self.advance().await;
        if !matches!(result, Ok(Some(_))) {
            self.state = Progress::Done;
            self.page = None;
        }
        result
    }

    /// Reads the page in hand to its end, and asks for no other. OpenLDAP keeps one paging state per connection: a
    /// paged search that begins while another's page is still under way is refused ("cookie is invalid or old").
    pub(in crate::directory) async fn abandon(mut self) -> Result<(), DirectoryError> {
        if let Some(page) = &mut self.page {
            while let Some(_unwanted) =
                page.next().await.map_err(|e| self.directory.lost(OPERATION, &self.request.base, &e))?
            {
            }
        }
        Ok(())
    }

    async fn advance(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        loop {
            let Some(page) = &mut self.page else {
                let page = self.start_page().await?;
                self.page = Some(page);
                continue;
            };
            match page.next().await {
                Ok(Some(item)) if item.is_intermediate() => {}
                Ok(Some(item)) => {
                    let item = self.item(item)?;
                    self.entries_of_page += 1;
                    if let SearchItem::Entry(entry) = &item {
                        if self.limit > 0 {
                            self.given.insert(entry.dn.clone());
                        } else if self.given.remove(&entry.dn) {
                            continue;
                        }
                    }
                    return Ok(Some(item));
                }
                Ok(None) => {
                    let result = page.finish().await;
                    self.page = None;
                    if !self.page_ended(result)? {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(self.directory.lost(OPERATION, &self.request.base, &e)),
            }
        }
    }

    async fn start_page(&mut self) -> Result<Page, DirectoryError> {
        let mut controls: Vec<RawControl> = Vec::new();
        if self.page_size > 0 && self.limit == 0 {
            let size = i32::try_from(self.page_size).unwrap_or(i32::MAX);
            let mut paged: RawControl = PagedResults { size, cookie: self.cookie.clone() }.into();
            // Critical: a server that leaves the control out would send everything at once, without a word.
            paged.crit = true;
            controls.push(paged);
        }
        if self.directory.manages_dsa_it() {
            controls.push(ManageDsaIt.into());
        }
        if self.directory.stays_in_domain() {
            controls.push(RawControl { ctype: DOMAIN_SCOPE.to_owned(), crit: false, val: None });
        }
        controls.extend(self.request.controls.iter().map(|c| RawControl {
            ctype: c.oid().to_owned(),
            crit: true,
            val: c.value(),
        }));
        self.entries_of_page = 0;
        let mut ldap: Ldap = self.directory.handle();
        if !controls.is_empty() {
            ldap.with_controls(controls);
        }
        if self.limit > 0 {
            let limit = i32::try_from(self.limit).unwrap_or(i32::MAX);
            ldap.with_search_options(SearchOptions::new().sizelimit(limit));
        }
        let SearchRequest { base, scope, filter, attributes, .. } = self.request.clone();
        let scope = match scope {
            Scope::Base => ldap3::Scope::Base,
            Scope::One => ldap3::Scope::OneLevel,
            Scope::Sub => ldap3::Scope::Subtree,
        };
        ldap.streaming_search(&base, scope, &filter, attributes).await.map_err(|e| match e {
            LdapError::FilterParsing => DirectoryError::Protocol {
                operation: OPERATION,
                dn: base.clone(),
                reason: format!("`{filter}` is not a search filter (RFC 4515)"),
            },
            e => self.directory.lost(OPERATION, &base, &e),
        })
    }

    /// Looks at the end of a page. Whether there is another one.
    fn page_ended(&mut self, result: LdapResult) -> Result<bool, DirectoryError> {
        let first = self.cookie.is_empty() && self.entries_of_page == 0;
        match result.rc {
            result_code::SUCCESS => {
                let dirsync = result.ctrls.iter().find(|c| c.1.ctype == DIRSYNC);
                self.dirsync = dirsync.and_then(|c| controls::dirsync_end(c.1.val.as_deref()?));
                let cookie = cookie(&result.ctrls).unwrap_or_default();
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
            result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED if self.limit > 0 => {
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
            code => Err(DirectoryError::Operation {
                operation: OPERATION,
                dn: self.request.base.clone(),
                code,
                matched: result.matched,
                text: result.text,
            }),
        }
    }

    fn item(&self, item: ResultEntry) -> Result<SearchItem, DirectoryError> {
        let malformed = || self.protocol("the server sent an entry that is not well-formed".into());
        if item.is_ref() {
            let urls = references(item.0).ok_or_else(malformed)?;
            if self.directory.config().referrals == Referrals::Fail {
                return Err(self.protocol(format!(
                    "the server refers to {} and follow_referrals is fail",
                    urls.join(", ")
                )));
            }
            return Ok(SearchItem::Reference(urls));
        }
        entry(item.0).map(SearchItem::Entry).ok_or_else(malformed)
    }

    fn protocol(&self, reason: String) -> DirectoryError {
        DirectoryError::Protocol { operation: OPERATION, dn: self.request.base.clone(), reason }
    }
}

/// The cookie of a page's answer (RFC 2696 section 2): a sequence of size and cookie.
fn cookie(controls: &[Control]) -> Option<Vec<u8>> {
    let value = controls.iter().find(|c| c.1.ctype == PAGED_RESULTS)?.1.val.as_deref()?;
    let (_, tag) = parse_tag(value).ok()?;
    let mut parts = tag.expect_constructed()?.into_iter();
    let size = parts.next()?.expect_primitive()?;
    parse_uint(&size).ok()?;
    parts.next()?.expect_primitive()
}

/// SearchResultEntry (RFC 4511 section 4.5.2): name, then attributes with their sets of values.
fn entry(tag: StructureTag) -> Option<Entry> {
    let mut parts = tag.match_class(TagClass::Application)?.match_id(4)?.expect_constructed()?.into_iter();
    let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let attributes = parts.next()?.expect_constructed()?.into_iter().map(attribute).collect::<Option<_>>()?;
    Some(Entry { dn, attributes })
}

fn attribute(tag: StructureTag) -> Option<Attribute> {
    let mut parts = tag.expect_constructed()?.into_iter();
    let description = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let values = parts
        .next()?
        .expect_constructed()?
        .into_iter()
        .map(StructureTag::expect_primitive)
        .collect::<Option<_>>()?;
    Some(Attribute { description, values })
}

/// SearchResultReference (RFC 4511 section 4.5.3): a sequence of URLs.
fn references(tag: StructureTag) -> Option<Vec<String>> {
    let PL::C(urls) = tag.payload else { return None };
    urls.into_iter().map(|u| String::from_utf8(u.expect_primitive()?).ok()).collect()
}
