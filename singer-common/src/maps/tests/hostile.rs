//! Any text, and any tokens.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn expressions_never_panic_on_any_text(text in "[\\PC\n]{0,40}") {
        let _ = of(&text);
    }

    #[test]
    fn expressions_never_panic_on_any_tokens(parts in prop::collection::vec(prop::sample::select(vec![
        "mail", "n", "(", ")", "[", "]", ".", ",", ":", "if", "else", "not", "in", "is", "and", "or", "+", "-", "*", "/", "'a'", "1",
        "lower", "get", "int", "<", "==", "None", "for", "x", "{", "}", "items", "f'{x", "f'", "}'", "=", "json", "dumps",
    ]), 0..16)) {
        let _ = of(&parts.join(" "));
    }
}
