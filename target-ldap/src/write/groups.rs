//! Groups that would have no member, though their class requires one (`empty_group`; RFC 4519 section 3.5). Pure.

use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;

use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::policy::Policy;
use crate::rules::rule::EmptyGroup;

/// What happens to an entry with a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EmptyGroupAction {
    /// No group would be empty.
    Nothing,
    /// This entry is wanted instead.
    Becomes(WantedEntry),
    /// The entry is deleted, or not added.
    Goes,
    /// The record is refused.
    Refused(String),
}

/// Returns the attributes that the object classes of an entry require (MUST), including the wanted classes.
pub(super) fn demanded<'s>(
    wanted: &WantedEntry,
    current: Option<&Entry>,
    schema: &'s Schema,
) -> Vec<&'s str> {
    let of = wanted.attributes.iter().find(|a| schema.same_description(&a.description, "objectClass"));
    let there = current.map(|e| schema.values_of(e, "objectClass")).unwrap_or_default();
    let values = of.map(|a| a.values.as_slice()).unwrap_or_default().iter().chain(there);
    let classes: Vec<&str> = values.filter_map(|v| std::str::from_utf8(v).ok()).collect();
    schema.must_may(classes.iter().copied()).0
}

/// Looks for required DN-valued attributes (`member`, `uniqueMember`, …) that the entry would not have. `is_checked`: the
/// destination enforces object classes.
pub(super) fn empty_groups(
    wanted: &WantedEntry,
    current: Option<&Entry>,
    policy: &EmptyGroup,
    schema: &Schema,
    is_checked: bool,
) -> EmptyGroupAction {
    if *policy == EmptyGroup::NotSaid && !is_checked {
        return EmptyGroupAction::Nothing;
    }
    let is_emptied = |a: &&Wanted| {
        a.values.is_empty() && a.policy == Policy::Force && ValueKind::of(schema, &a.description).is_name()
    };
    if !wanted.attributes.iter().any(|a| is_emptied(&a)) {
        return EmptyGroupAction::Nothing;
    }
    let demanded = demanded(wanted, current, schema);
    let mut becomes = wanted.clone();
    let mut emptied = false;
    for attribute in becomes.attributes.iter_mut().filter(|a| is_emptied(&&**a)) {
        if !demanded.iter().any(|name| schema.same_description(name, &attribute.description)) {
            continue;
        }
        emptied = true;
        let name = &attribute.description;
        let there = current.map(|e| schema.values_of(e, name)).unwrap_or_default();
        match policy {
            EmptyGroup::Delete => return EmptyGroupAction::Goes,
            EmptyGroup::Placeholder(dn) => attribute.values = vec![dn.clone().into_bytes()],
            EmptyGroup::KeepLast if !there.is_empty() => {
                attribute.values = there.last().cloned().into_iter().collect();
            }
            EmptyGroup::KeepLast => {
                return EmptyGroupAction::Refused(format!(
                    "`{}` would begin without a `{name}`, which its class demands, and empty_group: keep_last has none to keep",
                    wanted.dn
                ));
            }
            EmptyGroup::Fail | EmptyGroup::NotSaid => {
                return EmptyGroupAction::Refused(format!(
                    "`{}` would be without a `{name}`, which its class demands: empty_group says what is to become of it (keep_last, delete, or the DN of a placeholder)",
                    wanted.dn
                ));
            }
        }
    }
    if emptied { EmptyGroupAction::Becomes(becomes) } else { EmptyGroupAction::Nothing }
}

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;

    use super::*;
    use crate::map::wanted::WantedAccount;
    use crate::rules::policy::Compare;

    fn group(members: &[&str]) -> WantedEntry {
        let octets = |values: &[&str]| values.iter().map(|v| v.as_bytes().to_vec()).collect();
        let of = |name: &str, values: &[&str]| Wanted {
            description: name.into(),
            values: octets(values),
            policy: Policy::Force,
            compare: Compare::Schema,
        };
        WantedEntry {
            dn: "cn=g,dc=x".into(),
            attributes: vec![of("objectClass", &["groupOfNames"]), of("member", members)],
            references: Vec::new(),
            account: WantedAccount::default(),
        }
    }

    fn there(members: &[&str]) -> Entry {
        let values = members.iter().map(|v| v.as_bytes().to_vec()).collect();
        Entry { dn: "cn=g,dc=x".into(), attributes: vec![Attribute::new("member", values)] }
    }

    #[test]
    fn each_way_to_treat_a_group_without_members() {
        let schema = Schema::standard();
        let ask = |wanted: &[&str], current: Option<&Entry>, policy: &EmptyGroup| {
            empty_groups(&group(wanted), current, policy, schema, true)
        };
        let two = there(&["cn=a", "cn=b"]);
        assert_eq!(ask(&["cn=a"], Some(&two), &EmptyGroup::Fail), EmptyGroupAction::Nothing);
        assert!(matches!(ask(&[], Some(&two), &EmptyGroup::Fail), EmptyGroupAction::Refused(_)));
        assert!(matches!(ask(&[], None, &EmptyGroup::NotSaid), EmptyGroupAction::Refused(_)));
        let in_a_file = empty_groups(&group(&[]), None, &EmptyGroup::NotSaid, schema, false);
        assert_eq!(in_a_file, EmptyGroupAction::Nothing);
        assert!(matches!(
            empty_groups(&group(&[]), None, &EmptyGroup::Fail, schema, false),
            EmptyGroupAction::Refused(_)
        ));
        assert_eq!(ask(&[], Some(&two), &EmptyGroup::KeepLast), EmptyGroupAction::Becomes(group(&["cn=b"])));
        assert!(matches!(ask(&[], None, &EmptyGroup::KeepLast), EmptyGroupAction::Refused(_)));
        let nobody = EmptyGroup::Placeholder("cn=nobody".into());
        assert_eq!(ask(&[], None, &nobody), EmptyGroupAction::Becomes(group(&["cn=nobody"])));
        assert_eq!(ask(&[], Some(&two), &EmptyGroup::Delete), EmptyGroupAction::Goes);
        let mut device = group(&[]);
        device.attributes[0].values = vec![b"device".to_vec()];
        device.attributes[1].description = "seeAlso".into();
        assert_eq!(
            empty_groups(&device, None, &EmptyGroup::Fail, schema, true),
            EmptyGroupAction::Nothing,
            "no class demands it"
        );
    }
}
