//! Replacement by regular expression: for `re.sub` of the maps, and for the filter `replace` of templates.

use regex::{Captures, Regex, RegexBuilder};

/// The most memory of a compiled pattern, in octets.
const SIZE_LIMIT: usize = 1 << 20;
/// The longest result, in octets: some patterns make a text longer for each character.
pub const LONGEST: usize = 1 << 20;

/// How a replacement names groups of the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `$1` and `${name}`; `$$` is a dollar sign.
    Dollar,
    /// `\1` and `\g<name>`, as in Python; `\\` is a backslash.
    Backslash,
}

impl Notation {
    /// The character before a group, and what stands around a name.
    fn marks(self) -> (char, &'static str, char) {
        match self {
            Self::Dollar => ('$', "{", '}'),
            Self::Backslash => ('\\', "g<", '>'),
        }
    }
}

/// Why there is no [`Replacement`] for a pattern and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplacementError {
    /// The pattern is not a regular expression: the reason.
    Pattern(String),
    /// The text names a group that the pattern does not have.
    Group {
        /// The name, or the number; empty if none follows the mark.
        name: String,
        /// How many groups the pattern has.
        groups: usize,
    },
}

/// A pattern, and what stands in place of what it finds. A search takes time proportional to the text.
///
/// ```
/// use singer_common::maps::replacement::{Notation, Replacement};
///
/// let swapped = Replacement::new("(.+), (.+)", "$2 $1", Notation::Dollar).unwrap();
/// assert_eq!(swapped.apply("Cole, Dana").as_deref(), Some("Dana Cole"));
/// ```
#[derive(Debug, Clone)]
pub struct Replacement {
    regex: Regex,
    with: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl PartialEq for Replacement {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.with == other.with
    }
}

impl Eq for Replacement {}

impl Replacement {
    /// Compiles a pattern and the text in its place.
    ///
    /// # Errors
    /// The pattern is no regular expression, or needs more memory than 1 MiB; the text names a group that it does not have.
    pub fn new(pattern: &str, with: &str, notation: Notation) -> Result<Self, ReplacementError> {
        let regex = RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).nest_limit(50).build();
        let regex = regex.map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            ReplacementError::Pattern(reason.to_owned())
        })?;
        let with = parts(with, &regex, notation)?;
        Ok(Self { regex, with })
    }

    /// Replaces all that the pattern finds. `None`: the result would be longer than [`LONGEST`].
    #[must_use]
    pub fn apply(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut end = 0;
        for found in self.regex.captures_iter(text) {
            let whole = found.get(0)?;
            out.push_str(text.get(end..whole.start())?);
            self.put(&mut out, &found);
            end = whole.end();
            if out.len() > LONGEST {
                return None;
            }
        }
        out.push_str(text.get(end..)?);
        Some(out)
    }

    fn put(&self, out: &mut String, found: &Captures<'_>) {
        for part in &self.with {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(n) => out.push_str(found.get(*n).map_or("", |group| group.as_str())),
            }
        }
    }
}

/// Parses what stands in place of what is found.
fn parts(with: &str, regex: &Regex, notation: Notation) -> Result<Vec<Part>, ReplacementError> {
    let (mark, open, close) = notation.marks();
    let mut parts = Vec::new();
    let mut rest = with;
    while let Some((text, after)) = rest.split_once(mark) {
        parts.push(Part::Text(text.to_owned()));
        if let Some(after) = after.strip_prefix(mark) {
            parts.push(Part::Text(mark.to_string()));
            rest = after;
            continue;
        }
        let named = after.strip_prefix(open).and_then(|after| after.split_once(close));
        let (name, after) = named.unwrap_or_else(|| {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        let by_number = name.parse::<usize>().ok().filter(|n| *n < regex.captures_len());
        let by_name =
            || regex.capture_names().position(|known| known == Some(name)).filter(|_| !name.is_empty());
        let Some(group) = by_number.or_else(by_name) else {
            return Err(ReplacementError::Group { name: name.to_owned(), groups: regex.captures_len() - 1 });
        };
        parts.push(Part::Group(group));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}
