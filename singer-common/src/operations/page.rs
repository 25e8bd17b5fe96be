//! The frame, style and script of HTML pages: one file that loads nothing, and is complete without its script.
//!
//! Content from a directory is untrusted input.
//! `maud` escapes every `( )` in text and attributes; [`visible`] makes control characters harmless, too.
//! The policy of the page allows only the style and the script of this module, by their hashes.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use ldap_directory::text::is_steering;

const STYLE: &str = include_str!("../../assets/page.css");
/// Filters, searches and sorts what is on the page.
const SCRIPT: &str = include_str!("../../assets/page.js");

/// Returns the policy of a page (CSP level 3): nothing is loaded, and only the style and the script with these hashes apply.
/// The script cannot make markup of a text.
fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(style),
        hash(script)
    )
}

/// Returns the style of a page. Bars have a class for each percentage: the policy forbids `style` attributes.
fn style(more: &str) -> String {
    let mut style = format!("{STYLE}{more}");
    for n in 0..=100 {
        let _ = writeln!(style, ".p{n}{{width:{n}%}}");
    }
    // A parser of HTML drops carriage returns, and the hash would differ.
    style.replace('\r', "")
}

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
        let (style, script) = (style(self.style), SCRIPT.replace('\r', ""));
        let policy = policy(&style, &script);
        self.whole(main, &style, Some(&script), Some(&policy))
    }

    /// Returns a page without script, and its policy, for the header `Content-Security-Policy`: its forms may be sent to these sources,
    /// and no other page may frame it.
    pub fn form(&self, main: &Markup, form_action: &str) -> (Markup, String) {
        let style = style(self.style);
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'",
            BASE64.encode(Sha256::digest(&style))
        );
        (self.whole(main, &style, None, None), policy)
    }

    fn whole(&self, main: &Markup, style: &str, script: Option<&str>, policy: Option<&str>) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    @if let Some(policy) = policy {
                        meta http-equiv="Content-Security-Policy" content=(policy);
                    }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    meta name="robots" content="noindex";
                    title { (self.kind) ": " (visible(self.title)) }
                    style { (PreEscaped(style)) }
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
                    @if let Some(script) = script { script { (PreEscaped(script)) } }
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

/// Returns a bar that shows a share. Its number is beside it as text.
pub fn bar(part: u64, whole: u64) -> Markup {
    // Something is never shown as nothing.
    let width = share(part, whole).max(u64::from(part > 0));
    html! { span.bar aria-hidden="true" { span class={ "p" (width) } {} } }
}

/// Returns a share in percent, rounded down and at most 100.
pub fn share(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(100).min(100)
}

/// Returns a share in percent as text. 100% and 0% are only shown if they are exact.
pub fn percent(part: u64, whole: u64) -> String {
    match share(part, whole) {
        0 if part > 0 => "<1%".to_owned(),
        n => format!("{n}%"),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the only text between two others.
    fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
        let mut parts = text.split(from).skip(1);
        let found = parts.next().unwrap().split(to).next().unwrap();
        assert_eq!(parts.next(), None, "{from} twice");
        found
    }

    #[test]
    fn the_policy_allows_exactly_the_style_and_the_script_of_the_page() {
        let frame = Frame {
            kind: "Kind",
            title: "</script><script>alert(1)</script>\u{202e}\0",
            style: "h1 { color: red }\r\n",
            facts: &[],
            figures: &[],
            links: &[],
            footer: "",
        };
        let page = frame.around(&html! { p { "Text" } }).into_string();
        let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(Sha256::digest(text.as_bytes())));
        let (style, script) =
            (between(&page, "<style>", "</style>"), between(&page, "<script>", "</script>"));
        assert!(style.contains("h1 { color: red }\n") && script.contains("addEventListener"));
        let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
        let directives: Vec<&str> = policy.split("; ").collect();
        assert_eq!(
            directives,
            [
                "default-src 'none'",
                &format!("style-src {}", hash(style)),
                &format!("script-src {}", hash(script)),
                "base-uri 'none'",
                "form-action 'none'",
                "require-trusted-types-for 'script'",
                "trusted-types 'none'",
            ]
        );
        assert!(!page.contains(['\0', '\u{202e}', '\r']));
        // What the policy forbids is not there either.
        for forbidden in [" style=", "url(", "@import", "http:", "https:", "innerHTML", "eval("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn a_form_has_no_script_and_is_sent_nowhere_else() {
        let frame =
            Frame { kind: "Kind", title: "T", style: "", facts: &[], figures: &[], links: &[], footer: "" };
        let (page, policy) = frame.form(&html! { form {} }, "'self'");
        let page = page.into_string();
        let style = between(&page, "<style>", "</style>");
        let hash = BASE64.encode(Sha256::digest(style.as_bytes()));
        assert!(
            policy.contains(&format!("style-src 'sha256-{hash}'")) && !page.contains("<script"),
            "{policy}"
        );
        for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("script-src") && !page.contains("http-equiv"));
    }

    #[test]
    fn shares_are_rounded_down() {
        for (part, whole, expected) in [
            (0, 0, "0%"),
            (0, 9, "0%"),
            (1, 1000, "<1%"),
            (999, 1000, "99%"),
            (5, 5, "100%"),
            (7, 5, "100%"),
            (u64::MAX, u64::MAX, "100%"),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
        assert_eq!(
            bar(1, 4).into_string(),
            "<span class=\"bar\" aria-hidden=\"true\"><span class=\"p25\"></span></span>"
        );
        assert!(bar(1, 1000).into_string().contains("\"p1\"") && bar(0, 9).into_string().contains("\"p0\""));
    }
}
