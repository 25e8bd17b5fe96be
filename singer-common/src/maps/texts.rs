//! Methods of texts, with Python's semantics.

use std::borrow::Cow;

use serde_json::Value;

use super::expression::Method;
use super::number::{Num, integer, number};
use super::value::{is_blank, items_of, text, type_name};

/// Calls a method of a text. `is_tuple`: the first argument is written as a tuple.
pub(super) fn on_text(
    of: &str,
    method: Method,
    arguments: &[Cow<'_, Value>],
    is_tuple: bool,
) -> Result<Value, String> {
    let arguments = Arguments { method, values: arguments };
    match method {
        Method::Lower => text(of.to_lowercase()),
        Method::Upper => text(of.to_uppercase()),
        Method::Title => text(titled(of, true)?),
        Method::Capitalize => text(titled(of, false)?),
        Method::Strip => stripped(of, true, true, &arguments),
        Method::LStrip => stripped(of, true, false, &arguments),
        Method::RStrip => stripped(of, false, true, &arguments),
        Method::StartsWith => any_of(&arguments, is_tuple, &|part| of.starts_with(part)),
        Method::EndsWith => any_of(&arguments, is_tuple, &|part| of.ends_with(part)),
        Method::RemovePrefix => {
            Ok(arguments.required(0).map(|part| of.strip_prefix(part).unwrap_or(of))?.into())
        }
        Method::RemoveSuffix => {
            Ok(arguments.required(0).map(|part| of.strip_suffix(part).unwrap_or(of))?.into())
        }
        Method::Replace => {
            let (old, new) = (arguments.required(0)?, arguments.required(1)?);
            text(arguments.count(2)?.map_or_else(|| of.replace(old, new), |n| of.replacen(old, new, n)))
        }
        Method::Split | Method::RSplit => split(of, &arguments),
        Method::SplitLines => Ok(lines(of)),
        Method::Partition => partition(of, &arguments),
        Method::Join => join(of, &arguments),
        Method::Count => {
            let part = arguments.required(0)?;
            Ok(if part.is_empty() { of.chars().count() + 1 } else { of.matches(part).count() }.into())
        }
        Method::Find | Method::RFind | Method::Index => find(of, &arguments),
        Method::ZFill | Method::LJust | Method::RJust => padded(of, &arguments),
        Method::IsDigit => is_digits(of),
        Method::IsSpace => Ok((!of.is_empty() && of.chars().all(is_blank)).into()),
        Method::Get | Method::Items | Method::Keys | Method::Values => {
            Err(format!("`.{}()` of a text", method.name()))
        }
    }
}

/// The arguments of a method.
struct Arguments<'a> {
    method: Method,
    values: &'a [Cow<'a, Value>],
}

impl<'a> Arguments<'a> {
    /// Returns an argument, unless it is missing or null.
    fn get(&self, n: usize) -> Option<&'a Value> {
        self.values.get(n).map(|a| &**a).filter(|a| !a.is_null())
    }

    fn needs_text(&self, value: &Value) -> String {
        format!("`.{}()` with {}, and it takes a text", self.method.name(), type_name(value))
    }

    /// Returns a text, unless it is missing or null.
    fn optional(&self, n: usize) -> Result<Option<&'a str>, String> {
        match self.get(n) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(self.needs_text(other)),
        }
    }

    /// Returns a text.
    fn required(&self, n: usize) -> Result<&'a str, String> {
        self.optional(n)?.ok_or_else(|| self.needs_text(&Value::Null))
    }

    /// Returns a count; `None` if it is missing or negative, which means no limit.
    fn count(&self, n: usize) -> Result<Option<usize>, String> {
        match self.values.get(n).map(|a| number(a)) {
            None => Ok(None),
            Some(Some(Num::Integer(n))) => Ok(usize::try_from(n).ok()),
            Some(_) => Err(format!("`.{}()` takes a whole number there", self.method.name())),
        }
    }
}

