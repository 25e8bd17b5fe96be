//! The names of undo files: one file for all runs, or one for each of the last runs.

use std::path::{Path, PathBuf};

use singer_common::operations::facts::Warning;
use singer_common::operations::file::{JOURNAL, folder, with_suffix};
use singer_common::operations::logging;
use singer_common::plugin::settings::SettingsError;

/// The name of the setting.
pub const SETTING: &str = "undo_file";
/// The default of `undo_keep`: the files of a day of hourly runs.
const DEFAULT_KEEP: usize = 24;
const EXPECTED: &str =
    "a path; its last part may contain {run_id} and {date}, for example undo-{run_id}.ldif";

/// A part of a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NamePart {
    Literal(String),
    RunId,
    Date,
}

/// The setting `undo_file`: a path whose last part may differ from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoFile {
    folder: PathBuf,
    name: Vec<NamePart>,
    keep: usize,
}

/// Returns the value of `{run_id}`: the start of the run and its ID in the log. The names sort by time.
fn run_id() -> String {
    static BEGUN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let begun = BEGUN.get_or_init(|| chrono::Utc::now().format("%Y%m%dT%H%M%S%3fZ").to_string());
    format!("{begun}-{}", logging::run_id())
}

impl UndoFile {
    /// Parses the setting, and `undo_keep`. Warnings are for the log.
    pub fn parse(
        path: &Path,
        keep: Option<u64>,
        warnings: &mut Vec<Warning>,
    ) -> Result<UndoFile, SettingsError> {
        let bad = |problem: &str| SettingsError::value(SETTING, problem, EXPECTED);
        let text = path.file_name().ok_or_else(|| bad("not the path of a file"))?;
        let name = match text.to_str() {
            Some(text) => parts(text)
                .map_err(|unknown| bad(&format!("`{{{unknown}}}` stands for nothing that is known here")))?,
            None => return Err(bad("not valid UTF-8")),
        };
        // The file is replaced by a regular file: a device, a pipe or a folder would be lost, or would refuse that after the
        // run.
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(bad(&format!("{} is not a regular file", path.display())));
        }
        let folder = folder(path).to_owned();
        if folder.to_str().is_some_and(|f| f.contains("{run_id}") || f.contains("{date}")) {
            return Err(bad("a name that differs from run to run in another part than the last"));
        }
        let differs = name.iter().any(|p| !matches!(p, NamePart::Literal(_)));
        if !differs && keep.is_some() {
            let text = "undo_keep is not used: undo_file is the same for every run (it has no {run_id})";
            warnings.push(Warning::of_setting("undo_keep", text));
        }
        let keep = keep.map_or(DEFAULT_KEEP, |n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(UndoFile { folder, name, keep })
    }

    /// Returns the file of this run.
    pub fn path(&self) -> PathBuf {
        let date = chrono::Utc::now().format("%Y-%m-%d").to_string();
        let part = |part: &NamePart| match part {
            NamePart::Literal(text) => text.clone(),
            NamePart::RunId => run_id(),
            NamePart::Date => date.clone(),
        };
        self.folder.join(self.name.iter().map(part).collect::<String>())
    }

    fn differs(&self) -> bool {
        self.name.iter().any(|p| !matches!(p, NamePart::Literal(_)))
    }

    /// Returns the files of earlier runs beside `path` whose names end in `suffix`, sorted by name.
    fn of_other_runs(&self, path: &Path, suffix: &str) -> Vec<PathBuf> {
        if !self.differs() {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let fits = |name: &std::ffi::OsString| {
            name.to_str().and_then(|n| n.strip_suffix(suffix)).is_some_and(|n| fits(&self.name, n))
        };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|e| e.file_name()))
            .filter(fits)
            .map(|name| self.folder.join(name))
            .filter(|found| *found != with_suffix(path, suffix))
            .collect();
        found.sort();
        found
    }

    /// Returns the undo files of earlier runs that may have been killed, those with a journal; also with the number that a journal gets
    /// which stays, as `undo.ldif.2`.
    pub(crate) fn with_journals(&self, path: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let fits = |name: &str| {
            let is_number = |n: &str| !n.is_empty() && n.bytes().all(|octet| octet.is_ascii_digit());
            let numbered = name.rsplit_once('.').filter(|(_, number)| is_number(number));
            fits(&self.name, name) || numbered.is_some_and(|(name, _)| fits(&self.name, name))
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found: Vec<PathBuf> = names
            .filter_map(|name| name.strip_suffix(JOURNAL).filter(|name| fits(name)).map(str::to_owned))
            .map(|name| self.folder.join(name))
            .filter(|found| found != path)
            .collect();
        found.sort();
        found
    }

    /// Returns the files of earlier runs that exceed `undo_keep`.
    pub(crate) fn surplus(&self, path: &Path) -> Vec<PathBuf> {
        let mut files = self.of_other_runs(path, "");
        files.truncate((files.len() + 1).saturating_sub(self.keep.max(1)));
        files
    }
}

