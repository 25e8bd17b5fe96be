//! The checks of an open directory.

use std::collections::BTreeSet;

use ldap_directory::oid;

use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::entry::Entry;
use ldap_directory::time::generalized::GeneralizedTime;
use ldap_directory::{
    ChangeLog, Directory, DirectoryConfig, DirectoryError, MATCH_ALL, Paging, Scope, SearchControl,
    SearchRequest, Vendor,
};

use super::{Report, settings, writing};

/// The number of entries read to find limits.
const SAMPLE: u32 = 5_000;
/// The number of entries in which attributes are looked for.
const LOOKED_AT: u32 = 100;
/// The difference between clocks, in seconds, from which a warning is logged.
const CLOCK: i64 = 60;

/// The executable that asks: each needs other rights.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The tap, with its base.
    Tap {
        /// `base_dn`.
        base: Option<&'a str>,
    },
    /// The target.
    Target {
        /// `default_base_dn`.
        base: Option<&'a str>,
        /// The attributes by which entries are searched (`match`).
        matched: &'a [String],
    },
    /// The service.
    Service {
        /// `users.base_dn`.
        base: &'a str,
        /// The attributes by which users are searched (`users.login_attributes`); empty: the usual one of the server.
        searched: &'a [String],
        /// Whether the service may change the directory.
        writes: bool,
    },
}

impl<'a> Subject<'a> {
    fn base(self) -> Option<&'a str> {
        match self {
            Subject::Tap { base } | Subject::Target { base, .. } => base,
            Subject::Service { base, .. } => Some(base),
        }
    }

    /// Returns the name of the setting of the base.
    fn setting(self) -> &'static str {
        match self {
            Subject::Tap { .. } => "base_dn",
            Subject::Target { .. } => "default_base_dn",
            Subject::Service { .. } => "users.base_dn",
        }
    }

    fn is_tap(self) -> bool {
        matches!(self, Subject::Tap { .. })
    }

    pub(super) fn is_target(self) -> bool {
        matches!(self, Subject::Target { .. })
    }
}

pub(super) async fn examine(
    directory: &Directory,
    config: &DirectoryConfig,
    subject: &Subject<'_>,
    report: &mut Report,
) {
    let root = directory.root_dse();
    if root.vendor == Vendor::Ldif {
        base(directory, *subject, report).await;
        report.works.push(match subject {
            Subject::Service { .. } => "search, SCIM and LDIF; a file checks no password".to_owned(),
            _ => "FULL_TABLE; a file has neither pages nor limits, and keeps no log of changes".to_owned(),
        });
        return;
    }
    report.steps.push(match (root.controls.is_empty(), root.vendor) {
        (true, Vendor::Other) => {
            Step::new("rootDSE", Grade::Warning, "the server says nothing of what it can do").advise(
                "ask the administrator to let the bound user read the root DSE (the entry with the empty DN)",
            )
        }
        (_, vendor) => {
            let version = [vendor.name(), root.version.as_str()].join(" ");
            let bases = root.naming_contexts.join("; ");
            Step::new("rootDSE", Grade::Ok, format!("{}; naming contexts: {bases}", version.trim()))
        }
    });
    who_am_i(directory, report).await;
    schema(directory, *subject, report).await;
    let found = base(directory, *subject, report).await;
    if let Some(base) = &found {
        reading(directory, config, *subject, base, report).await;
        attributes(directory, *subject, base, report).await;
    }
    if !matches!(subject, Subject::Service { .. }) {
        tracking(directory, report, *subject, found.as_deref()).await;
    }
    settings::limits(directory, report).await;
    settings::indexes(directory, *subject, found.as_deref(), report).await;
    if !subject.is_tap() {
        // The features of the tap were not asked for.
        report.works.clear();
    }
    match (subject, &found) {
        (Subject::Target { .. } | Subject::Service { writes: true, .. }, Some(base)) => {
            writing::report(directory, *subject, base, report).await;
        }
        // It matters for logins, too.
        (Subject::Service { .. }, Some(base)) => settings::password_policy(directory, base, report).await,
        _ => {}
    }
    clock(directory, report).await;
}

async fn who_am_i(directory: &Directory, report: &mut Report) {
    let Directory::Ldap(ldap) = directory else { return };
    report.steps.push(match ldap.who_am_i().await {
        Ok(Some(who)) if who.is_empty() => {
            Step::new("identity", Grade::Warning, "the server takes us for nobody (anonymous)")
        }
        Ok(Some(who)) => Step::new("identity", Grade::Ok, format!("the server takes us for `{who}`")),
        Ok(None) => {
            Step::new("identity", Grade::Unknown, "the server does not answer \"Who am I?\" (RFC 4532)")
        }
        Err(e) => Step::new("identity", Grade::Unknown, e.to_string()),
    });
}

