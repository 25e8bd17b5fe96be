//! Terminal escapes: no value from a directory, a record or a file name reaches the terminal as a control sequence.

use ldap_tests::run::{Output, Program, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

/// Clears the screen, moves the cursor, sets colours and titles; turns what follows around.
const STEERING: [&str; 9] = [
    "\u{1b}[8A\u{1b}[0J",
    "\u{9b}2J",
    "\u{7f}\u{85}",
    "\u{1b}]0;title\u{7}",
    "\u{202e}gnp\u{202c}",
    "\u{2066}x\u{2069}",
    "\u{200f}\u{200e}\u{61c}",
    "\r\n> cn=other",
    "\u{2028}",
];

/// As a DN has it (RFC 4514 section 2.4).
fn in_dn(nasty: &str) -> String {
    nasty.replace(';', "\\;").replace('>', "\\>").replace('=', "\\=")
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[track_caller]
fn calm(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what}");
    let bad = text.chars().find(|c| *c != '\n' && steers(*c));
    assert_eq!(bad, None, "{what}: {text:?}");
}

/// Records whose stream, key, DN and values steer.
fn messages() -> Vec<Value> {
    let texts = json!({"type": ["null", "array", "string"], "items": {"type": "string"}});
    let mut all = Vec::new();
    for (n, nasty) in STEERING.iter().enumerate() {
        let stream = format!("s{n}{nasty}");
        all.push(
            json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object",
            "properties": {"id": texts, "dn": texts, "objectClass": texts, "cn": texts, "sn": texts}}}),
        );
        for (dn, class) in
            [(format!("cn=x{n}{},dc=example,dc=test", in_dn(nasty)), "person"), (format!("{nasty}="), "x")]
        {
            all.push(json!({"type": "RECORD", "stream": stream, "record":
                {"id": format!("k{nasty}"), "dn": dn, "objectClass": [class], "cn": [format!("x{n}{nasty}")], "sn": [nasty]}}));
        }
    }
    all
}

fn run(folder: &std::path::Path, args: &[&str]) -> Output {
    let file = folder.join("tree.ldif");
    std::fs::write(&file, "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n").unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "on_error": "skip",
        "reject_file": folder.join("rejects.jsonl")});
    let run = Run::target(&config).arg("--log-level").arg("trace").messages(&messages());
    args.iter().fold(run, |run, arg| run.arg(*arg)).run()
}

#[test]
fn a_plan_steers_no_terminal_in_any_form() {
    let folder = scratch();
    for format in ["diff", "json", "ldif", "html"] {
        let output = run(folder.path(), &["--dry-run", "--plan-format", format]);
        assert!([0, 4].contains(&output.code), "{}", output.stderr);
        let plan = output.stdout_text();
        calm(format, &plan);
        if format == "json" {
            // The same as what was given, once it is read.
            let lines: Vec<Value> = plan.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            let (added, refused): (Vec<&Value>, Vec<&Value>) =
                lines.iter().partition(|line| line["operation"] == "add");
            assert_eq!([added.len(), refused.len()], [STEERING.len(); 2]);
            for (line, nasty) in added.iter().zip(STEERING) {
                assert_eq!(line["attributes"]["sn"], json!([nasty]));
            }
        }
        if format == "diff" {
            assert!(plan.contains("\\u001b[8A\\u001b[0J") && plan.contains("\\u202e"), "{plan}");
        }
    }
}

#[test]
fn a_log_steers_no_terminal_in_any_form() {
    let folder = scratch();
    for format in ["text", "json", "singer"] {
        let output = run(folder.path(), &["--log-format", format]);
        assert_eq!(output.code, 4, "{}", output.stderr);
        calm(format, &output.stderr);
        assert!(output.stderr.contains("\\u009b") && output.stderr.contains("\\u202e"), "{}", output.stderr);
        if format != "text" {
            for line in output.stderr.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
    }
}

#[test]
fn a_catalog_and_a_report_of_a_check_steer_no_terminal() {
    let folder = scratch();
    let file = folder.path().join("tree.ldif");
    let nasty = STEERING.concat().replace(['\r', '\n'], "");
    let encoded = |text: String| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let dn = format!("ou=x{},dc=example,dc=test", in_dn(&nasty));
    std::fs::write(
        &file,
        format!(
            "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n\
             dn:: {}\nobjectClass: organizationalUnit\nou:: {}\n\n",
            encoded(dn),
            encoded(format!("x{nasty}"))
        ),
    )
    .unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    let catalog = Run::tap(&config).arg("--discover").run().succeeds();
    calm("the catalog", &catalog.stdout_text());
    let ids: Vec<String> = catalog.json()["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["tap_stream_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.iter().any(|id| id.contains(STEERING[4])), "{ids:?}");
    for args in [&["--test"][..], &["doctor"]] {
        let run = args.iter().fold(Run::bare(ldap_tests::run::Program::Tap), |run, arg| run.arg(*arg));
        calm("a check", &run.file("--config", &config).run().stdout_text());
    }
}

#[test]
fn a_message_about_an_argument_steers_no_terminal() {
    for argument in ["--\u{1b}]0;pwn\u{7}", "x\u{202e}", "--config=\u{1b}[2J", "--log-level=\u{1b}[2J"] {
        for program in [Program::Tap, Program::Target] {
            let output = Run::bare(program).arg(argument).run().exits(2);
            let text = output.stderr.to_string();
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        }
    }
}
