//! Files that a run writes are no other file of the run.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::folder;
use crate::settings::SettingsError;

/// Checks that no file that is written is another one that is written or read. `written` and `read`: the settings or flags, and
/// what they name.
///
/// # Errors
/// Two of them are one file, under whatever names: what the one writes would be lost by the other.
pub fn distinct(
    written: &[(&str, Option<&Path>)],
    read: &[(&str, Option<&Path>)],
) -> Result<(), SettingsError> {
    for (n, (setting, path)) in written.iter().enumerate() {
        let Some(path) = path else { continue };
        let others = written.iter().skip(n + 1).chain(read);
        for (other, theirs) in others.filter_map(|(other, path)| Some((other, (*path)?))) {
            if is_same(path, theirs) {
                let problem = format!(
                    "{} is the file of `{other}`, too, and one would overwrite the other",
                    path.display()
                );
                return Err(SettingsError::value(*setting, problem, "a file of its own"));
            }
        }
    }
    Ok(())
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
        // A pipe or a device may be named twice.
        let null = Some(Path::new("/dev/null"));
        assert!(distinct(&[("reject_file", null)], &[("--input", null)]).is_ok());
    }
}
