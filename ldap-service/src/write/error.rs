//! Why nothing was written, or not everything.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use ldap_directory::protocol::result_code;

use crate::error::ApiError;

/// The kind of a failure: it determines the HTTP status and the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteErrorKind {
    /// A value is not valid for its attribute, or the schema forbids the entry. 400 `invalid_value`.
    Invalid,
    /// An attribute that cannot be written: secret, operational, kept by the server, or not known. 400 `attribute_protected`.
    Mutability,
    /// The entry does not exist (any more). 404 `not_found`.
    NotFound,
    /// Another entry has the name, or a unique value. 409 `taken`.
    Taken,
    /// Entries below it prevent a deletion. 409 `not_empty`.
    NotEmpty,
    /// Groups have the name that an entry would get. 409 `name_in_groups`, with [`WriteError::groups`].
    NameInGroups,
    /// The setting `roles`, `users.filter` or `groups.filter` names the entry, or one below it, and it would get another name, or none. 409 `named_in_roles`, with
    /// [`WriteError::setting`].
    NamedInRoles,
    /// The entry is the last member of a group whose class requires one. 409 `last_member`, with [`WriteError::groups`].
    LastMember,
    /// The group is the primary group of an account, which is its member by that. 409 `primary_group`, with [`WriteError::entry`].
    PrimaryGroup,
    /// The condition does not hold. 412 `precondition_failed`.
    Precondition,
    /// The entry is protected: the bound user's own, a base, or one above these. 403 `protected`.
    Protected,
    /// The entry is, or would be, outside the base of its kind. 403 `out_of_scope`.
    OutOfScope,
    /// The rule's `operations`, or the server, does not allow it to the service. 403 `not_allowed`.
    NotAllowed,
    /// `write.undo_dir` is not set. 403 `writes_disabled`.
    Disabled,
    /// One request would delete more than `write.max_deletes`. 403 `max_deletes`.
    TooManyDeletes,
    /// The deletions of the last hour reached `write.max_deletes`: 429 `max_deletes`, with [`WriteError::retry_after`].
    DeletesUsedUp,
    /// The undo file cannot be written: nothing was changed. 507 `undo_unavailable`.
    Undo,
    /// The directory answers, and refuses the change for a reason that is not known to be the record's: its own text says which. 502
    /// `directory_refused`.
    Refused,
    /// The directory is down, or cannot now. 503 `directory_unavailable`.
    Unavailable,
    /// It is not known whether the change was made. 503 `outcome_unknown`. It must not be sent again before the entry was read.
    OutcomeUnknown,
    /// A setting does not fit the directory: the text names it. 500 `misconfigured`.
    Misconfigured,
    /// A fault of the configuration or of this program. 500 `internal`.
    Internal,
}

