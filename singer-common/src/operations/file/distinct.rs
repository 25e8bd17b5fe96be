//! Checks that the files of a run are distinct.
//! A setting reserves its file's name, and the names that the program derives from it with a suffix.
//! No other file of the run may have one of these names, and no setting may name a file with such a suffix.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{folder, real, with_suffix};
use crate::operations::settings_error::SettingsError;

/// The suffix of a lock file.
pub const LOCK: &str = ".lock";
/// The suffix of the journal that an undo file is made from.
pub const JOURNAL: &str = ".journal";
/// The suffix of undo files of killed runs. The second and later ones also have a number.
const KILLED: &str = ".killed";
/// The suffix of the history beside a plan of a held run.
pub const HISTORY: &str = ".history";

/// Returns the path of the undo file of the `n`th killed run, from 1.
pub fn killed(path: &Path, n: u32) -> PathBuf {
    if n < 2 { with_suffix(path, KILLED) } else { with_suffix(path, &format!("{KILLED}.{n}")) }
}

/// Returns the suffix of a derived name.
fn ending(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let numbered = |name: &str| {
        let (head, number) = name.rsplit_once('.')?;
        (number.bytes().all(|c| c.is_ascii_digit()) && head.ends_with(KILLED))
            .then(|| format!("{KILLED}.{number}"))
    };
    [LOCK, JOURNAL, KILLED]
        .into_iter()
        .find(|ending| name.ends_with(ending))
        .map(str::to_owned)
        .or_else(|| numbered(&name))
}

/// Returns the existing files whose names are derived from this one.
fn made_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    let of_killed = |path: PathBuf| {
        (1..).map(move |n| killed(&path, n)).take_while(|file| file.symlink_metadata().is_ok())
    };
    [LOCK, JOURNAL, HISTORY]
        .map(|suffix| with_suffix(path, suffix))
        .into_iter()
        .chain(of_killed(path.to_owned()))
}

/// Checks that each written file has a name of its own and is not also read or written under another setting.
/// `written` and `read` contain settings or flags with the paths that they name.
///
/// # Errors
/// Two paths lead to one file, or one path is derived from another: one would overwrite the other.
pub fn distinct(
    written: &[(&str, Option<&Path>)],
    read: &[(&str, Option<&Path>)],
) -> Result<(), SettingsError> {
    for (n, (setting, path)) in written.iter().enumerate() {
        let Some(path) = path else { continue };
        if let Some(ending) = ending(path).or_else(|| ending(&real(path))) {
            let problem = format!(
                "{} ends in `{ending}`, as a file does that the program makes of another file's name",
                path.display()
            );
            let expected = format!("a name that does not end in {LOCK}, {JOURNAL} or {KILLED}");
            return Err(SettingsError::value(*setting, problem, &expected));
        }
        let others = written.iter().skip(n + 1).chain(read);
        for (other, theirs) in others.filter_map(|(other, path)| Some((other, (*path)?))) {
            if is_same(path, theirs) {
                let problem = format!(
                    "{} is the file of `{other}`, too, and one would overwrite the other",
                    path.display()
                );
                return Err(SettingsError::value(*setting, problem, "a file of its own"));
            }
            let (a, b) = ((*setting, *path), (*other, theirs));
            for ((owner, name), (link, file)) in [(a, b), (b, a)] {
                if let Some(made) = made_of(name).find(|made| is_same(made, file)) {
                    let problem = format!(
                        "{} is {} by another name, which the program makes of `{owner}`",
                        file.display(),
                        made.display()
                    );
                    return Err(SettingsError::value(link, problem, "a file of its own"));
                }
            }
        }
    }
    Ok(())
}