/// Whether the first argument, or an item of it if it is a tuple, fits.
fn any_of(arguments: &Arguments<'_>, is_tuple: bool, fits: &dyn Fn(&str) -> bool) -> Result<Value, String> {
    match arguments.get(0) {
        Some(Value::Array(items)) if is_tuple => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            let texts = texts.ok_or_else(|| {
                format!("`.{}()` with a tuple of other things than texts", arguments.method.name())
            })?;
            Ok(Value::Bool(texts.into_iter().any(fits)))
        }
        _ => Ok(Value::Bool(fits(arguments.required(0)?))),
    }
}

/// Removes blanks, or the characters of the first argument, from the chosen ends.
fn stripped(of: &str, start: bool, end: bool, arguments: &Arguments<'_>) -> Result<Value, String> {
    let set = arguments.optional(0)?;
    let fits = |c: char| set.map_or_else(|| is_blank(c), |set| set.contains(c));
    let of = if start { of.trim_start_matches(fits) } else { of };
    Ok(if end { of.trim_end_matches(fits) } else { of }.into())
}

/// `split` and `rsplit`: by a separator, or by blanks.
fn split(of: &str, arguments: &Arguments<'_>) -> Result<Value, String> {
    let most = arguments.count(1)?.unwrap_or(usize::MAX);
    let from_the_right = arguments.method == Method::RSplit;
    Ok(match arguments.optional(0)? {
        Some("") => return Err(format!("`.{}()` with an empty text", arguments.method.name())),
        Some(separator) if from_the_right => {
            let mut parts: Vec<Value> =
                of.rsplitn(most.saturating_add(1), separator).map(Value::from).collect();
            parts.reverse();
            parts.into()
        }
        Some(separator) => of.splitn(most.saturating_add(1), separator).map(Value::from).collect(),
        None if from_the_right => last_words(of, most),
        None => words(of, most),
    })
}

/// Returns the text before the separator, the separator, and the text after it.
fn partition(of: &str, arguments: &Arguments<'_>) -> Result<Value, String> {
    let separator = arguments.required(0)?;
    if separator.is_empty() {
        return Err("`.partition()` with an empty text".to_owned());
    }
    let parts = of.split_once(separator).map_or([of, "", ""], |(a, b)| [a, separator, b]);
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Concatenates the texts of a list, with `of` between them.
fn join(of: &str, arguments: &Arguments<'_>) -> Result<Value, String> {
    let items = items_of(arguments.get(0).unwrap_or(&Value::Null))?;
    let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    text(texts.ok_or("`.join()` of a list with something else than texts")?.join(of))
}

/// `find`, `rfind` and `index`: the position of a part, in characters from 0.
fn find(of: &str, arguments: &Arguments<'_>) -> Result<Value, String> {
    let part = arguments.required(0)?;
    let found = if arguments.method == Method::RFind { of.rfind(part) } else { of.find(part) };
    match found.and_then(|at| of.get(..at)) {
        Some(before) => Ok(before.chars().count().into()),
        None if arguments.method == Method::Index => Err("`.index()` of what is not there".to_owned()),
        None => Ok(integer(-1)),
    }
}

/// `zfill`, `ljust` and `rjust`: fills a text up to a width.
fn padded(of: &str, arguments: &Arguments<'_>) -> Result<Value, String> {
    let method = arguments.method;
    let width = arguments.count(0)?.unwrap_or(0);
    let fill = match arguments.optional(1)? {
        None if method == Method::ZFill => '0',
        None => ' ',
        Some(fill) => {
            let mut characters = fill.chars();
            match (characters.next(), characters.next()) {
                (Some(only), None) => only,
                _ => return Err(format!("`.{}()` fills with one character", method.name())),
            }
        }
    };
    let missing = width.saturating_sub(of.chars().count());
    if missing > super::value::LONGEST_TEXT {
        return Err(super::value::too_long());
    }
    let padding: String = std::iter::repeat_n(fill, missing).collect();
    // A sign stays in front of the zeros.
    let (sign, rest) = match of.chars().next() {
        Some('+' | '-') if method == Method::ZFill => of.split_at_checked(1).unwrap_or(("", of)),
        _ => ("", of),
    };
    text(if method == Method::LJust { format!("{of}{padding}") } else { format!("{sign}{padding}{rest}") })
}

/// Python's `isdigit`, for ASCII. Digits beyond ASCII are rejected: Python's table of them is not reproduced here.
fn is_digits(of: &str) -> Result<Value, String> {
    if of.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        return Err("`.isdigit()` of numerals beyond ASCII is not supported".to_owned());
    }
    Ok((!of.is_empty() && of.bytes().all(|b| b.is_ascii_digit())).into())
}

