//! From errors of the directory and outcomes of target-ldap to errors of a write.

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::client::PASSWORD_MODIFY;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::text::printable;
use target_ldap::rules::error::MappingError;
use target_ldap::write::NO_PASSWORD_YET;
use target_ldap::write::WriteOutcome as TaskOutcome;
use target_ldap::write::ldap_result::{LdapResult, attribute_named, is_records_fault, is_taken_value};
use target_ldap::write::several;

use super::rules::PASSWORD;
use super::{Effect, WriteError, WriteErrorKind};

const STRONGER_AUTH_REQUIRED: u32 = 8;
const CONFIDENTIALITY_REQUIRED: u32 = 13;
/// The pause after which a write that the directory could not make now may succeed, in seconds.
const SOON: u64 = 5;

fn kind_of(error: &DirectoryError) -> WriteErrorKind {
    if error.is_outcome_unknown() {
        return WriteErrorKind::OutcomeUnknown;
    }
    if let DirectoryError::Forbidden { setting, .. } = error {
        let is_place = setting.ends_with("write_base");
        return if is_place { WriteErrorKind::OutOfScope } else { WriteErrorKind::Protected };
    }
    if matches!(error, DirectoryError::File { path, .. } if path == "undo_file") {
        return WriteErrorKind::Undo;
    }
    if is_taken_value(error) {
        return WriteErrorKind::Taken;
    }
    // A refused bind is about the service, not about the request.
    let is_bind = matches!(error, DirectoryError::Operation { operation, .. } if *operation == "bind");
    match error.code() {
        Some(code) if !error.is_connection() && !error.is_transient() && !is_bind => {
            let is_add = matches!(error, DirectoryError::Operation { operation, .. } if *operation == "add");
            kind_of_code(code, is_add, is_records_fault(error))
        }
        _ if is_records_fault(error) => WriteErrorKind::Invalid,
        _ => WriteErrorKind::Unavailable,
    }
}

/// The table from result codes (RFC 4511 appendix A, RFC 4528) to answers. A code is [`WriteErrorKind::Unavailable`] only if the same
/// request may succeed later: a client repeats it then.
fn kind_of_code(code: u32, is_add: bool, is_records_fault: bool) -> WriteErrorKind {
    match code {
        result_code::NO_SUCH_OBJECT => WriteErrorKind::NotFound,
        result_code::NOT_ALLOWED_ON_NON_LEAF => WriteErrorKind::NotEmpty,
        result_code::ASSERTION_FAILED => WriteErrorKind::Precondition,
        result_code::INSUFFICIENT_ACCESS_RIGHTS | STRONGER_AUTH_REQUIRED | CONFIDENTIALITY_REQUIRED => {
            WriteErrorKind::NotAllowed
        }
        // Another client changes the same entry all the time. A new entry is nobody else's: a value is there twice.
        result_code::NO_SUCH_ATTRIBUTE | result_code::ATTRIBUTE_OR_VALUE_EXISTS if !is_add => {
            WriteErrorKind::Unavailable
        }
        // The server is read-only now.
        result_code::UNWILLING_TO_PERFORM if !is_records_fault => WriteErrorKind::Unavailable,
        result_code::BUSY | result_code::UNAVAILABLE => WriteErrorKind::Unavailable,
        // Of one entry, and not for what a client has sent: a plugin of the server has failed.
        result_code::OPERATIONS_ERROR => WriteErrorKind::Refused,
        _ if is_records_fault => WriteErrorKind::Invalid,
        // Among them `other` (80), which slapd returns for a name that is too long for its database.
        _ => WriteErrorKind::Refused,
    }
}

