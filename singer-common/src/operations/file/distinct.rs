//! What names a setting's file takes: its own, and those that the program makes of it by an ending. No other file of the run may
//! have one of them, and no setting may name a file that has such an ending: it would be what another file's name makes.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{folder, real, with_suffix};
use crate::operations::settings_error::SettingsError;

/// The lock of a file.
pub const LOCK: &str = ".lock";
/// What an undo file is made of.
pub const JOURNAL: &str = ".journal";
/// What takes back a run that was killed: the first such file, and with a number behind it the later ones.
const KILLED: &str = ".killed";

/// The file that takes back the `n`th killed run, from 1.
pub fn killed(path: &Path, n: u32) -> PathBuf {
    if n < 2 { with_suffix(path, KILLED) } else { with_suffix(path, &format!("{KILLED}.{n}")) }
}

/// The ending of a name that the program makes of another file's name.
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

/// The files that are there now under names that the program makes of this one.
fn made_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    let of_killed = |path: PathBuf| {
        (1..).map(move |n| killed(&path, n)).take_while(|file| file.symlink_metadata().is_ok())
    };
    [with_suffix(path, LOCK), with_suffix(path, JOURNAL)].into_iter().chain(of_killed(path.to_owned()))
}

/// Checks that a file that is written has a name of its own, and is not another one that is written or read. `written` and
/// `read`: the settings or flags, and what they name.
///
/// # Errors
/// Two of them are one file, under whatever names, or one is what the program makes of another's name: what the one writes would
/// be lost by the other.
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

/// Checks that a file can be where a setting or a flag says: it is not a folder, and where it is not there yet, its folder is
/// one in which this user may make it.
///
/// # Errors
/// It cannot.
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

/// The files that a run's settings name, for [`distinct`]: what it writes, and the file that is its directory.
pub fn of_settings(values: &Map<String, Value>) -> (Vec<(&str, Option<&Path>)>, Option<&Path>) {
    let text = |name: &str| values.get(name).and_then(Value::as_str);
    let written = ["undo_file", "reject_file", "metrics_file"].map(|name| (name, text(name).map(Path::new)));
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
    // Where it will be.
    let place =
        |path: &Path| -> Option<PathBuf> { Some(folder(path).canonicalize().ok()?.join(path.file_name()?)) };
    place(one).is_some_and(|it| Some(it) == place(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_under_two_names_is_one() {
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
        // Names that the program makes are nobody's, and links to them neither.
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
        // A pipe or a device may be named twice.
        let null = Some(Path::new("/dev/null"));
        assert!(distinct(&[("reject_file", null)], &[("--input", null)]).is_ok());
    }
}
