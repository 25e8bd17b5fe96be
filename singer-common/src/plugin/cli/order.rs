//! The order of the command line: options may precede the subcommand that they belong to.
//!
//! Meltano puts `--config FILE` before everything that is passed to `meltano invoke`.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// Returns the words of a command line, with each option of a subcommand moved from before it to directly behind it.
/// If a word before the subcommand is unknown, nothing is moved: clap reports the word.
pub(super) fn ordered(command: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let Some((at, subcommand)) = find_subcommand(command, &words) else { return words };
    let (mut before, mut moved) = (Vec::new(), Vec::new());
    let mut words = words.into_iter().enumerate();
    let mut is_own = false;
    // The words of options that have a value: the value follows its option.
    let mut is_value = false;
    for (n, word) in words.by_ref() {
        if n == 0 || n == at {
            before.push(word);
            if n == at {
                break;
            }
            continue;
        }
        let option = word.to_str().filter(|_| !is_value).and_then(|word| LongOption::find(command, word));
        if let Some(option) = &option {
            is_own = option.arg.is_global_set() || with_name(subcommand, option.name).is_some();
        } else if !is_value {
            is_own = false;
        }
        is_value = option.is_some_and(|option| option.has_value_word());
        if is_own { moved.push(word) } else { before.push(word) }
    }
    before.extend(moved);
    before.extend(words.map(|(_, word)| word));
    before
}

/// Returns the place of the subcommand among the words, and its definition.
fn find_subcommand<'c>(command: &'c Command, words: &[OsString]) -> Option<(usize, &'c Command)> {
    let mut is_value = false;
    for (n, word) in words.iter().enumerate().skip(1) {
        if is_value {
            is_value = false;
            continue;
        }
        let word = word.to_str()?;
        if word.starts_with("--") {
            is_value = LongOption::find(command, word)?.has_value_word();
        } else if !word.starts_with('-') {
            return command.find_subcommand(word).map(|found| (n, found));
        }
    }
    None
}

/// An option on the command line: `--name`, or `--name=value`.
struct LongOption<'c, 'w> {
    arg: &'c Arg,
    name: &'w str,
    has_value: bool,
}

impl<'c, 'w> LongOption<'c, 'w> {
    /// Returns the option of this command or of one of its subcommands.
    fn find(command: &'c Command, word: &'w str) -> Option<Self> {
        let text = word.strip_prefix("--")?;
        let (name, has_value) = text.split_once('=').map_or((text, false), |(name, _)| (name, true));
        let mut commands = std::iter::once(command).chain(command.get_subcommands());
        let arg = commands.find_map(|command| with_name(command, name))?;
        Some(Self { arg, name, has_value })
    }

    /// Whether the next word is its value.
    fn has_value_word(&self) -> bool {
        !self.has_value && self.arg.get_action().takes_values() && !self.arg.is_require_equals_set()
    }
}

fn with_name<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
    })
}

/// Returns the error of an option for a Singer run beside a subcommand, which would silently ignore it.
/// `accepted`: options of a run that `doctor` accepts, too.
pub(super) fn misplaced(command: &Command, matches: &ArgMatches, accepted: &[&str]) -> Option<String> {
    let (name, _) = matches.subcommand()?;
    command.get_arguments().filter(|arg| !arg.is_global_set()).find_map(|arg| {
        let id = arg.get_id().as_str();
        let is_given = matches.try_contains_id(id).is_ok_and(|is_there| is_there)
            && matches.value_source(id) == Some(ValueSource::CommandLine);
        let is_accepted = name == "doctor" && accepted.contains(&id);
        (is_given && !is_accepted)
            .then(|| format!("'{arg}' is an option of a run, and the subcommand '{name}' does not have it"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let flag = |name: &'static str| Arg::new(name).long(name).action(clap::ArgAction::SetTrue);
        let value = |name: &'static str| Arg::new(name).long(name);
        Command::new("tap")
            .arg(value("config").global(true))
            .arg(value("catalog").alias("properties"))
            .arg(value("test").num_args(0..=1).require_equals(true))
            .arg(flag("discover"))
            .subcommand(Command::new("doctor").arg(value("format")))
            .subcommand(Command::new("init").arg(value("output")).arg(flag("yes")))
    }

    #[test]
    fn options_before_a_subcommand_are_moved_behind_it() {
        let order = |line: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            let words = ordered(&command(), words);
            words.iter().map(|w| w.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (given, expected) in [
            ("tap --config a doctor --config b", "tap doctor --config a --config b"),
            ("tap --config=a doctor", "tap doctor --config=a"),
            ("tap --format json --config a doctor", "tap doctor --format json --config a"),
            ("tap --output doctor --yes init", "tap init --output doctor --yes"),
            // The values of options are not subcommands.
            ("tap --config doctor --discover", "tap --config doctor --discover"),
            ("tap --config doctor init", "tap init --config doctor"),
            // An option of another subcommand, or of a run, stays where clap and `misplaced` report it.
            ("tap --yes --config a doctor", "tap --yes doctor --config a"),
            ("tap --properties c --config a doctor", "tap --properties c doctor --config a"),
            ("tap --test --config a doctor", "tap --test doctor --config a"),
            ("tap --no-such --config a doctor", "tap --no-such --config a doctor"),
            ("tap --config a nonsense", "tap --config a nonsense"),
            ("tap", "tap"),
        ] {
            assert_eq!(order(given), expected, "{given}");
        }
    }

    #[test]
    fn options_of_a_run_beside_a_subcommand_are_an_error() {
        let problem = |line: &str| {
            let mut command = command();
            let matches = command.try_get_matches_from_mut(line.split(' ')).unwrap();
            misplaced(&command, &matches, &["catalog"])
        };
        assert!(problem("tap --discover doctor").is_some_and(|text| text.contains("'--discover'")));
        assert!(problem("tap --catalog c init").is_some());
        assert_eq!(problem("tap --catalog c doctor"), None);
        assert_eq!(problem("tap --discover"), None);
    }
}