/// Checks that a file can exist at the path of a setting or flag.
/// The path is not a directory; if the file does not exist, this user may create it in its directory.
///
/// # Errors
/// The file cannot exist there.
pub fn has_place(setting: &str, path: &Path) -> Result<(), SettingsError> {
    let path = real(path);
    let folder = folder(&path);
    let problem = match std::fs::metadata(folder) {
        Ok(it) if !it.is_dir() => format!("{} is not a folder", folder.display()),
        Ok(_) if path.is_dir() => format!("{} is a folder", path.display()),
        Ok(_) if super::swallows(&path) => format!("{}: what is written there is lost", path.display()),
        Ok(_) if path.exists() => return Ok(()),
        Ok(_) => match super::can_be_made_beside(&path) {
            Ok(()) => return Ok(()),
            Err(e) => format!("{}: nothing can be written in {}: {e}", path.display(), folder.display()),
        },
        Err(e) => format!("{}: the folder {} cannot be used: {e}", path.display(), folder.display()),
    };
    Err(SettingsError::value(
        setting,
        problem,
        "the path of a file in a folder that is there and may be written",
    ))
}

/// Returns the files that a run's settings name, for [`distinct`]: files it writes, and the LDIF file that is its directory.
pub fn of_settings(values: &Map<String, Value>) -> (Vec<(&str, Option<&Path>)>, Option<&Path>) {
    let text = |name: &str| values.get(name).and_then(Value::as_str);
    let written = ["undo_file", "reject_file", "metrics_file", "plan_file"]
        .map(|name| (name, text(name).map(Path::new)));
    let directory = text("server_url").and_then(|url| url.strip_prefix("ldif:")).map(Path::new);
    (written.to_vec(), directory)
}

fn is_same(one: &Path, other: &Path) -> bool {
    if let (Ok(a), Ok(b)) = (std::fs::metadata(one), std::fs::metadata(other)) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            return a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino());
        }
        #[cfg(not(unix))]
        return a.is_file() && b.is_file() && one.canonicalize().ok() == other.canonicalize().ok();
    }
    // The path that the file will have.
    let place =
        |path: &Path| -> Option<PathBuf> { Some(folder(path).canonicalize().ok()?.join(path.file_name()?)) };
    place(one).is_some_and(|it| Some(it) == place(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_finds_one_file_under_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("there"), "x").unwrap();
        std::fs::hard_link(at("there"), at("link")).unwrap();
        for (one, other, is_fine) in [
            ("there", "there", false),
            ("there", "link", false),
            ("new", "new", false),
            ("new", "./new", false),
            ("there", "new", true),
            ("new", "newer", true),
        ] {
            let (one, other) = (at(one), at(other));
            let (one, other) = (("undo_file", Some(one.as_path())), ("metrics_file", Some(other.as_path())));
            assert_eq!(distinct(&[one, other], &[]).is_ok(), is_fine, "{one:?} {other:?}");
            assert_eq!(distinct(&[one], &[other]).is_ok(), is_fine, "{one:?} {other:?}");
            assert!(distinct(&[], &[one, other]).is_ok(), "what is only read may be one");
        }
        // Derived names, and links to them, cannot be used by settings.
        for name in ["u.lock", "u.journal", "u.killed", "u.killed.7", "U.Journal"] {
            assert!(distinct(&[("undo_file", Some(&at(name)))], &[]).is_err(), "{name}");
        }
        for name in ["u.killed.x", "lock", "u.lock.ldif", "killed.7"] {
            assert!(distinct(&[("undo_file", Some(&at(name)))], &[]).is_ok(), "{name}");
        }
        for name in ["u.journal", "u.killed", "u.killed.2"] {
            std::fs::write(at(name), "x").unwrap();
            let other = at(&format!("of-{}", name.replace('.', "-")));
            std::fs::hard_link(at(name), &other).unwrap();
            let file = at("u");
            let (undo, rejects) = (("undo_file", Some(&*file)), ("reject_file", Some(&*other)));
            assert!(distinct(&[undo, rejects], &[]).is_err(), "{name}");
            assert!(distinct(&[undo], &[rejects]).is_err(), "{name}");
        }
        // Pipes and devices may be named twice.
        let null = Some(Path::new("/dev/null"));
        assert!(distinct(&[("reject_file", null)], &[("--input", null)]).is_ok());
    }
}