impl WriteErrorKind {
    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            WriteErrorKind::Invalid | WriteErrorKind::Mutability => 400,
            WriteErrorKind::Protected
            | WriteErrorKind::OutOfScope
            | WriteErrorKind::NotAllowed
            | WriteErrorKind::Disabled
            | WriteErrorKind::TooManyDeletes => 403,
            WriteErrorKind::NotFound => 404,
            WriteErrorKind::Taken
            | WriteErrorKind::NotEmpty
            | WriteErrorKind::NameInGroups
            | WriteErrorKind::NamedInRoles
            | WriteErrorKind::LastMember
            | WriteErrorKind::PrimaryGroup => 409,
            WriteErrorKind::Precondition => 412,
            WriteErrorKind::DeletesUsedUp => 429,
            WriteErrorKind::Misconfigured | WriteErrorKind::Internal => 500,
            WriteErrorKind::Refused => 502,
            WriteErrorKind::Unavailable | WriteErrorKind::OutcomeUnknown => 503,
            WriteErrorKind::Undo => 507,
        }
    }

    /// Returns the code of a problem document (RFC 9457).
    pub fn code(self) -> &'static str {
        match self {
            WriteErrorKind::Invalid => "invalid_value",
            WriteErrorKind::Mutability => "attribute_protected",
            WriteErrorKind::NotFound => "not_found",
            WriteErrorKind::Taken => "taken",
            WriteErrorKind::NotEmpty => "not_empty",
            WriteErrorKind::NameInGroups => "name_in_groups",
            WriteErrorKind::NamedInRoles => "named_in_roles",
            WriteErrorKind::LastMember => "last_member",
            WriteErrorKind::PrimaryGroup => "primary_group",
            WriteErrorKind::Precondition => "precondition_failed",
            WriteErrorKind::Protected => "protected",
            WriteErrorKind::OutOfScope => "out_of_scope",
            WriteErrorKind::NotAllowed => "not_allowed",
            WriteErrorKind::Disabled => "writes_disabled",
            WriteErrorKind::TooManyDeletes | WriteErrorKind::DeletesUsedUp => "max_deletes",
            WriteErrorKind::Undo => "undo_unavailable",
            WriteErrorKind::Refused => "directory_refused",
            WriteErrorKind::Unavailable => "directory_unavailable",
            WriteErrorKind::OutcomeUnknown => "outcome_unknown",
            WriteErrorKind::Misconfigured => "misconfigured",
            WriteErrorKind::Internal => "internal",
        }
    }

    /// Returns SCIM's `scimType` (RFC 7644 section 3.12), if one fits.
    pub fn scim_type(self) -> Option<&'static str> {
        match self {
            WriteErrorKind::Invalid => Some("invalidValue"),
            WriteErrorKind::Mutability => Some("mutability"),
            WriteErrorKind::Taken => Some("uniqueness"),
            _ => None,
        }
    }
}

/// Why nothing was written, or not everything. Its text has no value of a secret attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteError {
    /// The kind.
    pub kind: WriteErrorKind,
    /// What failed, and why; for a person.
    pub detail: String,
    /// The LDAP attribute that it is about.
    pub attribute: Option<String>,
    /// The server's result code (RFC 4511 section 4.1.9).
    pub result_code: Option<u32>,
    /// In how many seconds the request may succeed.
    pub retry_after: Option<u64>,
    /// The undo file of the changes that were made before it, relative to `write.undo_dir`.
    pub undo_file: Option<String>,
    /// The groups that it is about.
    pub groups: Vec<String>,
    /// The setting that it is about.
    pub setting: Option<String>,
    /// The DN of the other entry that has the value.
    pub entry: Option<String>,
}

impl WriteError {
    /// Returns an error of a kind.
    pub fn new(kind: WriteErrorKind, detail: impl Into<String>) -> Self {
        let (attribute, result_code, retry_after, undo_file) = (None, None, None, None);
        Self {
            kind,
            detail: detail.into(),
            attribute,
            result_code,
            retry_after,
            undo_file,
            groups: Vec::new(),
            setting: None,
            entry: None,
        }
    }

    /// Sets the attribute.
    #[must_use]
    pub fn of_attribute(self, attribute: impl Into<String>) -> Self {
        Self { attribute: Some(attribute.into()), ..self }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for WriteError {}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = ApiError::new(status, error.kind.code(), error.detail);
        answer.scim_type = error.kind.scim_type();
        answer.retry_after = error.retry_after.map(Duration::from_secs);
        if let Some(attribute) = error.attribute {
            answer = answer.with("attribute", attribute.into());
        }
        if let Some(code) = error.result_code {
            answer = answer.with("result_code", result_code::name(code).into());
        }
        if !error.groups.is_empty() {
            answer = answer.with("groups", error.groups.into());
        }
        if let Some(setting) = error.setting {
            answer = answer.with("setting", setting.into());
        }
        if let Some(entry) = error.entry {
            answer = answer.with("entry", entry.into());
        }
        if let Some(undo_file) = error.undo_file {
            answer = answer.with("undo_file", undo_file.into());
        }
        answer
    }
}
