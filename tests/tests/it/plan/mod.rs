//! `--dry-run`: the plan as LDIF and as HTML, and whether the run then does the same.

mod dry_run;
mod hostile_html;
mod html;
pub(crate) mod matches_accesslog;
mod property;
mod schema_checks;
