//! The visible settings of a server: limits, indexes, password policy.

use std::collections::BTreeSet;

use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::entry::Entry;
use ldap_directory::{Directory, Paging, Scope, SearchRequest, Vendor};

use super::{Report, Subject};

/// The most entries of settings to read.
const MOST: usize = 2_000;

/// The most indexes to list.
const SHOWN: usize = 12;

/// Returns the visible entries; a failed search counts as none.
async fn find(directory: &Directory, base: &str, filter: &str, attributes: &[&str]) -> Vec<Entry> {
    let mut request = SearchRequest::new(base, Scope::Subtree, filter, attributes);
    // Active Directory's schema exceeds the size limit without pages; 389 DS does not support pages for its settings.
    if directory.root_dse().vendor != Vendor::ActiveDirectory {
        request.paging = Paging::Off;
    }
    let mut found = Vec::new();
    let Ok(mut search) = directory.search(request).await else { return found };
    while let Ok(Some(entry)) = search.next_entry().await {
        found.push(entry);
        if found.len() >= MOST {
            break;
        }
    }
    found
}

fn texts(entry: &Entry, name: &str) -> Vec<String> {
    entry.values(name).iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}

/// Reports limits in the server's settings.
pub(super) async fn limits(directory: &Directory, report: &mut Report) {
    let names: &[&str] = match directory.root_dse().vendor {
        Vendor::OpenLdap => &["olcSizeLimit", "olcTimeLimit", "olcLimits"],
        Vendor::Ds389 => {
            &["nsslapd-sizelimit", "nsslapd-timelimit", "nsslapd-lookthroughlimit", "nsslapd-pagedsizelimit"]
        }
        Vendor::ActiveDirectory => &["lDAPAdminLimits"],
        Vendor::Ldif | Vendor::Other => &[],
    };
    let entries = match directory.root_dse().vendor {
        Vendor::OpenLdap => {
            find(directory, "cn=config", "(|(objectClass=olcGlobal)(objectClass=olcDatabaseConfig))", names)
                .await
        }
        Vendor::Ds389 => {
            find(directory, "cn=config", "(|(cn=config)(nsslapd-lookthroughlimit=*))", names).await
        }
        Vendor::ActiveDirectory => match configuration(directory) {
            Some(base) => find(directory, &base, "(objectClass=queryPolicy)", names).await,
            None => Vec::new(),
        },
        Vendor::Ldif | Vendor::Other => return,
    };
    let mut seen = BTreeSet::new();
    for entry in &entries {
        for name in names {
            for value in texts(entry, name) {
                seen.insert(if *name == "lDAPAdminLimits" { value } else { format!("{name} {value}") });
            }
        }
    }
    report.steps.push(if seen.is_empty() {
        Step::new("limits", Grade::Unknown, "the server's settings of limits cannot be seen")
    } else {
        Step::new("limits", Grade::Ok, seen.into_iter().collect::<Vec<_>>().join("; "))
    });
}

/// Returns the DN of Active Directory's configuration partition.
fn configuration(directory: &Directory) -> Option<String> {
    let contexts = &directory.root_dse().naming_contexts;
    contexts.iter().find(|dn| dn.to_ascii_lowercase().starts_with("cn=configuration,")).cloned()
}

