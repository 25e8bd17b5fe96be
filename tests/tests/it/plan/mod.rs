//! `--dry-run`: the plan as LDIF and as a page, and whether it is what the run then does.

mod dry_run;
mod hostile_html;
mod html;
mod matches_accesslog;
mod property;
mod schema_checks;
