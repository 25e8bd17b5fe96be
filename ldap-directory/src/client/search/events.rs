//! What arrives in a search: entries, references and the end of a page, and the checks that each must pass.

use super::{Event, Follow, Incoming, LdapSearch, OPERATION, Step, Transport};
use crate::client::result_code;
use crate::config::Referrals;
use crate::directory::{Found, Paging, Scope};
use crate::entry::EntryView as _;
use crate::error::DirectoryError;
use crate::protocol::entry::MOST_ATTRIBUTES;

impl LdapSearch {
    /// Handles an event, and returns what it leads to.
    pub(super) fn handle(&mut self, event: Event) -> Result<Step, DirectoryError> {
        match event {
            Event::TooMany(dn) => Err(DirectoryError::Protocol {
                operation: OPERATION,
                dn,
                reason: format!(
                    "the entry has more than {MOST_ATTRIBUTES} attributes, which are not taken; name those to read (`attributes`)"
                ),
                outcome_unknown: false,
            }),
            Event::NotText { dn, description } => Err(DirectoryError::Protocol {
                operation: OPERATION,
                dn,
                reason: format!(
                    "the entry is not well-formed: it has an attribute with the name `{description}`, which is not UTF-8 (RFC 4512 section 1.4); correct it on the server, or name the attributes to read (`attributes`)"
                ),
                outcome_unknown: false,
            }),
            Event::Malformed => Err(self.protocol("the server sent an entry that is not well-formed".into())),
            Event::Reference(urls) => {
                if self.directory.config().referrals == Referrals::Fail {
                    return Err(DirectoryError::Referral {
                        operation: OPERATION,
                        dn: self.request.base.clone(),
                        to: urls.join(", "),
                    });
                }
                self.entries_of_page = self.entries_of_page.saturating_add(1);
                self.refusal.other();
                if self.follow(&urls, true) {
                    return Ok(Step::Next);
                }
                Ok(Step::Found(Found::Reference(urls)))
            }
            Event::Unreadable(dn) => {
                self.asked.check(OPERATION, &dn, self.directory.schema())?;
                self.entries_of_page = self.entries_of_page.saturating_add(1);
                self.refusal.other();
                self.directory.note_unreadable(&dn);
                Ok(Step::Found(Found::Unreadable(dn)))
            }
            Event::Entry(incoming) => {
                if self.entries_of_page == 0 {
                    self.check_first(&incoming)?;
                }
                self.check_asked(&incoming)?;
                self.entries_of_page = self.entries_of_page.saturating_add(1);
                if self.recalls && self.was_given(&incoming) {
                    return Ok(Step::Next);
                }
                Ok(Step::Found(match incoming {
                    Incoming::InPlace => Found::InPlace,
                    Incoming::Whole(entry) => Found::Entry(entry),
                }))
            }
            Event::End { result, controls } => {
                let is_own = matches!(self.transport, Transport::Streaming(_));
                if let Transport::Buffered(search) = &mut self.transport {
                    search.end_page();
                }
                if let Some(watch) = &mut self.watch {
                    watch.page(self.entries_of_page, is_own.then_some(result.code));
                }
                if result.code == result_code::REFERRAL && self.follow(&result.referral, false) {
                    return Ok(Step::Complete);
                }
                let is_page = result.code == result_code::SUCCESS && self.entries_of_page > 0;
                let goes_on = self.page_ended(result, &controls)?;
                Ok(match self.request.paging {
                    Paging::Stepwise(_) if goes_on && is_page => Step::Pause,
                    _ if goes_on => Step::Next,
                    _ => Step::Complete,
                })
            }
        }
    }

    /// Queues a reference to follow. Returns whether it is followed.
    fn follow(&mut self, urls: &[String], is_continued: bool) -> bool {
        let followed = self.directory.followed(urls, &self.request, &self.chain);
        let Some((target, chain)) = followed else { return false };
        self.to_follow.push_back(Follow { target, chain, is_continued });
        true
    }

    /// Checks that an entry is one that was asked for, and that a base search has no more than one.
    fn check_asked(&mut self, entry: &Incoming) -> Result<(), DirectoryError> {
        let schema = self.directory.schema();
        match (entry, &self.transport) {
            (Incoming::Whole(entry), _) => self.asked.check(OPERATION, &entry.dn, schema)?,
            (Incoming::InPlace, Transport::Streaming(bulk)) => {
                self.asked.check(OPERATION, bulk.in_place().dn(), schema)?;
            }
            (Incoming::InPlace, _) => {}
        }
        if self.request.scope == Scope::Base && self.entries_of_page > 0 {
            return Err(self.protocol("asked for this entry, the server gave it more than once".to_owned()));
        }
        Ok(())
    }

    /// Checks the first entry of a page: it must not be that of the page before, but must be that of a page which is requested again.
    fn check_first(&mut self, first: &Incoming) -> Result<(), DirectoryError> {
        let dn = match (first, &self.transport) {
            (Incoming::Whole(entry), _) => entry.dn.clone(),
            (Incoming::InPlace, Transport::Streaming(bulk)) => bulk.in_place().dn().to_owned(),
            (Incoming::InPlace, _) => return Ok(()),
        };
        if let Some(expected) = self.refusal.take_first() {
            if dn != expected {
                let reason =
                    format!("a page that was requested again begins with `{dn}`, and not with `{expected}`");
                return Err(self.protocol(reason));
            }
        } else if !self.cookie.is_empty() && dn == self.first_of_page {
            let reason = "the server gives the same page again and again: its cookies lead nowhere";
            return Err(self.protocol(reason.into()));
        }
        self.first_of_page = dn;
        Ok(())
    }

    /// Returns whether an entry was already returned under the size limit. Records it while the limit is in force.
    fn was_given(&mut self, entry: &Incoming) -> bool {
        if self.refusal.skip_one() {
            self.update_recalls();
            return true;
        }
        let in_place;
        let dn = match (entry, &self.transport) {
            (Incoming::Whole(entry), _) => entry.dn.as_str(),
            (Incoming::InPlace, Transport::Streaming(bulk)) => {
                in_place = bulk.in_place();
                in_place.dn()
            }
            (Incoming::InPlace, _) => return false,
        };
        if self.limit > 0 {
            self.given.insert(dn.to_owned());
            return false;
        }
        let was_given = self.given.remove(dn);
        self.recalls = !self.given.is_empty();
        was_given
    }
}
