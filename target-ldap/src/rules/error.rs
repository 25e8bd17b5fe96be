//! Why a record makes no entry.

use super::template::RenderError;

/// Why a record makes no entry. Never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// A value cannot be brought into the attribute's syntax.
    #[error("property `{property}` cannot become a value of `{attribute}`: {reason}")]
    Value {
        /// The record's property.
        property: String,
        /// The attribute.
        attribute: String,
        /// What would be right.
        reason: String,
    },
    /// A template cannot be filled in.
    #[error("{part}: {error}")]
    Template {
        /// Which template.
        part: String,
        /// Why.
        error: RenderError,
    },
    /// No name can be made.
    #[error("{0}")]
    Name(String),
}