/// Splits a name into its parts. The error is the text of an unknown placeholder.
fn parts(text: &str) -> Result<Vec<NamePart>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, after)) = behind.split_once('}') else { break };
        let part = match name {
            "run_id" => NamePart::RunId,
            "date" => NamePart::Date,
            other => return Err(other.to_owned()),
        };
        if !before.is_empty() {
            parts.push(NamePart::Literal(before.to_owned()));
        }
        parts.push(part);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(NamePart::Literal(rest.to_owned()));
    }
    Ok(parts)
}

/// Whether these parts can produce a name.
fn fits(parts: &[NamePart], name: &str) -> bool {
    let Some((first, others)) = parts.split_first() else { return name.is_empty() };
    let of_shape = |shape: &str| {
        let shaped = |(c, s): (char, char)| match s {
            '0' => c.is_ascii_digit(),
            'f' => c.is_ascii_hexdigit(),
            s => c == s,
        };
        let (head, tail) = name.split_at_checked(shape.len())?;
        head.chars().zip(shape.chars()).all(shaped).then_some(tail)
    };
    let rest = match first {
        NamePart::Literal(text) => name.strip_prefix(text.as_str()),
        // Without the milliseconds: files of earlier versions.
        NamePart::RunId => of_shape("00000000T000000000Z-ffffffffffffffff")
            .or_else(|| of_shape("00000000T000000Z-ffffffffffffffff")),
        NamePart::Date => of_shape("0000-00-00"),
    };
    rest.is_some_and(|rest| fits(others, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<UndoFile, SettingsError> {
        UndoFile::parse(Path::new(text), Some(2), &mut Vec::new())
    }

    #[test]
    fn a_name_that_differs_from_run_to_run_is_known_again() {
        let file = parse("/x/undo-{date}-{run_id}.ldif").unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(fits(&file.name, &name), "{name}");
        for other in ["undo-.ldif", "undo-2026-01-01-x.ldif", "mine.ldif", &format!("{name}.killed")] {
            assert!(!fits(&file.name, other), "{other}");
        }
        assert_eq!(parse("undo.ldif").unwrap().path(), Path::new("./undo.ldif"));
        for bad in ["/x/{run}.ldif", "/{run_id}/undo.ldif", "/"] {
            assert!(parse(bad).unwrap_err().to_string().contains("undo_file"), "{bad}");
        }
    }

    #[test]
    fn a_journal_that_stays_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "u.journal",
            "u.2.journal",
            "u.12.journal",
            "u.x.journal",
            "u.2",
            "v.2.journal",
            "w-2026-01-02.3.journal",
        ] {
            std::fs::write(at(name), "").unwrap();
        }
        let file = parse(at("u").to_str().unwrap()).unwrap();
        assert_eq!(file.with_journals(&file.path()), [at("u.12"), at("u.2")]);
        let file = parse(at("w-{date}").to_str().unwrap()).unwrap();
        assert_eq!(file.with_journals(&file.path()), [at("w-2026-01-02.3")]);
    }

    #[test]
    fn the_oldest_are_too_many_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = parse(folder.path().join("u-{run_id}").to_str().unwrap()).unwrap();
        let name = |n: u32| folder.path().join(format!("u-2026010{n}T000000Z-0123456789abcdef"));
        for n in [3, 1, 2] {
            std::fs::write(name(n), "").unwrap();
        }
        for other in ["u-", "u-mine", "u-20260101T000000Z-0123456789abcdef.killed"] {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        assert_eq!(file.surplus(&file.path()), [name(1), name(2)]);
        let alone = parse(folder.path().join("u-mine").to_str().unwrap()).unwrap();
        assert!(alone.surplus(&alone.path()).is_empty());
    }
}