async fn schema(directory: &Directory, subject: Subject<'_>, report: &mut Report) {
    let dn = directory.root_dse().subschema.clone().unwrap_or_else(|| "cn=subschema".to_owned());
    let count = match directory.read(&dn, &["attributeTypes"]).await {
        Ok(entry) => entry.map_or(0, |e| e.values("attributeTypes").len()),
        Err(_) => 0,
    };
    let is_service = matches!(subject, Subject::Service { .. });
    let uses = if is_service { "" } else { ": columns get the server's own types" };
    report.steps.push(if count > 0 {
        Step::new("subschema", Grade::Ok, format!("`{dn}` has {count} attribute types{uses}"))
    } else {
        Step::new("subschema", Grade::Warning, format!("`{dn}` cannot be read: types come from the standard schema, and the server's own attributes are texts"))
            .advise(format!("ask the administrator to let the bound user read `{dn}`"))
    });
}

/// Finds the base and reports it.
async fn base(directory: &Directory, subject: Subject<'_>, report: &mut Report) -> Option<String> {
    let setting = subject.setting();
    let root = directory.root_dse();
    let Some(base) = subject.base().or(root.default_base()) else {
        let step = Step::new(
            "base",
            Grade::Unknown,
            format!("{setting} is not set, and the server has no single naming context"),
        );
        report.steps.push(
            step.advise(format!("set {setting}, for example to one of {}", root.naming_contexts.join("; "))),
        );
        return None;
    };
    let (step, is_there) = match directory.read(base, &["objectClass", "numSubordinates"]).await {
        Ok(Some(entry)) => {
            let below = entry
                .first_text("numSubordinates")
                .map(|n| format!(", with {n} entries right below it"))
                .unwrap_or_default();
            (Step::new("base", Grade::Ok, format!("`{base}` is there{below}")), true)
        }
        Ok(None) if root.vendor == Vendor::Ldif && directory.begins_at(base).await.unwrap_or(false) => {
            let text = format!("`{base}` is not an entry of the file, but entries lie below it");
            (Step::new("base", Grade::Ok, text), true)
        }
        Ok(None) if subject.is_target() => {
            let text = format!("`{base}` is not there, or the bound user may not see it");
            (
                Step::new("base", Grade::Warning, text)
                    .advise("with create_parents it is created, where the bound user may do that"),
                false,
            )
        }
        Ok(None) if root.vendor == Vendor::Ldif => {
            let text = format!("the file has no entry at or below `{base}`");
            (Step::new("base", Grade::Failed, text).advise(format!("check {setting}")), false)
        }
        Ok(None) => {
            let text = format!("`{base}` is not there, or the bound user may not see it");
            (
                Step::new("base", Grade::Failed, text).advise(format!(
                    "check {setting}, or ask the administrator to let the bound user read below it"
                )),
                false,
            )
        }
        Err(e) => (Step::new("base", Grade::Failed, e.to_string()), false),
    };
    report.steps.push(step);
    is_there.then(|| base.to_owned())
}

/// Reads DNs to find the effect of pages and limits.
async fn reading(
    directory: &Directory,
    config: &DirectoryConfig,
    subject: Subject<'_>,
    base: &str,
    report: &mut Report,
) {
    let offered = directory.root_dse().supports_control(oid::PAGED_RESULTS);
    let mut request = SearchRequest::new(base, Scope::Subtree, MATCH_ALL, &["1.1"]);
    let page = config.page_size;
    let step = match count(directory, request.clone(), u64::from(page) + 1).await {
        Ok(read) if page == 0 => Step::new("paging", Grade::Warning, format!("page_size is 0: {read} names came unpaged"))
            .advise("leave page_size as it is (1000): without pages the server's size limit ends an answer"),
        Ok(read) if offered => Step::new("paging", Grade::Ok, format!("pages of {page} entries (RFC 2696): {read} names came")),
        Ok(read) => Step::new("paging", Grade::Warning, format!("the server offers no pages (RFC 2696); {read} names came"))
            .advise("ask the administrator for a size limit for the bound user that is larger than the directory"),
        Err(e) => Step::new("paging", Grade::Failed, e.to_string()).advise(
            "ask the administrator for limits for the bound user that let pages through (OpenLDAP: `limits … size.prtotal=unlimited`)",
        ),
    };
    report.steps.push(step);
    let Directory::Ldap(ldap) = directory else { return };
    request.paging = Paging::AtMost(SAMPLE);
    if let Ok(read) = count(directory, request, u64::from(SAMPLE)).await {
        report.steps.push(match ldap.known_size_limit() {
            Some(limit) if matches!(subject, Subject::Service { .. }) => Step::new(
                "size limit",
                Grade::Ok,
                format!("without pages the server gives {limit} entries at most; long answers go by pages"),
            ),
            Some(limit) => Step::new("size limit", Grade::Ok, format!("without pages the server gives {limit} entries at most; reading goes by pages, and only the changes of one LOG_BASED run have to fit"))
                .advise(format!("ask the administrator for a higher size limit for the bound user if more than {limit} entries may change between two LOG_BASED runs")),
            None if read < u64::from(SAMPLE) => Step::new("size limit", Grade::Ok, format!("none seen: all {read} entries came at once")),
            None => Step::new("size limit", Grade::Ok, format!("none seen up to {SAMPLE} entries")),
        });
    }
}

