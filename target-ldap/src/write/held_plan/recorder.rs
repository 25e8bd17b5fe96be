//! Writes the plan of a run while the run is rehearsed. The frames are in a temporary file until the run is known to be held back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ldap_directory::change::Change;
use ldap_directory::ldif::writer::{LdifWriteError, LdifWriter};
use ldap_directory::oid::RELAX_RULES;
use ldap_directory::text::printable;
use ldap_directory::{Directory, Vendor};
use singer_common::operations::file;
use singer_common::operations::logging;
use singer_common::operations::secret::is_secret_attribute;

use super::history::RuleMark;
use super::{
    PLAN, PlanHead, PlanPart, PlannedCounts, PlannedNote, PlannedUnique, PlannedUse, VERSION, seal, unique,
};
use crate::config::TargetConfig;
use crate::rules::password::PasswordPolicy;
use crate::rules::policy::Policy;
use crate::write::change_label::ChangeLabel;
use crate::write::guard::{LimitUse, Tally};
use crate::write::undo::change_note::ChangeNote;
use crate::write::undo::journal::{CHANGE, END, ascii};

/// What the first lines say, for people.
const ABOUT: [&str; 4] = [
    "target-ldap apply carries this out, entry by entry: what has changed since is left as it is. ldapmodify does so without looking.",
    "Whole changes may be taken out: from a line `# change` to the empty line at its end. A change that was edited is refused.",
    "Passwords and other secrets are not in it. A comment names each; the next run with the record sets it.",
    "An entry that cannot be made without its password is left to the next run as a whole.",
];

/// A change without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutSecrets {
    /// The rest; `None`: there is nothing else.
    pub change: Option<Change>,
    /// The attributes that are left out.
    pub secrets: Vec<String>,
}

impl WithoutSecrets {
    /// Takes the secrets out of a change.
    pub fn of(change: &Change) -> WithoutSecrets {
        let mut secrets: Vec<String> = Vec::new();
        let mut is_kept = |description: &String| {
            let is_secret = is_secret_attribute(description);
            if is_secret && !secrets.contains(description) {
                secrets.push(description.clone());
            }
            !is_secret
        };
        let mut rest = change.clone();
        let is_any = match &mut rest {
            Change::Add(entry) => {
                entry.attributes.retain(|attribute| is_kept(&attribute.description));
                true
            }
            Change::Modify { changes, .. } => {
                changes.retain(|step| is_kept(&step.description));
                !changes.is_empty()
            }
            Change::Delete { .. } | Change::Rename { .. } => true,
        };
        WithoutSecrets { change: is_any.then_some(rest), secrets }
    }
}

/// The rules of the streams, as far as a plan depends on them.
#[derive(Debug)]
struct Rules(TargetConfig);

impl Rules {
    /// Whether a later run sets a secret attribute of an entry that was made without it.
    fn set_later(&self, stream: &str, attribute: &str) -> bool {
        let Some(rule) = self.0.rule(stream) else { return true };
        if !rule.operations.update {
            return false;
        }
        if let Some(password) = rule.password.as_ref().filter(|p| p.mode.attribute() == attribute) {
            return password.when != PasswordPolicy::CreateOnly;
        }
        let policy = rule.policies.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        policy.is_none_or(|(_, policy)| *policy != Policy::CreateOnly)
    }

    /// Returns the attributes of a change whose values the rule chooses.
    fn unique(&self, stream: &str, change: &Change) -> Vec<PlannedUnique> {
        let Some(rule) = self.0.rule(stream) else { return Vec::new() };
        let new = unique::given(change);
        let is_given = |name: &str| new.iter().any(|(description, _)| description.eq_ignore_ascii_case(name));
        let chosen = rule.generated.iter().filter(|one| is_given(&one.attribute));
        let planned = chosen.map(|one| PlannedUnique {
            attribute: one.attribute.clone(),
            base: one.base.clone(),
            counter: one.counter().map(str::to_owned),
        });
        planned.collect()
    }

    /// The same for a password that is set by an operation of its own.
    fn set_password_later(&self, stream: &str) -> bool {
        self.0.rule(stream).is_none_or(|rule| rule.operations.update)
    }
}

