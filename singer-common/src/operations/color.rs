//! Whether output for people has colors: on a terminal, unless the environment says otherwise.

/// Returns whether text for stdout or stderr has colors, as clap decides for `--help`:
/// `NO_COLOR` disables them, `CLICOLOR_FORCE` enables them even in a pipe, `CLICOLOR=0` and `TERM=dumb` disable them.
pub fn is_wanted(is_terminal: bool) -> bool {
    decide(is_terminal, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

fn decide(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_on = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
    // <https://no-color.org>: any text that is not empty.
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return false;
    }
    let is_off = variable("CLICOLOR").is_some_and(|value| value == "0");
    let is_dumb = variable("TERM").is_some_and(|value| value == "dumb");
    is_on("CLICOLOR_FORCE") || is_terminal && !is_off && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::decide;

    #[test]
    fn colors_are_for_terminals_and_the_environment_decides_first() {
        let with = |is_terminal, variables: &[(&str, &str)]| {
            decide(is_terminal, |name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(true, &[("TERM", "xterm")]) && !with(false, &[("TERM", "xterm")]));
        assert!(!with(true, &[("NO_COLOR", "1")]) && with(true, &[("NO_COLOR", "")]));
        assert!(!with(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(with(false, &[("CLICOLOR_FORCE", "1")]) && !with(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(true, &[("CLICOLOR", "0")]) && !with(true, &[("TERM", "dumb")]));
    }
}
