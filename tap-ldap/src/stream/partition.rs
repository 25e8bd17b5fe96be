//! `partitions`: where to cut a stream that is read over several connections.
//!
//! A stream is cut into ranges of an attribute that never changes, so that each entry is in exactly one of them, whatever changes
//! meanwhile. A sample finds cuts for parts of about the same size. The first entries of a search are the oldest, so they only
//! show how RDN values end; a search for some of these ends then returns entries from the whole range. A filter costs a
//! server little; the entries that it sends cost more.

use std::collections::HashMap;

use ldap_directory::dn::Dn;
use ldap_directory::entry::EntryView as _;
use ldap_directory::filter::escape_value;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, Vendor};

use crate::discovery::context::DirectoryContext;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::stream::entries::Entries;
use crate::stream::key_order::{KeyOrder, OrderKey};
use ldap_directory::MATCH_ALL;

/// Streams with fewer entries are not divided.
const FEW: usize = 1_000;
/// The most values that are kept: beyond, every second one is dropped.
const MOST: usize = 20_000;
/// With fewer entries, the second sample is not used.
const TOO_FEW: usize = 20;
/// The number of final characters of an RDN value that are searched for.
const END: usize = 2;
/// The number of first entries that must have one of the searched ends: three percent.
const SAMPLED: usize = FEW * 3 / 100;
/// The most ends in a filter.
const MOST_ENDS: usize = 8;

/// Returns the attribute to divide a server's entries by: assigned when an entry is added, with an ordering, never changed.
fn attribute(vendor: Vendor) -> Option<&'static str> {
    match vendor {
        // RFC 4530: with UUIDOrderingMatch.
        Vendor::OpenLdap => Some("entryUUID"),
        // [MS-ADA3] 2.364: local to a domain controller, which does not matter within one run.
        Vendor::ActiveDirectory => Some("uSNCreated"),
        // 389 DS has no ordering for its ids.
        Vendor::Ds389 | Vendor::Ldif | Vendor::Other => None,
    }
}

/// Returns filters of which each entry of a stream matches exactly one; only one if the stream is not divided.
pub(crate) async fn filters(
    context: &DirectoryContext,
    source: &Source,
    stream: &str,
    wanted: usize,
) -> Result<Vec<String>, DirectoryError> {
    let whole = vec![MATCH_ALL.to_owned()];
    if wanted < 2 {
        return Ok(whole);
    }
    let in_one = |why: &str| {
        tracing::warn!(
            stream,
            setting = "partitions",
            "{stream}: partitions: {wanted}, but it is read over one connection: {why}"
        );
        Ok(whole.clone())
    };
    let Directory::Ldap(server) = &context.directory else { return in_one("a file has none") };
    let Some(attribute) = attribute(server.root_dse().vendor) else {
        return in_one("the server has no attribute that never changes and has an order");
    };
    if !is_divisible(context, source)? {
        return in_one("it is a base entry, a list of containers or members, or has containers nested in it");
    }
    let Some(mut sample) = KeySample::first(context, source, attribute).await? else {
        tracing::debug!("{stream}: too few entries to divide");
        return Ok(whole);
    };
    let ends = sample.common_ends();
    if !ends.is_empty() {
        sample.everywhere(context, source, attribute, &ends).await?;
    }
    if sample.lacks_key {
        return in_one(&format!("not every entry shows its {attribute}"));
    }
    let count = server.reserve(wanted).await;
    if count < wanted {
        tracing::warn!(
            stream,
            setting = "partitions",
            "{stream}: partitions: {wanted}, but only {count} connection(s) are to be had beside the first (connection_pool_size)"
        );
    }
    Ok(ranges(attribute, &sample.cuts(count)))
}

/// Returns whether a stream is one search that filters can divide.
fn is_divisible(context: &DirectoryContext, source: &Source) -> Result<bool, DirectoryError> {
    Ok(match source {
        Source::Containers | Source::Members(_) => false,
        Source::Class { .. } => true,
        Source::Search(search) => search.scope != Scope::Base,
        Source::Container { dn } => !context.containers.has_nested(&dn::key(dn, context.directory.schema())?),
    })
}

/// Returns the filters between the cuts. Entries without the attribute match the first one.
fn ranges(attribute: &str, cuts: &[Vec<u8>]) -> Vec<String> {
    let from = |cut: &Vec<u8>| format!("({attribute}>={})", escape_value(cut));
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return vec![MATCH_ALL.to_owned()] };
    let between = cuts.windows(2).filter_map(|pair| match pair {
        [low, high] => Some(format!("(&{}(!{}))", from(low), from(high))),
        _ => None,
    });
    let first = format!("(!{})", from(first));
    [first].into_iter().chain(between).chain([from(last)]).collect()
}

/// The values of the attribute in some entries.
struct KeySample<'t> {
    order: KeyOrder<'static>,
    context: &'t DirectoryContext,
    keys: Vec<(OrderKey, Vec<u8>)>,
    /// How often the RDN values of the first entries have an end, by type and final characters.
    ends: HashMap<(String, String), usize>,
    /// Whether an entry lacks the attribute, or hides it from the bound user, who then may not search by it.
    lacks_key: bool,
}

