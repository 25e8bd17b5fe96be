//! LDIF: [`export`] of what is below the bases, and [`import`] of content or change records.
//!
//! Both work in bounded memory: an export waits for its client, and an import reads its file piece by piece.

pub mod export;
pub mod import;
pub mod shared;