/// Returns the attribute that an error names: in the forms of servers, or in backticks, as this program does.
fn attribute_of(error: &DirectoryError, schema: &Schema) -> Option<String> {
    if let DirectoryError::Operation { operation, .. } = error
        && *operation == PASSWORD_MODIFY
    {
        return Some(PASSWORD.to_owned());
    }
    let answer = LdapResult::of(error)?;
    attribute_named(&answer, schema).or_else(|| {
        let mut quoted = answer.text.split('`').skip(1).step_by(2);
        quoted.find(|name| schema.attribute_type(name).is_some()).map(str::to_owned)
    })
}

/// Returns an error with the name of its code, the server's text, and advice.
fn describe(error: &DirectoryError) -> String {
    match error {
        DirectoryError::Operation { code, text, .. } => {
            // The service deletes such an entry, and there is no next run.
            let text = text.strip_suffix(NO_PASSWORD_YET).unwrap_or(text);
            printable(&result_code::describe(*code, text)).into_owned()
        }
        // A filter is not for callers.
        DirectoryError::Forbidden { dn, setting, .. } => {
            printable(&format!("`{dn}` is not changed: {setting} does not allow it")).into_owned()
        }
        _ => printable(&error.to_string()).into_owned(),
    }
}

/// Returns the error of a write that the directory refused or failed.
pub(crate) fn of_directory(error: &DirectoryError, schema: &Schema) -> WriteError {
    let kind = kind_of(error);
    let detail = match (kind, error) {
        (WriteErrorKind::Unavailable, DirectoryError::Operation { code, .. }) => {
            tracing::warn!("the directory: {error}");
            format!("the directory cannot write this now ({}); try again", result_code::name(*code))
        }
        (WriteErrorKind::Unavailable, DirectoryError::File { .. } | DirectoryError::ReadOnly { .. }) => {
            tracing::warn!("the directory: {error}");
            "the file of the directory was changed by another program, and nothing is written now; the reason is in the service's log"
                .to_owned()
        }
        (WriteErrorKind::Unavailable, _) => {
            tracing::warn!("the directory: {error}");
            "the directory does not answer; nothing is wrong with the request".to_owned()
        }
        (WriteErrorKind::Refused, _) => {
            tracing::warn!("the directory: {error}");
            describe(error)
        }
        (WriteErrorKind::OutcomeUnknown, _) => {
            tracing::warn!("the directory: {error}");
            "the directory did not answer: read the entry before the request is sent again, for the change may have been made"
                .to_owned()
        }
        (WriteErrorKind::Undo, _) => {
            tracing::error!(setting = "write.undo_dir", "{error}");
            "the undo file cannot be written, and the change was not made; the reason is in the service's log"
                .to_owned()
        }
        _ => describe(error),
    };
    let retry_after = matches!(kind, WriteErrorKind::Unavailable).then_some(SOON);
    let attribute = attribute_of(error, schema);
    WriteError { attribute, result_code: error.code(), retry_after, ..WriteError::new(kind, detail) }
}

/// Whether a change did not fit the entry: a value that it was to lose was not there, or one that it was to get was.
pub(super) fn is_stale(error: &WriteError) -> bool {
    let code = error.result_code;
    error.kind == WriteErrorKind::Unavailable
        && matches!(code, Some(result_code::NO_SUCH_ATTRIBUTE | result_code::ATTRIBUTE_OR_VALUE_EXISTS))
}

/// Returns the error of a change that never fits the entry, though it was looked at again: the server shows values that it makes itself.
pub(super) fn of_virtual_value(error: WriteError) -> WriteError {
    let name = error.result_code.map(result_code::name).unwrap_or_default();
    let detail = format!(
        "the directory refuses the change ({name}) however often the entry is read: a value that it shows is not the entry's own, such as one of a role or of a class of service, and is changed there"
    );
    WriteError { retry_after: None, detail, kind: WriteErrorKind::Refused, ..error }
}

/// Returns the error of an attribute that the entry has as it was written, and that the server shows otherwise.
pub(super) fn computed(dn: &str, attribute: &str) -> WriteError {
    let detail = format!(
        "`{attribute}`: the directory shows another value than was written: it is computed by a class of service or a role, and is changed there; nothing was changed"
    );
    tracing::warn!(dn, attribute, "a write is taken back: {detail}");
    WriteError::new(WriteErrorKind::Refused, detail).of_attribute(attribute)
}