impl<'t> KeySample<'t> {
    /// Reads the first entries; returns `None` if there are no others.
    async fn first(
        context: &'t DirectoryContext,
        source: &Source,
        attribute: &'static str,
    ) -> Result<Option<Self>, DirectoryError> {
        let order = KeyOrder::new(attribute, context.directory.schema(), context.directory.root_dse().vendor);
        let mut sample = Self { order, context, keys: Vec::new(), ends: HashMap::new(), lacks_key: false };
        let limit = u32::try_from(FEW).unwrap_or(u32::MAX);
        let mut entries =
            Entries::open(context, source, &[attribute.to_owned()], Paging::AtMost(limit)).await?;
        let mut count = 0;
        while count < FEW && entries.advance().await? {
            count += 1;
            let entry = entries.entry();
            sample.add(&entry.to_entry());
            if let Some(end) = end_of_name(entry.dn()) {
                *sample.ends.entry(end).or_default() += 1;
            }
        }
        entries.close().await?;
        Ok((count == FEW).then_some(sample))
    }

    fn add(&mut self, entry: &ldap_directory::entry::Entry) {
        match self.order.of(entry, self.context.directory.schema()) {
            Some(key) => self.keys.push(key),
            None => self.lacks_key = true,
        }
    }

    /// Returns ends that about one percent of the entries have each, and that are common enough together.
    fn common_ends(&self) -> Vec<(String, String)> {
        let mut ends: Vec<_> = self.ends.iter().filter(|(_, count)| **count <= FEW / 8).collect();
        ends.sort_unstable_by_key(|(end, count)| (count.abs_diff(FEW / 100), *end));
        let mut sum = 0;
        let is_wanted = |(_, count): &(_, &usize)| {
            let is_wanted = sum < SAMPLED;
            sum += **count;
            is_wanted
        };
        ends.into_iter().take_while(is_wanted).take(MOST_ENDS).map(|(end, _)| end.clone()).collect()
    }

    /// Replaces the first entries by entries from the whole range, if there are enough.
    async fn everywhere(
        &mut self,
        context: &DirectoryContext,
        source: &Source,
        attribute: &str,
        ends: &[(String, String)],
    ) -> Result<(), DirectoryError> {
        let has_end = |(name, end): &(String, String)| format!("({name}=*{})", escape_value(end.as_bytes()));
        let filter = format!("(|{})", ends.iter().map(has_end).collect::<String>());
        let attributes = [attribute.to_owned()];
        let mut entries =
            Entries::open_filtered(context, source, &attributes, Paging::Configured, &filter, vec![]).await?;
        let first = std::mem::take(&mut self.keys);
        let (mut count, mut step) = (0_usize, 1);
        while entries.advance().await? {
            if count.is_multiple_of(step) {
                let entry = entries.entry().to_entry();
                self.add(&entry);
            }
            count += 1;
            if self.keys.len() == MOST {
                step *= 2;
                let mut keep = false;
                self.keys.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
        }
        tracing::debug!("{count} entries pass {filter}");
        if self.keys.len() < TOO_FEW {
            self.keys.extend(first);
        }
        Ok(())
    }

    /// Returns the values that cut the entries into parts of the same size.
    fn cuts(mut self, parts: usize) -> Vec<Vec<u8>> {
        self.keys.sort_unstable();
        self.keys.dedup_by(|a, b| a.0 == b.0);
        let count = self.keys.len();
        let cut = |n: usize| self.keys.get(n * count / parts.max(1)).map(|(_, value)| value.clone());
        let mut cuts: Vec<Vec<u8>> = (1..parts).filter_map(cut).collect();
        cuts.dedup();
        cuts
    }
}

/// Returns the attribute type of an entry's RDN and the last characters of its value.
fn end_of_name(dn: &str) -> Option<(String, String)> {
    let dn = Dn::parse(dn).ok()?;
    let ava = dn.rdn()?.avas.first()?;
    let value = std::str::from_utf8(&ava.value).ok()?.to_lowercase();
    let start = value.char_indices().rev().nth(END - 1)?.0;
    Some((ava.attribute.to_lowercase(), value.get(start..)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_one_range() {
        assert_eq!(ranges("x", &[]), ["(objectClass=*)"]);
        assert_eq!(ranges("x", &[b"m".to_vec()]), ["(!(x>=m))", "(x>=m)"]);
        assert_eq!(
            ranges("x", &[b"f".to_vec(), b"m".to_vec(), b"t".to_vec()]),
            ["(!(x>=f))", "(&(x>=f)(!(x>=m)))", "(&(x>=m)(!(x>=t)))", "(x>=t)"]
        );
    }

    #[test]
    fn the_end_of_a_name_is_of_its_first_value() {
        let end = |dn| end_of_name(dn).map(|(name, end)| format!("{name}={end}"));
        assert_eq!(end("UID=person17,dc=x").as_deref(), Some("uid=17"));
        assert_eq!(end("cn=Jörg Müß+sn=x,dc=x").as_deref(), Some("cn=üß"));
        assert_eq!(end("cn=x,dc=x"), None);
        assert_eq!(end(""), None);
    }
}
