//! What has administrative rights on Active Directory.

use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};

use crate::write::memberships::rid;

/// The groups whose members have administrative rights, however deep they are nested. Active Directory marks the members in the same way, within
/// an hour (its SDProp); Samba never does.
const ADMINS: [(&str, &str); 2] = [("objectClass", "group"), ("adminCount", "1")];
/// The rule that follows nested groups (`LDAP_MATCHING_RULE_IN_CHAIN`, [MS-ADTS] 3.1.1.3.4.4.3).
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// What Active Directory marks: objects that it needs, and accounts and groups with administrative rights ([MS-ADA1], [MS-ADA2]).
const DEFAULTS: [(&str, &str); 2] = [("isCriticalSystemObject", "TRUE"), ("adminCount", "1")];

/// Returns the filter of what Active Directory marks, and of the members of the groups that it marks now.
///
/// # Errors
/// The directory does not say it.
pub(super) async fn administrative(directory: &Directory) -> Result<Filter, DirectoryError> {
    let equal = |(name, value): (&str, &str)| Filter::equality(name, value);
    let mut any = vec![Filter::Or(DEFAULTS.into_iter().map(equal).collect())];
    let Some(base) = directory.root_dse().default_base().map(str::to_owned) else {
        return Ok(Filter::Or(any));
    };
    let groups = Filter::And(ADMINS.into_iter().map(equal).collect());
    let request = SearchRequest::new(base, Scope::Subtree, groups, &["objectSid"]).repeating();
    let mut search = directory.search(request).await?;
    while let Some(group) = search.next_entry().await? {
        any.push(Filter::Extensible {
            rule: Some(IN_CHAIN.to_owned()),
            attribute: Some("memberOf".to_owned()),
            dn: false,
            value: group.dn.clone().into_bytes(),
        });
        // Members by their primary group are in no list.
        let is_of_domain = group.values("objectSid").first().is_some_and(|sid| sid.len() == 28);
        let rid = rid(&group).filter(|_| is_of_domain);
        any.extend(rid.map(|rid| Filter::equality("primaryGroupID", rid.to_string())));
    }
    Ok(Filter::Or(any))
}