/// Counts entries up to a limit.
async fn count(directory: &Directory, request: SearchRequest, most: u64) -> Result<u64, DirectoryError> {
    let mut search = directory.search(request).await?;
    let mut read = 0;
    while read < most {
        match search.next_entry().await? {
            Some(_) => read += 1,
            None => return Ok(read),
        }
    }
    search.abandon().await?;
    Ok(read)
}

/// Returns which of some attributes entries have: the base entry, and some below it, as discovery looks at them. The base entry alone may
/// be invisible, older than a plug-in that maintains an attribute, or, with an empty DN, the root DSE.
async fn seen<'n>(directory: &Directory, base: &str, names: &[&'n str]) -> BTreeSet<&'n str> {
    let mut seen = BTreeSet::new();
    let mut add = |entry: &Entry| {
        seen.extend(names.iter().copied().filter(|name| !entry.values(name).is_empty()));
        seen.len() == names.len()
    };
    if !base.is_empty()
        && let Ok(Some(entry)) = directory.read(base, names).await
        && add(&entry)
    {
        return seen;
    }
    let mut request = SearchRequest::new(base, Scope::Subtree, MATCH_ALL, names);
    request.paging = Paging::AtMost(LOOKED_AT);
    if let Ok(mut search) = directory.search(request).await {
        let mut read = 0;
        while read < LOOKED_AT
            && let Ok(Some(entry)) = search.next_entry().await
            && !add(&entry)
        {
            read += 1;
        }
        // What was seen counts.
        let _ = search.abandon().await;
    }
    seen
}

/// Reports which of the attributes that the tap needs are visible to the bound user: the service needs the id alone.
async fn attributes(directory: &Directory, subject: Subject<'_>, base: &str, report: &mut Report) {
    let vendor = directory.root_dse().vendor;
    let ids = vendor.immutable_ids();
    let keys = vendor.change_keys();
    let wanted: Vec<&str> = ids.iter().chain(keys).copied().collect();
    let seen = seen(directory, base, &wanted).await;
    let has = |name: &&&str| seen.contains(**name);
    if matches!(subject, Subject::Service { .. }) {
        report.steps.push(match ids.iter().find(has) {
            Some(id) => Step::new("id", Grade::Ok, format!("`{id}` names entries for ever: the id of SCIM")),
            None => Step::new(
                "id",
                Grade::Warning,
                "no id that never changes is to be seen: SCIM and sessions need one",
            )
            .advise(format!("ask the administrator to let the bound user read {}", ids.join(" or "))),
        });
        return;
    }
    report.steps.push(match ids.iter().find(has) {
        Some(id) => Step::new(
            "id",
            Grade::Ok,
            format!("`{id}` names entries for ever: a renamed entry stays one row"),
        ),
        None => Step::new(
            "id",
            Grade::Warning,
            "no id that never changes is to be seen: rows are known by their DN, and a rename is a new row",
        )
        .advise(format!("ask the administrator to let the bound user read {}", ids.join(" or "))),
    });
    report.steps.push(match keys.iter().find(has) {
        Some(key) => {
            report.works.push(format!("INCREMENTAL by `{key}`"));
            Step::new("change key", Grade::Ok, format!("`{key}` tells what changed"))
        }
        None => Step::new("change key", Grade::Warning, "no attribute that tells what changed is to be seen")
            .advise(format!("ask the administrator to let the bound user read {}", keys.join(" or "))),
    });
}