/// Returns the error of a record that cannot be mapped.
pub(crate) fn of_mapping(error: &MappingError) -> WriteError {
    let refused = WriteError::new(WriteErrorKind::Invalid, printable(&error.to_string()));
    match error {
        MappingError::Value { attribute, .. } => refused.of_attribute(attribute.clone()),
        MappingError::Template { .. } | MappingError::Path { .. } | MappingError::Name(_) => refused,
    }
}

/// Returns the error of settings that do not fit the server: the caller is not at fault, and is not told more.
pub(crate) fn of_settings(error: &dyn std::fmt::Display) -> WriteError {
    tracing::error!("{error}");
    let detail = "the service's rule does not fit the directory; the reason is in its log";
    WriteError::new(WriteErrorKind::Internal, detail)
}

/// Returns what an outcome means, if it is an end. `is_new`: the entry was to be added.
pub(crate) fn effect(outcome: TaskOutcome, dn: &str, is_new: bool) -> Result<Effect, WriteError> {
    let error = |kind, detail: String| Err(WriteError::new(kind, printable(&detail).into_owned()));
    let taken = || error(WriteErrorKind::Taken, format!("an entry `{dn}` exists"));
    match outcome {
        TaskOutcome::Added => Ok(Effect::Added),
        TaskOutcome::Modified | TaskOutcome::Unchanged | TaskOutcome::LeftAlone if is_new => taken(),
        TaskOutcome::Modified => Ok(Effect::Modified),
        TaskOutcome::Renamed => Ok(Effect::Renamed),
        TaskOutcome::Deleted => Ok(Effect::Deleted),
        TaskOutcome::Moved => Ok(Effect::Moved),
        TaskOutcome::Unchanged | TaskOutcome::Ignored => Ok(Effect::Unchanged),
        TaskOutcome::LeftAlone => {
            error(WriteErrorKind::NotAllowed, "the service's rule does not allow this operation".to_owned())
        }
        TaskOutcome::TooEarly(answer) if answer.code == result_code::NOT_ALLOWED_ON_NON_LEAF => {
            error(WriteErrorKind::NotEmpty, format!("there are entries below `{dn}`"))
        }
        TaskOutcome::TooEarly(_) => {
            error(WriteErrorKind::Invalid, format!("the entry above `{dn}` does not exist"))
        }
        TaskOutcome::NameTaken(_) => taken(),
        TaskOutcome::Several(names) => error(WriteErrorKind::Taken, several(&names.names)),
        TaskOutcome::Refused(reason) | TaskOutcome::Kept(reason) | TaskOutcome::NotMoved(reason) => {
            error(WriteErrorKind::Invalid, reason)
        }
        TaskOutcome::Unreadable(unreadable) => error(WriteErrorKind::Misconfigured, unreadable.to_string()),
        TaskOutcome::Unfound(unfound) => error(WriteErrorKind::Invalid, unfound.reason),
        TaskOutcome::NeedsEntries(_) | TaskOutcome::NeedsReferences(_) => {
            error(WriteErrorKind::Invalid, "an entry that a value names does not exist".to_owned())
        }
        TaskOutcome::NotLocked(_)
        | TaskOutcome::InAnotherScope(_)
        | TaskOutcome::SteppedAside(_)
        | TaskOutcome::GaveUp { .. }
        | TaskOutcome::NotGivenUp
        | TaskOutcome::TookBack(_)
        | TaskOutcome::LimitReached(_)
        | TaskOutcome::Found(_) => {
            error(WriteErrorKind::Internal, "internal error: an open outcome".to_owned())
        }
    }
}

