//! Methods of texts, with Python's semantics.

use std::borrow::Cow;

use serde_json::Value;

use super::evaluate::items_of;
use super::expression::Method;
use super::value::{Num, integer, is_blank, number, text, type_name};

/// Calls a method of a text. `is_tuple`: the first argument stands there as a tuple.
pub(super) fn on_text(
    of: &str,
    method: Method,
    arguments: &[Cow<'_, Value>],
    is_tuple: bool,
) -> Result<Value, String> {
    let argument = |n: usize| arguments.get(n).map(|a| &**a).filter(|a| !a.is_null());
    let needs_text =
        |value: &Value| format!("`.{}()` with {}, and it takes a text", method.name(), type_name(value));
    let optional = |n: usize| match argument(n) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(needs_text(other)),
    };
    let required = |n: usize| optional(n)?.ok_or_else(|| needs_text(&Value::Null));
    // How often; a negative number is no limit.
    let count = |n: usize| match arguments.get(n).map(|a| number(a)) {
        None => Ok(None),
        Some(Some(Num::Integer(n))) => Ok(usize::try_from(n).ok()),
        Some(_) => Err(format!("`.{}()` takes a whole number there", method.name())),
    };
    let any_of = |fits: &dyn Fn(&str) -> bool| match argument(0) {
        Some(Value::Array(items)) if is_tuple => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            let texts = texts
                .ok_or_else(|| format!("`.{}()` with a tuple of other things than texts", method.name()))?;
            Ok(Value::Bool(texts.into_iter().any(fits)))
        }
        _ => Ok(Value::Bool(fits(required(0)?))),
    };
    let stripped = |start: bool, end: bool| -> Result<Value, String> {
        let set = optional(0)?;
        let fits = |c: char| set.map_or_else(|| is_blank(c), |set| set.contains(c));
        let of = if start { of.trim_start_matches(fits) } else { of };
        Ok(if end { of.trim_end_matches(fits) } else { of }.into())
    };
    match method {
        Method::Lower => text(of.to_lowercase()),
        Method::Upper => text(of.to_uppercase()),
        Method::Title => text(titled(of, true)?),
        Method::Capitalize => text(titled(of, false)?),
        Method::Strip => stripped(true, true),
        Method::LStrip => stripped(true, false),
        Method::RStrip => stripped(false, true),
        Method::StartsWith => any_of(&|part| of.starts_with(part)),
        Method::EndsWith => any_of(&|part| of.ends_with(part)),
        Method::RemovePrefix => Ok(required(0).map(|part| of.strip_prefix(part).unwrap_or(of))?.into()),
        Method::RemoveSuffix => Ok(required(0).map(|part| of.strip_suffix(part).unwrap_or(of))?.into()),
        Method::Replace => {
            let (old, new) = (required(0)?, required(1)?);
            text(count(2)?.map_or_else(|| of.replace(old, new), |n| of.replacen(old, new, n)))
        }
        Method::Split | Method::RSplit => {
            let most = count(1)?.unwrap_or(usize::MAX);
            let from_the_right = method == Method::RSplit;
            Ok(match optional(0)? {
                Some("") => return Err(format!("`.{}()` with an empty text", method.name())),
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
        Method::SplitLines => Ok(lines(of)),
        Method::Partition => {
            let separator = required(0)?;
            if separator.is_empty() {
                return Err("`.partition()` with an empty text".to_owned());
            }
            let parts = of.split_once(separator).map_or([of, "", ""], |(a, b)| [a, separator, b]);
            Ok(parts.into_iter().map(Value::from).collect())
        }
        Method::Join => {
            let items = items_of(argument(0).unwrap_or(&Value::Null))?;
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            text(texts.ok_or("`.join()` of a list with something else than texts")?.join(of))
        }
        Method::Count => {
            let part = required(0)?;
            Ok(if part.is_empty() { of.chars().count() + 1 } else { of.matches(part).count() }.into())
        }
        Method::Find | Method::RFind | Method::Index => {
            let part = required(0)?;
            let found = if method == Method::RFind { of.rfind(part) } else { of.find(part) };
            match found.and_then(|at| of.get(..at)) {
                Some(before) => Ok(before.chars().count().into()),
                None if method == Method::Index => Err("`.index()` of what is not there".to_owned()),
                None => Ok(integer(-1)),
            }
        }
        Method::ZFill | Method::LJust | Method::RJust => {
            let width = count(0)?.unwrap_or(0);
            let fill = match optional(1)? {
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
            padded(of, method, width, fill)
        }
        Method::IsDigit => is_digits(of),
        Method::IsSpace => Ok((!of.is_empty() && of.chars().all(is_blank)).into()),
        Method::Get | Method::Items | Method::Keys | Method::Values => {
            Err(format!("`.{}()` of a text", method.name()))
        }
    }
}

fn padded(of: &str, method: Method, width: usize, fill: char) -> Result<Value, String> {
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