#[derive(Debug)]
struct Frames {
    spool: BufWriter<File>,
    count: u64,
    limits: Vec<PlannedUse>,
    streams: BTreeMap<String, PlannedCounts>,
    /// The streams of the input.
    rules: BTreeMap<String, RuleMark>,
}

/// The plan of a run that is rehearsed.
#[derive(Debug)]
pub struct PlanRecorder {
    run: String,
    rules: Rules,
    /// What tells the directory from others.
    place: String,
    vendor: Vendor,
    /// The attributes by which `match` found entries: the changes depend on them.
    matched: Vec<String>,
    frames: Mutex<Frames>,
}

impl PlanRecorder {
    /// Begins a plan. `place`: what tells the directory from others.
    ///
    /// # Errors
    /// No temporary file can be made.
    pub fn new(config: &TargetConfig, directory: &Directory, place: String) -> io::Result<PlanRecorder> {
        let spool = BufWriter::new(tempfile::tempfile()?);
        Ok(PlanRecorder {
            run: format!("{}-{}", logging::run_id(), chrono::Utc::now().timestamp_micros()),
            rules: Rules(config.clone()),
            place,
            vendor: directory.root_dse().vendor,
            matched: config.matched_attributes(),
            frames: Mutex::new(Frames {
                spool,
                count: 0,
                limits: Vec::new(),
                streams: BTreeMap::new(),
                rules: BTreeMap::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        // A panic elsewhere ends the run.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the attributes that a change of a found entry depends on, beside those that it changes.
    pub fn matched(&self) -> &[String] {
        &self.matched
    }

    /// Notes a change that would be made.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn change(
        &self,
        planned: &WithoutSecrets,
        note: ChangeNote,
        label: Option<&ChangeLabel>,
    ) -> Result<(), LdifWriteError> {
        let WithoutSecrets { change, secrets } = planned;
        let stream = label.map(|label| &*label.stream).unwrap_or_default();
        let set_later = secrets.iter().all(|name| self.rules.set_later(stream, name));
        // Active Directory enables no account without its password, which is in the same change.
        let is_left = !secrets.is_empty()
            && change.is_some()
            && (self.vendor == Vendor::ActiveDirectory
                || !set_later && matches!(change, Some(Change::Add(_))));
        let is_lost = !is_left && !secrets.is_empty() && !set_later;
        let unique = change.as_ref().map(|change| self.rules.unique(stream, change)).unwrap_or_default();
        let (record, secrets) = (label.map(Into::into), secrets.clone());
        let plan = PlanPart { record, secrets, is_left, is_lost, unique };
        self.write(&PlannedNote { note, plan }, change.as_ref().filter(|_| !is_left))
    }

    /// Notes that a password would be set by an operation of its own.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn password(&self, note: ChangeNote, label: Option<&ChangeLabel>) -> Result<(), LdifWriteError> {
        let stream = label.map(|label| &*label.stream).unwrap_or_default();
        let is_lost = !self.rules.set_password_later(stream);
        let secrets = vec!["userPassword".to_owned()];
        let plan = PlanPart { record: label.map(Into::into), secrets, is_lost, ..PlanPart::default() };
        self.write(&PlannedNote { note, plan }, None)
    }

    fn write(&self, planned: &PlannedNote, change: Option<&Change>) -> Result<(), LdifWriteError> {
        let mut writer = LdifWriter::new(Vec::new());
        let about = planned.plan.record.as_ref().map(|record| record.to_label().to_string());
        let mut comments = about.into_iter().collect::<Vec<_>>();
        for name in &planned.plan.secrets {
            comments.push(format!("{name}: (not shown, not applied)"));
        }
        for comment in &comments {
            writer.comment(comment)?;
        }
        let mut outside = Vec::new();
        let mut ldif = Vec::new();
        if let Some(change) = change {
            if planned.note.relaxed && matches!(change, Change::Add(_)) {
                writer.critical_control(RELAX_RULES);
            }
            writer.change(change)?;
            ldif = writer.into_inner();
        } else {
            // Not a change record: the comment is before the frame, which has no LDIF. Outside of frames no line is folded.
            let dn = &planned.note.dn;
            let what = if planned.plan.is_left { "left to the next run as a whole" } else { "nothing else" };
            let text = format!("left out: {} of {dn} ({what})", planned.plan.secrets.join(", "));
            outside = format!("# {}\n", printable(&text)).into_bytes();
        }
        let note = ascii(planned);
        let mut frames = self.lock();
        let seal = seal(&[self.run.as_bytes(), note.as_bytes(), &ldif]);
        let number = frames.count;
        frames.spool.write_all(&outside)?;
        writeln!(frames.spool, "{CHANGE}{number} {seal} {} {note}", ldif.len())?;
        frames.spool.write_all(&ldif)?;
        if ldif.is_empty() {
            frames.spool.write_all(b"\n")?;
        }
        frames.count += 1;
        Ok(())
    }

    /// Notes a stream of the input.
    pub fn stream(&self, stream: &str) {
        let mark = RuleMark::of(&self.rules.0, stream, &self.place);
        self.lock().rules.insert(stream.to_owned(), mark);
    }

    /// Returns the streams of the input, with what the history keeps of their rules.
    pub fn marks(&self) -> BTreeMap<String, RuleMark> {
        self.lock().rules.clone()
    }

    /// Sets what the first line says of the run.
    pub fn summarize(&self, limits: &[LimitUse], tally: &Tally) {
        let streams = tally.by_stream();
        let mut frames = self.lock();
        frames.limits = limits.iter().map(PlannedUse::of).collect();
        frames.streams = streams.iter().map(|(name, tally)| (name.to_string(), tally.into())).collect();
    }

    /// Returns the first line of the plan.
    pub fn head(&self, directory: &Directory) -> PlanHead {
        let frames = self.lock();
        PlanHead {
            version: VERSION,
            run: self.run.clone(),
            made: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            server: directory.location().to_owned(),
            contexts: directory.root_dse().naming_contexts.clone(),
            limits: frames.limits.clone(),
            streams: frames.streams.clone(),
            rules: frames.rules.clone(),
            last_run: None,
            still_enabled: Vec::new(),
        }
    }

    /// Returns the number of changes.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// Writes the plan: as a whole or not at all, and only for its owner to read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn leave(&self, path: &Path, head: &PlanHead) -> io::Result<()> {
        let mut frames = self.lock();
        frames.spool.flush()?;
        let count = frames.count;
        let spool = frames.spool.get_mut();
        spool.rewind()?;
        let head = ascii(head);
        file::replace_private(path, |out| {
            let mut out = BufWriter::new(out);
            writeln!(out, "{PLAN}{head}")?;
            for line in ABOUT {
                writeln!(out, "# {line}")?;
            }
            writeln!(out)?;
            io::copy(spool, &mut out)?;
            writeln!(out, "{END}{count} {}", seal(&[head.as_bytes(), count.to_string().as_bytes()]))?;
            out.flush()
        })
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::change::{Modification, ModificationKind};
    use ldap_directory::entry::{Attribute, Entry};

    use super::*;

    #[test]
    fn no_secret_is_left_in_a_change() {
        let step = |name: &str| Modification::new(ModificationKind::Replace, name, vec![b"x".to_vec()]);
        let modify = |names: &[&str]| Change::Modify {
            dn: "cn=x".into(),
            changes: names.iter().map(|name| step(name)).collect(),
        };
        let both = WithoutSecrets::of(&modify(&["userPassword", "title", "unicodePwd"]));
        assert_eq!(both.change, Some(modify(&["title"])));
        assert_eq!(both.secrets, ["userPassword", "unicodePwd"]);
        assert_eq!(WithoutSecrets::of(&modify(&["userpassword;x-a"])).change, None);
        let entry = |names: &[&str]| {
            let attributes = names.iter().map(|name| Attribute::new(*name, vec![b"x".to_vec()])).collect();
            Change::Add(Entry { dn: "cn=x".into(), attributes })
        };
        let added = WithoutSecrets::of(&entry(&["cn", "userPassword"]));
        assert_eq!((added.change, added.secrets.len()), (Some(entry(&["cn"])), 1));
    }
}
