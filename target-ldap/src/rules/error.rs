//! Why a record cannot be mapped to an entry.

use super::template::RenderError;

/// Why a record cannot be mapped to an entry. Never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// A value is not valid in the attribute's syntax.
    #[error("property `{property}` cannot become a value of `{attribute}`: {reason}")]
    Value {
        /// The record's property.
        property: String,
        /// The attribute.
        attribute: String,
        /// What would be valid.
        reason: String,
    },
    /// A template cannot be rendered.
    #[error("{part}: {error}")]
    Template {
        /// Which template.
        part: String,
        /// Why.
        error: RenderError,
    },
    /// A record's property has another form than the path of a placeholder.
    #[error("`{{{path}}}`: {reason}")]
    Path {
        /// The placeholder.
        path: String,
        /// What would be valid.
        reason: String,
    },
    /// No DN can be made.
    #[error("{0}")]
    Name(String),
}