/// Returns changes without the values of secret attributes.
pub(crate) fn without_secrets(mut changes: Vec<Change>, is_secret: impl Fn(&str) -> bool) -> Vec<Change> {
    for change in &mut changes {
        match change {
            Change::Add(entry) => entry.attributes.retain(|a| !is_secret(&a.description)),
            Change::Modify { changes, .. } => {
                for step in changes.iter_mut().filter(|step| is_secret(&step.description)) {
                    step.values.clear();
                }
            }
            Change::Delete { .. } | Change::Rename { .. } => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(operation: &'static str, code: u32, text: &str) -> WriteError {
        let error = DirectoryError::Operation {
            operation,
            dn: "uid=ada,dc=x".into(),
            code,
            matched: String::new(),
            text: text.into(),
        };
        of_directory(&error, Schema::standard())
    }

    #[test]
    fn results_of_servers_are_told_apart() {
        use WriteErrorKind::{
            Invalid, NotAllowed, NotEmpty, NotFound, Precondition, Refused, Taken, Unavailable,
        };
        for (code, text, kind, attribute) in [
            (68, "", Taken, None),
            (19, "some attributes not unique", Taken, None),
            (
                19,
                "Another entry with the same attribute value already exists (attribute: \"uid\")",
                Taken,
                None,
            ),
            (19, "Password fails quality checking policy", Invalid, None),
            (65, "object class 'inetOrgPerson' requires attribute 'sn'", Invalid, Some("sn")),
            (65, "class inetOrgPerson needs `sn`, and the entry has none", Invalid, Some("sn")),
            (21, "mail: value #0 invalid per syntax", Invalid, Some("mail")),
            (66, "subordinate objects must be deleted first", NotEmpty, None),
            (32, "", NotFound, None),
            (122, "", Precondition, None),
            (50, "", NotAllowed, None),
            (51, "", Unavailable, None),
            (52, "", Unavailable, None),
            (53, "operation restricted", Unavailable, None),
            (53, "password is too short", Invalid, None),
            (20, "", Unavailable, None),
            (80, "internal error", Refused, None),
            (1, "", Refused, None),
            (2, "", Refused, None),
            (3, "", Refused, None),
            (4, "", Refused, None),
            (11, "", Refused, None),
            (12, "", Refused, None),
            (54, "", Refused, None),
            (4711, "", Refused, None),
        ] {
            let error = refused("modify", code, text);
            assert_eq!((error.kind, error.result_code), (kind, Some(code)), "{code} {text}");
            if attribute.is_some() {
                assert_eq!(error.attribute.as_deref(), attribute, "{text}");
            }
        }
        // Only what may succeed later is 503: a client repeats it.
        for (code, _, _) in result_code::table().filter(|(code, ..)| ![0, 5, 6, 14].contains(code)) {
            let error = refused("add", code, "");
            let is_temporary = [51, 52].contains(&code);
            assert_eq!(error.kind.status() == 503, is_temporary, "{code}");
            assert_eq!(error.retry_after.is_some(), is_temporary, "{code}");
            assert!(error.detail.contains(&result_code::name(code)), "{code}: {}", error.detail);
        }
        assert_eq!(refused("bind", 49, "").kind, Unavailable);
        assert_eq!(refused(PASSWORD_MODIFY, 19, "too short").attribute.as_deref(), Some(PASSWORD));
    }

    #[test]
    fn an_answer_that_was_lost_is_neither_done_nor_undone() {
        let lost = |outcome_unknown| DirectoryError::Lost {
            operation: "modify",
            dn: "uid=ada".into(),
            reason: "reset".into(),
            outcome_unknown,
        };
        let error = of_directory(&lost(true), Schema::standard());
        assert_eq!((error.kind.code(), error.kind.status()), ("outcome_unknown", 503));
        let error = of_directory(&lost(false), Schema::standard());
        assert_eq!((error.kind.code(), error.retry_after), ("directory_unavailable", Some(SOON)));
    }
}
