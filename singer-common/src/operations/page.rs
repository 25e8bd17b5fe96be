//! The frame and the look of pages for people: one HTML file, which loads nothing and runs nothing.
//!
//! What comes from a directory is hostile input. `maud` escapes every `( )` in text and attributes; [`visible`] makes control
//! characters harmless too.

use std::borrow::Cow;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use ldap_directory::text::is_steering;

const STYLE: &str = include_str!("../../assets/page.css");
/// Nothing is loaded and nothing runs, whatever got into the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// What a page has around its content.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What kind of page it is: `Directory report`.
    pub kind: &'a str,
    /// What it is about.
    pub title: &'a str,
    /// The style of this kind of page alone.
    pub style: &'a str,
    /// Names and values below the title.
    pub facts: &'a [(&'a str, Markup)],
    /// Numbers that are the first thing to see, each with what it counts.
    pub figures: &'a [(String, &'a str)],
    /// Links within the page: identifier and text.
    pub links: &'a [(&'a str, &'a str)],
    /// The last words.
    pub footer: &'a str,
}

impl Frame<'_> {
    /// The page.
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

    /// What comes before the content and what comes after it, for content that is too long to hold.
    pub fn halves(&self) -> (String, String) {
        // No text of the page can be this: NUL is made visible in all of them.
        const HERE: &str = "\0";
        let whole = self.around(&PreEscaped(HERE.to_owned())).into_string();
        whole.split_once(HERE).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default()
    }
}

/// A name, with places where a line may break.
pub fn breakable(text: &str) -> Markup {
    html! {
        @for (n, part) in visible(text).split_inclusive([',', '/', '_', '.']).enumerate() {
            @if n > 0 { wbr; }
            (part)
        }
    }
}

/// A text whose control characters can be seen, as pictures: NUL is not allowed in HTML, a line break would vanish, and those
/// that turn the direction of writing would turn what follows.
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

/// A number with commas: `12,345`.
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

/// [`thousands`] of a count of things.
pub fn count(number: usize) -> String {
    thousands(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A number and its noun: `1 stream`, `2 streams`.
pub fn plural(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}
