//! Active Directory's ranged attributes ([MS-ADTS] 3.1.1.3.1.3.3): an attribute with many values is returned in ranges (1,500 for
//! `member`), as `member;range=0-1499`. The remaining ranges are requested one by one.

use super::{Directory, DirectoryError};
use crate::entry::{Attribute, Entry};

/// A parsed description: `member;range=0-1499` is the type with its other options, and the range.
#[derive(Debug, PartialEq, Eq)]
struct Ranged {
    name: String,
    /// The index of the first value.
    first: u64,
    /// The index of the last value; `None` is the end.
    last: Option<u64>,
}

fn ranged(description: &str) -> Option<Ranged> {
    let mut range = None;
    let mut kept = Vec::new();
    for part in description.split(';') {
        let lower = part.to_ascii_lowercase();
        match lower.strip_prefix("range=").and_then(|r| r.split_once('-')) {
            Some((first, "*")) => range = Some((first.parse().ok()?, None)),
            Some((first, last)) => range = Some((first.parse().ok()?, Some(last.parse().ok()?))),
            None => kept.push(part),
        }
    }
    range.map(|(first, last)| Ranged { name: kept.join(";"), first, last })
}

/// Removes attributes that only repeat a request. Next to a range, Active Directory returns the requested description without values:
/// `member` next to `member;range=0-1499`, `member;range=1500-*` next to `member;range=1500-2999`. That is not the end of the attribute.
fn without_echoes(attributes: &mut Vec<Attribute>) {
    let name = |a: &Attribute| ranged(&a.description).map_or_else(|| a.description.clone(), |r| r.name);
    let given: Vec<String> =
        attributes.iter().filter(|a| !a.values.is_empty() && a.description.contains('=')).map(name).collect();
    attributes.retain(|a| !a.values.is_empty() || !given.iter().any(|g| g.eq_ignore_ascii_case(&name(a))));
}

/// Joins the ranges of an entry of a file, as those of a server, and removes them from the descriptions. Returns the attributes
/// that lack a range.
pub(crate) fn join_ranges(entry: &mut Entry) -> Vec<String> {
    if !entry.attributes.iter().any(|a| a.description.contains('=')) {
        return Vec::new();
    }
    without_echoes(&mut entry.attributes);
    let (mut parts, mut joined): (Vec<(Ranged, Attribute)>, Vec<Attribute>) = (Vec::new(), Vec::new());
    for attribute in std::mem::take(&mut entry.attributes) {
        match ranged(&attribute.description) {
            Some(range) => parts.push((range, attribute)),
            None => joined.push(attribute),
        }
    }
    parts.sort_by_cached_key(|(range, _)| (range.name.to_ascii_lowercase(), range.first));
    let mut missing: Vec<String> = Vec::new();
    let mut parts = parts.into_iter().peekable();
    while let Some((range, part)) = parts.next() {
        let mut attribute = Attribute::new(range.name.clone(), part.values);
        let mut whole = range.first == 0;
        let mut end = range.last;
        while let Some((next, mut more)) =
            parts.next_if(|(next, _)| next.name.eq_ignore_ascii_case(&range.name))
        {
            // The announced values must be present.
            whole &= end.is_none_or(|end| u64::try_from(attribute.values.len()).ok() == end.checked_add(1));
            // A range may occur twice in a file, or overlap.
            let begins = end.map_or(u64::MAX, |end| end.saturating_add(1));
            whole &= next.first <= begins;
            let known = usize::try_from(begins.saturating_sub(next.first)).unwrap_or(usize::MAX);
            more.values.drain(..known.min(more.values.len()));
            attribute.values.extend(more.values);
            end = end.and_then(|end| next.last.map(|last| last.max(end)));
        }
        if !whole || end.is_some() {
            missing.push(range.name);
        }
        joined.push(attribute);
    }
    entry.attributes = joined;
    missing
}

/// The maximum number of ranges of an attribute, after which the server is in a loop.
const MAX_RANGES: u32 = 1_000_000;
/// The maximum size of an entry with joined ranges, in octets: that of one message. A value has an additional cost, which bounds
/// many short ones.
const MOST: usize = crate::ldif::reader::DEFAULT_MAX_RECORD_BYTES;
const VALUE_OVERHEAD: usize = 24;

fn size(values: &[Vec<u8>]) -> usize {
    values.iter().map(|value| value.len().saturating_add(VALUE_OVERHEAD)).sum()
}

impl Directory {
    /// Reads one entry as [`Self::read`] does, with all values of attributes that have many ([`Self::complete_ranges`]).
    ///
    /// # Errors
    /// As these two.
    pub async fn read_whole(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        let mut entry = self.read(dn, attributes).await?;
        if let Some(entry) = &mut entry {
            self.complete_ranges(entry).await?;
        }
        Ok(entry)
    }

