//! Import of LDIF: content records make entries as they say, change records are carried out.
//!
//! The file is read three times at most, piece by piece. The first pass checks everything that needs no directory: form, scope,
//! protected entries and attributes, the number of deletions ([`records`]). Then the plan is made on a preview (dry run), or the
//! changes are made ([`run`]). Records whose parent comes later in the file are tried again in further passes.

mod attempt;
pub mod records;
pub mod report;
pub mod run;
pub mod upload;

pub use report::{Reject, Report};
pub use run::{Import, ImportError};
