//! Deletions: `_sdc_deleted_at`, `on_delete`, ACTIVATE_VERSION, and the entries that no deletion may remove.

mod activate_version;
mod checked_again;
mod grace;
mod moves_between_rules;
mod on_delete;
mod ownership;
mod sdc_deleted_at;
