//! The pages on messages and reliability list the result codes as the library has them.

#![allow(missing_docs)]

use ldap_directory::protocol::result_code::{
    self, SUCCESS, SYNC_REFRESH_REQUIRED, active_directory_advice_table, active_directory_table,
    may_be_retried,
};

const MESSAGES: &str = include_str!("../../docs/reference/messages.md");
const RELIABILITY: &str = include_str!("../../docs/explanation/reliability.md");

#[test]
fn messages_page_has_the_advice_of_every_result_code() {
    // Answers that are not failures, and the ends of operations without a reader.
    const SILENT: [u32; 6] = [SUCCESS, 5, 6, 118, 121, SYNC_REFRESH_REQUIRED];
    for (code, _, advice) in result_code::table() {
        let name = result_code::name(code);
        assert_eq!(advice.is_empty(), SILENT.contains(&code), "{name}");
        assert!(!advice.ends_with('.'), "{name}");
        let row = format!("| `{name}` | {advice} |");
        assert!(
            advice.is_empty() || MESSAGES.contains(&row),
            "docs/reference/messages.md lacks the row {row}"
        );
    }
}

#[test]
fn messages_page_has_the_advice_for_active_directory() {
    for (number, advice) in active_directory_advice_table() {
        let row = format!("| `{number:x}` | {advice} |");
        assert!(MESSAGES.contains(&row), "docs/reference/messages.md lacks the row {row}");
    }
}

#[test]
fn reliability_page_lists_the_result_codes_that_are_retried() {
    for (code, name, _) in result_code::table().filter(|(code, ..)| *code != SUCCESS) {
        let is_listed = RELIABILITY.contains(&format!("| {code} | `{name}` |"));
        assert_eq!(may_be_retried(code, ""), is_listed, "{name} in docs/explanation/reliability.md");
    }
    for (code, name, is_retried) in active_directory_table() {
        let is_listed = RELIABILITY.contains(&format!("| {code:08X} | `{name}` |"));
        assert_eq!(is_retried, is_listed, "{name} in docs/explanation/reliability.md");
    }
}