/// Reports the server's methods of change and deletion tracking.
async fn tracking(directory: &Directory, report: &mut Report, subject: Subject<'_>, base: Option<&str>) {
    let root = directory.root_dse();
    let offers = |oid| root.supports_control(oid);
    report.works.insert(0, "FULL_TABLE: everything, and a target is told what is gone".to_owned());
    let step = if root.vendor == Vendor::ActiveDirectory && offers(oid::DIRSYNC) {
        dirsync(directory).await
    } else if root.change_log() == Some(ChangeLog::ContentSync) {
        report
            .works
            .push("LOG_BASED by content synchronisation (RFC 4533): changes and deletions".to_owned());
        Step::new("change tracking", Grade::Ok, "content synchronisation (RFC 4533)")
    } else {
        let what = match root.vendor {
            Vendor::OpenLdap => "the overlay syncprov for this database",
            Vendor::Ds389 => "the plug-in \"Content Synchronization\" (nsslapd-pluginEnabled: on)",
            _ => "content synchronisation (RFC 4533), if the server has it",
        };
        Step::new(
            "change tracking",
            Grade::Warning,
            "none offered: LOG_BASED does not work, and deletions are found by track_deletions or FULL_TABLE",
        )
        .advise(format!("ask the administrator for {what}"))
    };
    if step.grade == Grade::Ok && step.text.contains("DirSync") {
        report.works.push("LOG_BASED by DirSync: changes and deletions".to_owned());
    }
    report.steps.push(step);
    let logs: Vec<&str> = root
        .naming_contexts
        .iter()
        .map(String::as_str)
        .filter(|dn| ["cn=accesslog", "cn=changelog"].iter().any(|log| dn.eq_ignore_ascii_case(log)))
        .collect();
    if !logs.is_empty() {
        report.steps.push(Step::new("change log", Grade::Ok, format!("there is `{}`", logs.join("`, `"))));
    }
    if let (Subject::Tap { .. }, Vendor::OpenLdap, true, Some(base)) =
        (subject, root.vendor, offers(oid::SYNC_REQUEST), base)
    {
        let csn = directory.read(base, &["contextCSN"]).await.ok().flatten();
        if csn.is_none_or(|e| e.values("contextCSN").is_empty()) {
            report.steps.push(
                Step::new("contextCSN", Grade::Warning, format!("`{base}` shows no contextCSN: either it is not the database's suffix, or syncprov is not on this database"))
                    .advise("ask the administrator whether this database has syncprov, and to let the bound user read contextCSN"),
            );
        }
    }
    if offers(oid::SERVER_SORT) {
        report
            .works
            .push("sorting by the server (RFC 2891), which INCREMENTAL uses for large answers".to_owned());
    }
}

async fn dirsync(directory: &Directory) -> Step {
    let Some(base) = directory.root_dse().default_naming_context.clone() else {
        return Step::new(
            "change tracking",
            Grade::Unknown,
            "DirSync is offered, but the server names no default naming context",
        );
    };
    let mut request = SearchRequest::new(&base, Scope::Subtree, "(objectClass=domain)", &["objectGUID"]);
    request.controls = vec![SearchControl::DirSync { cookie: Vec::new() }];
    match count(directory, request, 1).await {
        Ok(_) => Step::new("change tracking", Grade::Ok, "DirSync, and the bound user has the right to it"),
        Err(e) if e.code().is_some() => Step::new("change tracking", Grade::Warning, format!("DirSync is offered, but not to the bound user ({e}); LOG_BASED goes by uSNChanged and tombstones instead"))
            .advise("ask the administrator for the right \"Replicating Directory Changes\" on the domain"),
        Err(e) => Step::new("change tracking", Grade::Unknown, e.to_string()),
    }
}

/// Compares the server's clock with this machine's: timestamps and certificates depend on both.
async fn clock(directory: &Directory, report: &mut Report) {
    let places: &[(&str, &str)] = match directory.root_dse().vendor {
        Vendor::ActiveDirectory => &[("", "currentTime")],
        Vendor::Ds389 => &[("cn=monitor", "currenttime")],
        _ => &[("cn=Current,cn=Time,cn=Monitor", "monitorTimestamp")],
    };
    for (dn, attribute) in places {
        let Ok(Some(entry)) = directory.read(dn, &[attribute]).await else { continue };
        let Some(time) = entry.first_text(attribute).and_then(GeneralizedTime::read) else { continue };
        let ahead = time.unix_seconds() - chrono::Utc::now().timestamp();
        report.steps.push(if ahead.abs() > CLOCK {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            Step::new("clock", Grade::Warning, format!("the server's clock is {} s {direction} this machine's", ahead.abs()))
                .advise("ask for NTP on both: nothing here goes by this machine's clock, but certificates and what people compare do")
        } else {
            Step::new("clock", Grade::Ok, format!("the server's clock and this machine's differ by {} s", ahead.abs()))
        });
        return;
    }
    report.steps.push(Step::new(
        "clock",
        Grade::Unknown,
        "the bound user cannot see the server's clock; nothing here goes by this machine's",
    ));
}
