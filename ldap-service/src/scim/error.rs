//! Errors of SCIM requests (RFC 7644 section 3.12).

use http::StatusCode;

use super::filter::FilterSyntaxError;
use crate::error::ApiError;

/// The detail error keyword of a 400 or 409 (RFC 7644 table 9, RFC 9865 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScimType {
    /// The filter is not valid, or cannot be translated exactly.
    InvalidFilter,
    /// Too many results for what was asked.
    TooMany,
    /// Another resource has the value.
    Uniqueness,
    /// The attribute cannot be changed.
    Mutability,
    /// The body is not a valid message.
    InvalidSyntax,
    /// The path of a PATCH operation is not valid, or not mapped.
    InvalidPath,
    /// The path of a PATCH operation found nothing, or is missing.
    NoTarget,
    /// A value is missing or not valid.
    InvalidValue,
    /// The cursor is not one of this server, or belongs to another query (RFC 9865).
    InvalidCursor,
    /// `count` is not valid with this cursor (RFC 9865).
    InvalidCount,
}

impl ScimType {
    /// Returns the keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::Uniqueness => "uniqueness",
            Self::Mutability => "mutability",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
            Self::InvalidCursor => "invalidCursor",
            Self::InvalidCount => "invalidCount",
        }
    }

    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        if self == Self::Uniqueness { 409 } else { 400 }
    }
}

/// Why a request is refused. Its text names attributes and paths, and no value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ScimError {
    /// The keyword, from which the status follows.
    pub scim_type: ScimType,
    /// What is wrong, for a person.
    pub detail: String,
}

impl ScimError {
    /// Returns an error.
    pub fn new(scim_type: ScimType, detail: impl Into<String>) -> Self {
        Self { scim_type, detail: detail.into() }
    }

    /// Returns an error of a filter's syntax.
    pub fn filter(error: &FilterSyntaxError) -> Self {
        Self::new(ScimType::InvalidFilter, format!("filter: {error}"))
    }

    /// Returns an error of a filter that cannot be translated.
    pub fn untranslatable(detail: impl Into<String>) -> Self {
        Self::new(ScimType::InvalidFilter, detail)
    }

    /// Returns an error of a value.
    pub fn value(detail: impl Into<String>) -> Self {
        Self::new(ScimType::InvalidValue, detail)
    }
}

impl ScimType {
    /// Returns the code for programs.
    fn code(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalid_filter",
            Self::TooMany => "too_many",
            Self::Uniqueness => "taken",
            Self::Mutability => "attribute_protected",
            Self::InvalidSyntax => "invalid_syntax",
            Self::InvalidPath => "invalid_path",
            Self::NoTarget => "no_target",
            Self::InvalidValue => "invalid_value",
            Self::InvalidCursor => "invalid_cursor",
            Self::InvalidCount => "invalid_count",
        }
    }
}

impl From<ScimError> for ApiError {
    fn from(error: ScimError) -> Self {
        let status = StatusCode::from_u16(error.scim_type.status()).unwrap_or(StatusCode::BAD_REQUEST);
        ApiError::new(status, error.scim_type.code(), error.detail).scim(error.scim_type.keyword())
    }
}
