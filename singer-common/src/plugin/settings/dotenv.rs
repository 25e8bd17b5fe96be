//! Files of `NAME=value` lines, by the rules of python-dotenv, which the Meltano SDK uses.
//! Values may be quoted, names may follow `export`, comments are skipped.
//! `$NAME` is not expanded: a password may contain a dollar sign.

/// Returns the variables of a file; later lines override earlier ones. An error is the number of an invalid line.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut variables = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        // The line of an error.
        let line = text.get(..text.len() - rest.len()).unwrap_or_default().matches('\n').count() + 1;
        if rest.is_empty() {
            return Ok(variables);
        }
        if rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        let (variable, after) = variable(rest).ok_or(line)?;
        variables.extend(variable);
        rest = after;
    }
}

/// Parses a variable (`None` for a name without a value), and returns the rest of the text.
fn variable(text: &str) -> Option<(Option<(String, String)>, &str)> {
    let text = text.strip_prefix("export ").map_or(text, |text| text.trim_start_matches([' ', '\t']));
    let end = text.find(['=', '\n', '#', ' ', '\t', '\r']).unwrap_or(text.len());
    let (name, after) = text.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    let after = after.trim_start_matches([' ', '\t']);
    let Some(value) = after.strip_prefix('=') else {
        // A name without a value is skipped.
        return to_line_end(after).map(|after| (None, after));
    };
    let value = value.trim_start_matches([' ', '\t']);
    let Some(quote @ ('\'' | '"')) = value.chars().next() else {
        let (line, after) = value.split_once('\n').unwrap_or((value, ""));
        // A comment begins after a blank.
        let end = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
        return Some((Some((name.to_owned(), line.get(..end)?.trim_end().to_owned())), after));
    };
    let (value, after) = quoted(value.get(1..)?, quote)?;
    to_line_end(after).map(|after| (Some((name.to_owned(), value)), after))
}

/// Returns the text after the line if the line has only a comment.
fn to_line_end(text: &str) -> Option<&str> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim();
    (line.is_empty() || line.starts_with('#')).then_some(after)
}

/// Parses a value up to its closing quotation mark.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if c == quote {
            return Some((value, text.get(at + 1..)?));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, escaped) = characters.next()?;
        match escaped {
            '\\' => value.push('\\'),
            c if c == quote => value.push(c),
            'n' if quote == '"' => value.push('\n'),
            'r' if quote == '"' => value.push('\r'),
            't' if quote == '"' => value.push('\t'),
            other => value.extend(['\\', other]),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn dotenv_lines_follow_python_dotenv() {
        let text = "\u{feff}# first\nA=1\n\n export B = two words  # comment\nC='it''\nD=\"a\\n\\\"b\" # c\nE=[\"x\"]\nF=pa$$w#rd\nG=\nH\nI='more\nlines'\r\nA=2";
        let read: Vec<String> = parse(&text.replace("'it''", "'it\\'s'"))
            .unwrap()
            .into_iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            read,
            [
                "A=1",
                "B=two words",
                "C=it's",
                "D=a\n\"b",
                "E=[\"x\"]",
                "F=pa$$w#rd",
                "G=",
                "I=more\nlines",
                "A=2"
            ]
        );
        for (text, line) in [("A=1\n=x", 2), ("A='x", 1), ("\n\nA='x' y", 3), ("two words", 1)] {
            assert_eq!(parse(text), Err(line), "{text}");
        }
    }
}
