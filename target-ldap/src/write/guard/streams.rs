//! `limits`: how much of the limits of each stream a rehearsal used.

use std::borrow::Cow;

use ldap_directory::Directory;
use singer_common::plugin::settings::SettingsError;

use super::{LimitUse, Tally, count};
use crate::config::TargetConfig;
use crate::config::limits::Limit;
use crate::write::memberships::members_in_scope;

/// Returns how much of `limits` a rehearsal used. A percentage is of what is in the scope of the stream's rule: `scope_base` (else
/// `default_base_dn`, else the server's base), and the filter of its entries.
///
/// # Errors
/// The entries that a percentage refers to could not be counted.
pub async fn used_by_streams(
    config: &TargetConfig,
    tally: &Tally,
    directory: &Directory,
) -> anyhow::Result<Vec<LimitUse>> {
    let mut all = Vec::new();
    for (stream, tallied) in tally.by_stream() {
        let mut entries = None;
        for (setting, kind, limit) in config.limits.of(&stream) {
            let in_scope = match (limit, entries) {
                (Limit::Count(_), _) => 0,
                (Limit::Percent(_), Some(entries)) => entries,
                (Limit::Percent(_), None) => {
                    let counted = in_scope(config, &stream, &setting, directory).await?;
                    *entries.insert(counted)
                }
            };
            let allowed = Some((limit.of(in_scope), limit.text(in_scope)));
            let (setting, stream) = (Cow::Owned(setting), Some(stream.clone()));
            all.push(LimitUse { setting, kind, stream, used: tallied.of(kind), allowed });
        }
    }
    Ok(all)
}

/// Returns the number of entries in the scope of a stream's rule; with `membership`, that of the members of its groups.
pub(super) async fn in_scope(
    config: &TargetConfig,
    stream: &str,
    setting: &str,
    directory: &Directory,
) -> anyhow::Result<u64> {
    let rule = config.rule(stream);
    let base = rule.and_then(|rule| rule.scope_base.as_deref()).or(config.default_base_dn.as_deref());
    let Some(base) = base.or_else(|| directory.root_dse().default_base()) else {
        let problem = "a share of the entries in the scope of the rule, which has no scope_base; default_base_dn is not set either, and the server does not say its base";
        let expected = "a scope_base in the rule, or a number in place of the percentage";
        return Err(SettingsError::value(setting, problem, expected).into());
    };
    let filter = rule.map_or_else(|| "(objectClass=*)".to_owned(), crate::rules::rule::Rule::scope_filter);
    match rule.and_then(|rule| Some((rule.membership.as_ref()?, &rule.empty_group))) {
        Some((membership, empty_group)) => {
            let names = membership.attributes(directory.schema());
            Ok(members_in_scope(directory, base, &filter, &names, empty_group).await?)
        }
        None => count(directory, base, &filter).await,
    }
}
