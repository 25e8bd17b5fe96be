//! Active Directory's ranged attributes ([MS-ADTS] 3.1.1.3.1.3.3): of an attribute with many values only the first come
//! (1,500 for `member`), as `member;range=0-1499`. The rest is asked for range by range, to the end.

use super::{Directory, DirectoryError};
use crate::entry::{Attribute, Entry};

/// A description taken apart: `member;range=0-1499` is the type with its other options, and where the range ends.
#[derive(Debug, PartialEq, Eq)]
struct Ranged {
    name: String,
    /// The first value's index.
    first: u64,
    /// The last value's index; `None` is the end.
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

/// Beside the range that it gives, Active Directory names the attribute as it was asked for, without a value: `member`
/// next to `member;range=0-1499`, `member;range=1500-*` next to `member;range=1500-2999`. That is not the end of it.
fn without_echoes(attributes: &mut Vec<Attribute>) {
    let name = |a: &Attribute| ranged(&a.description).map_or_else(|| a.description.clone(), |r| r.name);
    let given: Vec<String> =
        attributes.iter().filter(|a| !a.values.is_empty() && a.description.contains('=')).map(name).collect();
    attributes.retain(|a| !a.values.is_empty() || !given.iter().any(|g| g.eq_ignore_ascii_case(&name(a))));
}

/// So many ranges of one attribute, and the server is going round in circles.
const MAX_RANGES: u32 = 1_000_000;

impl Directory {
    /// Completes the ranged attributes of an entry that a search gave, and takes the range out of their names.
    pub async fn complete_ranges(&self, entry: &mut Entry) -> Result<(), DirectoryError> {
        if !entry.attributes.iter().any(|a| a.description.contains('=')) {
            return Ok(());
        }
        without_echoes(&mut entry.attributes);
        let dn = entry.dn.clone();
        for attribute in &mut entry.attributes {
            let Some(mut range) = ranged(&attribute.description) else { continue };
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
                };
                let Some(mut more) = self.read(&dn, &[&wanted]).await? else {
                    return Err(stuck("the entry was gone"));
                };
                without_echoes(&mut more.attributes);
                let found = more.attributes.into_iter().find_map(|a| {
                    let r = ranged(&a.description).filter(|r| r.name.eq_ignore_ascii_case(&range.name))?;
                    Some((r, a.values))
                });
                // Values that went away in between: the answer has no such range, and there is no more.
                let Some((answered, values)) = found else { break };
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