    /// Completes the ranged attributes of an entry from a search, and removes the range from their descriptions.
    ///
    /// Active Directory returns the first values only of an attribute with many (1,500 of `member`), under the description
    /// `member;range=0-1499`: [`Entry::values`] has nothing for `member` then. Call this for each entry whose attributes may have many
    /// values; for others it costs next to nothing. A range that does not begin at 0 was requested explicitly, and remains as it is.
    ///
    /// # Errors
    /// Fails if a search of the remaining values fails, or if the entry becomes too large.
    pub async fn complete_ranges(&self, entry: &mut Entry) -> Result<(), DirectoryError> {
        if !entry.attributes.iter().any(|a| a.description.contains('=')) {
            return Ok(());
        }
        without_echoes(&mut entry.attributes);
        let dn = entry.dn.clone();
        let mut total: usize = entry.attributes.iter().map(|attribute| size(&attribute.values)).sum();
        for attribute in &mut entry.attributes {
            let Some(mut range) = ranged(&attribute.description) else { continue };
            // A range from the middle, which was requested: it would look like the whole attribute.
            if range.first != 0 {
                continue;
            }
            attribute.description.clone_from(&range.name);
            let mut asked = 0;
            while let Some(last) = range.last {
                asked += 1;
                let next = last.saturating_add(1);
                let wanted = format!("{};range={next}-*", range.name);
                let stuck = |reason: &str| DirectoryError::Protocol {
                    operation: "search",
                    dn: dn.clone(),
                    reason: format!("{reason} when asked for `{wanted}`"),
                    outcome_unknown: false,
                };
                let Some(mut more) = self.read(&dn, &[&wanted]).await? else {
                    return Err(stuck("the entry was gone"));
                };
                without_echoes(&mut more.attributes);
                let found = more.attributes.into_iter().find_map(|a| {
                    let r = ranged(&a.description).filter(|r| r.name.eq_ignore_ascii_case(&range.name))?;
                    Some((r, a.values))
                });
                // Values were removed meanwhile: the answer has no such range, and this is the end.
                let Some((answered, values)) = found else { break };
                if values.is_empty() && answered.last.is_some() {
                    return Err(stuck("the server gave no value of a range that is not the last"));
                }
                total = total.saturating_add(size(&values));
                if total > MOST {
                    return Err(stuck(&format!("the entry came to more than {} MiB", MOST >> 20)));
                }
                attribute.values.extend(values);
                if answered.first != next {
                    return Err(stuck("the server gave another range"));
                }
                if answered.last.is_some_and(|l| l < next) || asked > MAX_RANGES {
                    return Err(stuck("the server went round in circles"));
                }
                range.last = answered.last;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_file_are_joined_whatever_their_order() {
        let entry = |attributes: &[(&str, &[&str])]| Entry {
            dn: "cn=g".into(),
            attributes: attributes
                .iter()
                .map(|(n, vs)| Attribute::new(*n, vs.iter().map(|v| v.as_bytes().to_vec()).collect()))
                .collect(),
        };
        let joined = |attributes: &[(&str, &[&str])]| {
            let mut entry = entry(attributes);
            let missing = join_ranges(&mut entry);
            let text = |v: &Vec<u8>| String::from_utf8_lossy(v).into_owned();
            let values: Vec<String> =
                entry.attributes.iter().flat_map(|a| a.values.iter().map(text)).collect();
            (values.concat(), missing)
        };
        let part = |missing: &str| vec![missing.to_owned()];
        let all = joined(&[("member;range=2-*", &["c"]), ("cn", &["g"]), ("member;range=0-1", &["a", "b"])]);
        assert_eq!(all, ("gabc".into(), vec![]));
        assert_eq!(joined(&[("m;range=0-*", &["a"])]), ("a".into(), vec![]));
        assert_eq!(
            joined(&[("m;range=0-1", &["a", "b"]), ("M;RANGE=1-*", &["b", "c"])]),
            ("abc".into(), vec![])
        );
        assert_eq!(joined(&[("m;range=0-1", &["a", "b"])]), ("ab".into(), part("m")), "no last range");
        assert_eq!(joined(&[("m;range=1-*", &["b"])]), ("b".into(), part("m")), "no first range");
        assert_eq!(joined(&[("m;range=0-0", &["a"]), ("m;range=2-*", &["c"])]), ("ac".into(), part("m")));
        assert_eq!(joined(&[("cn;x=1", &["a"])]), ("a".into(), vec![]), "another option");
    }

    #[tokio::test]
    async fn a_range_from_the_middle_does_not_look_like_the_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "dn: cn=g\nobjectClass: groupOfNames\ncn: g\n").unwrap();
        let file = crate::ldif::LdifDirectory::open(file.path(), crate::Access::Read).unwrap();
        let directory = Directory::Ldif(file);
        for (description, after) in [
            ("member;range=10-19", "member;range=10-19"),
            ("member;range=90-*", "member;range=90-*"),
            ("member;range=0-*", "member"),
            ("member", "member"),
        ] {
            let attributes = vec![Attribute::new(description, vec![b"cn=a".to_vec()])];
            let mut entry = Entry { dn: "cn=g".into(), attributes };
            directory.complete_ranges(&mut entry).await.unwrap();
            assert_eq!(entry.attributes, [Attribute::new(after, vec![b"cn=a".to_vec()])]);
        }
    }

    #[test]
    fn ranges_are_told_from_other_options() {
        let r = |name: &str, first, last| Some(Ranged { name: name.into(), first, last });
        assert_eq!(ranged("member;range=0-1499"), r("member", 0, Some(1499)));
        assert_eq!(ranged("member;Range=1500-*"), r("member", 1500, None));
        assert_eq!(ranged("x;lang-de;range=0-*"), r("x;lang-de", 0, None));
        assert_eq!(ranged("member;range=x-9"), None);
        assert_eq!(ranged("cn;lang-de"), None);
        assert_eq!(ranged("member;range=0-x"), None);
    }
}
