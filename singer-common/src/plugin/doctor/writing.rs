//! What is known about writes.

use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::{Directory, Vendor, oid};

use super::{Report, Subject};

/// Reports what is known about write access without a write.
pub(super) async fn report(directory: &Directory, subject: Subject<'_>, base: &str, report: &mut Report) {
    let root = directory.root_dse();
    let trial = if subject.is_target() { "`--dry-run`" } else { "an import with `dry_run=true`" };
    let step = match root.vendor {
        Vendor::ActiveDirectory => {
            let entry = directory
                .read(base, &["allowedChildClassesEffective", "allowedAttributesEffective"])
                .await
                .ok()
                .flatten();
            let classes = entry.as_ref().map_or(0, |e| e.values("allowedChildClassesEffective").len());
            let attributes = entry.as_ref().map_or(0, |e| e.values("allowedAttributesEffective").len());
            if classes > 0 {
                Step::new(
                    "write access",
                    Grade::Ok,
                    format!(
                        "the bound user may create {classes} classes of entries below `{base}`, and write {attributes} attributes of it"
                    ),
                )
            } else {
                Step::new(
                    "write access",
                    Grade::Warning,
                    format!("the bound user may create nothing right below `{base}`"),
                )
                .advise(format!(
                    "ask the administrator to delegate creating and changing objects below `{base}`"
                ))
            }
        }
        Vendor::Ds389 => match directory.effective_rights(base).await {
            Ok(Some(rights)) if rights.contains('a') => Step::new(
                "write access",
                Grade::Ok,
                format!(
                    "the bound user's rights on `{base}`: {rights} (a: add below it, d: delete, n: rename, v: view)"
                ),
            ),
            Ok(Some(rights)) => Step::new(
                "write access",
                Grade::Warning,
                format!("the bound user's rights on `{base}` are `{rights}`: it may not add entries there"),
            )
            .advise(format!(
                "ask the administrator for an ACI that lets the bound user write below `{base}`"
            )),
            Ok(None) | Err(_) => Step::new(
                "write access",
                Grade::Unknown,
                "the server does not tell the bound user its rights",
            ),
        },
        _ => Step::new(
            "write access",
            Grade::Unknown,
            format!(
                "this server does not tell who may write what: {trial} shows what would be written, the first write shows whether it may be"
            ),
        ),
    };
    report.steps.push(step);
    report.steps.push(if root.vendor == Vendor::ActiveDirectory {
        Step::new(
            "passwords",
            Grade::Ok,
            "password.mode unicode_pwd works, over TLS: the server applies its policy",
        )
    } else if root.lacks_extension(oid::PASSWORD_MODIFY) {
        Step::new("passwords", Grade::Warning, "the server does not set passwords itself (RFC 3062)")
            .advise("use password.mode hash:ssha512 or hash:argon2id, as the server takes them")
    } else {
        Step::new(
            "passwords",
            Grade::Ok,
            "password.mode exop works (RFC 3062): the server hashes, and applies its policy",
        )
    });
    super::settings::password_policy(directory, base, report).await;
    report.works.push("adding, modifying, renaming and deleting, as far as the bound user may".to_owned());
    if root.supports_control(oid::ASSERTION) {
        report.works.push("changes only where nobody else changed the entry meanwhile (RFC 4528)".to_owned());
    }
}
