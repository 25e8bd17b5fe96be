//! The frame and style of HTML pages: one file, without scripts and external resources.
//!
//! Content from a directory is untrusted input.
//! `maud` escapes every `( )` in text and attributes; [`visible`] makes control characters harmless, too.

use std::borrow::Cow;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use ldap_directory::text::is_steering;

const STYLE: &str = include_str!("../../assets/page.css");
/// Scripts and external resources are blocked, even if one were injected.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The frame of a page.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The kind of page: `Directory report`.
    pub kind: &'a str,
    /// The subject.
    pub title: &'a str,
    /// CSS rules of this kind of page.
    pub style: &'a str,
    /// Names and values below the title.
    pub facts: &'a [(&'a str, Markup)],
    /// The key figures at the top, each with its noun.
    pub figures: &'a [(String, &'a str)],
    /// Links within the page: identifier and text.
    pub links: &'a [(&'a str, &'a str)],
    /// The footer.
    pub footer: &'a str,
}

impl Frame<'_> {
    /// Returns the page around its content.
    pub fn around(&self, main: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    meta name="robots" content="noindex";
                    title { (self.kind) ": " (visible(self.title)) }
                    style { (PreEscaped(STYLE)) (PreEscaped(self.style)) }
                }
                body {
                    header {
                        p.eyebrow { (self.kind) }
                        h1 { (breakable(self.title)) }
                        dl.facts {
                            @for (name, value) in self.facts { div { dt { (name) } dd { (value) } } }
                        }
                        ul.figures {
                            @for (number, what) in self.figures { li { strong { (number) } " " span { (what) } } }
                        }
                        @if !self.links.is_empty() {
                            nav aria-label="On this page" {
                                @for (id, text) in self.links { a href={ "#" (id) } { (text) } }
                            }
                        }
                    }
                    main { (main) }
                    footer { p { (self.footer) } }
                }
            }
        }
    }

    /// Returns the HTML before and after the content, for content that is too large for memory.
    pub fn halves(&self) -> (String, String) {
        // No text of the page contains this: NUL is replaced in all of them.
        const HERE: &str = "\0";
        let whole = self.around(&PreEscaped(HERE.to_owned())).into_string();
        whole.split_once(HERE).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default()
    }
}

/// Returns a name with opportunities for line breaks.
pub fn breakable(text: &str) -> Markup {
    html! {
        @for (n, part) in visible(text).split_inclusive([',', '/', '_', '.']).enumerate() {
            @if n > 0 { wbr; }
            (part)
        }
    }
}

/// Returns a text with visible pictures in place of control characters.
/// NUL is not allowed in HTML, a line break would be lost, and bidirectional controls would reorder the text after them.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_steering) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|c| match u32::from(c) {
            // The pictures of the C0 controls.
            n @ 0..=0x1f => char::from_u32(0x2400 + n).unwrap_or('\u{fffd}'),
            0x7f => '\u{2421}',
            _ if is_steering(c) => '\u{fffd}',
            _ => c,
        })
        .collect::<String>()
        .into()
}

/// Formats a number with commas: `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a count with commas, as [`thousands`].
pub fn count(number: usize) -> String {
    thousands(u64::try_from(number).unwrap_or(u64::MAX))
}

/// Formats a count and its noun: `1 stream`, `2 streams`.
pub fn plural(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}