/// Returns a text in title case: the first letter of each word, or of the text, is a capital, the others are small.
fn titled(of: &str, each_word: bool) -> Result<String, String> {
    let mut out = String::with_capacity(of.len());
    let mut goes_on = false;
    for (n, (at, c)) in of.char_indices().enumerate() {
        if if each_word { goes_on } else { n > 0 } {
            if c == 'Σ' {
                // The small form of sigma depends on what follows.
                let rest = of.get(at..).unwrap_or_default();
                out.extend(format!("a{rest}").to_lowercase().chars().nth(1));
            } else {
                out.extend(c.to_lowercase());
            }
        } else {
            out.extend(title(c)?);
        }
        goes_on = c.is_lowercase() || c.is_uppercase() || is_title(c);
    }
    Ok(out)
}

/// Digraph letters in title case (general category Lt).
fn is_title(c: char) -> bool {
    matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

/// Returns a letter in title case: its capital, except for letters with a title case of their own
/// (<https://www.unicode.org/Public/UCD/latest/ucd/UnicodeData.txt>, the last field).
fn title(c: char) -> Result<Vec<char>, String> {
    let capital: Vec<char> = c.to_uppercase().collect();
    match (c, capital.as_slice()) {
        ('ß', _) => Ok(vec!['S', 's']),
        ('Ǆ'..='ǆ', _) => Ok(vec!['ǅ']),
        ('Ǉ'..='ǉ', _) => Ok(vec!['ǈ']),
        ('Ǌ'..='ǌ', _) => Ok(vec!['ǋ']),
        ('Ǳ'..='ǳ', _) => Ok(vec!['ǲ']),
        ('\u{10d0}'..='\u{10ff}', _) => Ok(vec![c]),
        (_, [_]) => Ok(capital),
        _ => Err(format!("the title case of U+{:04X} is not supported", u32::from(c))),
    }
}

/// Splits at blanks, at most `most` times. The rest is the last item.
fn words(mut of: &str, most: usize) -> Value {
    let mut words = Vec::new();
    loop {
        of = of.trim_start_matches(is_blank);
        if of.is_empty() {
            return Value::Array(words);
        }
        let Some((word, rest)) = of.split_once(is_blank).filter(|_| words.len() < most) else {
            words.push(of.into());
            return Value::Array(words);
        };
        words.push(word.into());
        of = rest;
    }
}

/// Splits at blanks from the end, at most `most` times. The rest is the first item.
fn last_words(mut of: &str, most: usize) -> Value {
    let mut words: Vec<Value> = Vec::new();
    loop {
        of = of.trim_end_matches(is_blank);
        if of.is_empty() {
            break;
        }
        let Some((rest, word)) = of.rsplit_once(is_blank).filter(|_| words.len() < most) else {
            words.push(of.into());
            break;
        };
        words.push(word.into());
        of = rest;
    }
    words.reverse();
    Value::Array(words)
}

/// Splits at all line ends that Python recognizes.
fn lines(of: &str) -> Value {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = of;
    while !rest.is_empty() {
        let Some((line, after)) = rest.split_once(is_end) else {
            lines.push(rest.into());
            break;
        };
        lines.push(line.into());
        let is_cr = rest.get(line.len()..).is_some_and(|end| end.starts_with("\r\n"));
        rest = if is_cr { after.strip_prefix('\n').unwrap_or(after) } else { after };
    }
    Value::Array(lines)
}
