//! Entries without a value of the replication key: later runs would never find their changes.

use ldap_directory::Directory;
use singer_common::plugin::settings::SettingsError;

use crate::replication::stream_run::StreamRun;

/// The number of such entries, and the DN of the first.
#[derive(Debug, Default)]
pub(super) struct KeylessEntries {
    count: u64,
    first: String,
}

impl KeylessEntries {
    /// Adds an entry.
    pub(super) fn add(&mut self, dn: &str) {
        if self.count == 0 {
            dn.clone_into(&mut self.first);
        }
        self.count += 1;
    }

    /// Returns an error if there are any.
    pub(super) fn refuse(&self, run: &StreamRun<'_>, key: &str) -> Result<(), SettingsError> {
        if self.count == 0 {
            return Ok(());
        }
        let others: Vec<&str> = run
            .context
            .ids
            .change_keys
            .iter()
            .map(String::as_str)
            .filter(|other| !other.eq_ignore_ascii_case(key))
            .collect();
        let instead = if others.is_empty() { String::new() } else { format!("{}, or ", others.join(" or ")) };
        let is_file = matches!(run.context.directory, Directory::Ldif(_));
        let (whose, right) = if is_file {
            ("of which there is", format!("a file in which every entry has `{key}`"))
        } else {
            ("of which the bound user sees", format!("the right to read `{key}` everywhere"))
        };
        Err(SettingsError::value(
            "replication_key",
            format!(
                "`{key}`, {whose} no value in {} entries of the stream `{}` (the first is `{}`): no later run would find their changes",
                self.count, run.stream.tap_stream_id, self.first
            ),
            format!("{instead}{right}, or FULL_TABLE"),
        ))
    }
}