/// Reports whether the attributes used in searches are indexed.
pub(super) async fn indexes(
    directory: &Directory,
    subject: Subject<'_>,
    base: Option<&str>,
    report: &mut Report,
) {
    let vendor = directory.root_dse().vendor;
    let (wanted, why): (Vec<String>, &str) = match subject {
        Subject::Tap { .. } => {
            // DirSync and content synchronization have their own indexes.
            let keys = vendor.change_keys().iter().take(1).chain(vendor.immutable_ids().iter().take(1));
            (keys.map(|k| (*k).to_owned()).collect(), "INCREMENTAL searches and partitions go by it")
        }
        Subject::Target { matched, .. } => (matched.to_vec(), "each record is looked for by it (match)"),
        Subject::Service { searched: [], .. } => {
            let usual = if vendor == Vendor::ActiveDirectory { "sAMAccountName" } else { "uid" };
            (vec![usual.to_owned()], "each login looks for it")
        }
        Subject::Service { searched, .. } => (searched.to_vec(), "each login looks for it"),
    };
    let Some(indexed) = indexed(directory, base).await else {
        if !wanted.is_empty() {
            report.steps.push(
                Step::new("indexes", Grade::Unknown, "the server's indexes cannot be seen").advise(format!(
                    "ask the administrator whether {} is indexed for equality and order: {why}",
                    wanted.join(" and ")
                )),
            );
        }
        return;
    };
    let is_indexed = |name: &String| indexed.iter().any(|i| i.eq_ignore_ascii_case(name));
    let missing: Vec<String> = wanted.iter().filter(|w| !is_indexed(w)).cloned().collect();
    let mut all = indexed.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if indexed.len() > SHOWN {
        all.push_str(", …");
    }
    report.steps.push(if missing.is_empty() {
        Step::new("indexes", Grade::Ok, format!("{} indexed: {all}", indexed.len()))
    } else {
        Step::new("indexes", Grade::Warning, format!("no index of {}; there are {all}", missing.join(", ")))
            .advise(format!(
                "ask the administrator for an equality index of {}: {why}",
                missing.join(" and ")
            ))
    });
}

/// Returns the attributes with an equality index; `None` if they are not visible.
async fn indexed(directory: &Directory, base: Option<&str>) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    match directory.root_dse().vendor {
        Vendor::OpenLdap => {
            let all = find(directory, "cn=config", "(olcSuffix=*)", &["olcSuffix", "olcDbIndex"]).await;
            let base = base.unwrap_or_default().to_ascii_lowercase();
            let database = all
                .iter()
                .find(|e| texts(e, "olcSuffix").iter().any(|s| base.ends_with(&s.to_ascii_lowercase())))?;
            for line in texts(database, "olcDbIndex") {
                let names = line.split_whitespace().next().unwrap_or_default().to_owned();
                found.extend(names.split(',').map(str::to_owned));
            }
        }
        Vendor::Ds389 => {
            let all = find(
                directory,
                "cn=ldbm database,cn=plugins,cn=config",
                "(objectClass=nsIndex)",
                &["cn", "nsIndexType"],
            )
            .await;
            if all.is_empty() {
                return None;
            }
            let has_eq = |e: &&Entry| texts(e, "nsIndexType").iter().any(|t| t.eq_ignore_ascii_case("eq"));
            found.extend(all.iter().filter(has_eq).flat_map(|e| texts(e, "cn")));
        }
        Vendor::ActiveDirectory => {
            let schema = format!("CN=Schema,{}", configuration(directory)?);
            // Bit 1 of searchFlags ([MS-ADTS] 2.2.9).
            let filter = "(searchFlags:1.2.840.113556.1.4.803:=1)";
            let all = find(directory, &schema, filter, &["lDAPDisplayName"]).await;
            if all.is_empty() {
                return None;
            }
            found.extend(all.iter().flat_map(|e| texts(e, "lDAPDisplayName")));
        }
        Vendor::Ldif | Vendor::Other => return None,
    }
    Some(found)
}

/// Reports the server's password policy, if it is visible.
pub(super) async fn password_policy(directory: &Directory, base: &str, report: &mut Report) {
    let root = directory.root_dse();
    let (dn, names): (String, &[&str]) = match root.vendor {
        Vendor::ActiveDirectory => (
            root.default_naming_context.clone().unwrap_or_else(|| base.to_owned()),
            &["minPwdLength", "pwdHistoryLength", "pwdProperties", "lockoutThreshold"],
        ),
        Vendor::Ds389 => (
            "cn=config".to_owned(),
            &["passwordCheckSyntax", "passwordMinLength", "passwordLockout", "passwordHistory"],
        ),
        Vendor::OpenLdap => (base.to_owned(), &["pwdPolicySubentry"]),
        Vendor::Ldif | Vendor::Other => return,
    };
    let entry = directory.read(&dn, names).await.ok().flatten();
    let seen: Vec<String> = entry
        .iter()
        .flat_map(|e| names.iter().flat_map(|n| texts(e, n).into_iter().map(move |v| format!("{n} {v}"))))
        .collect();
    report.steps.push(if seen.is_empty() {
        Step::new("password policy", Grade::Unknown, "what the server wants of passwords cannot be seen")
    } else {
        Step::new("password policy", Grade::Ok, seen.join("; "))
    });
}
