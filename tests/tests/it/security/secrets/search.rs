//! Where a run leaves output, and the encodings of a secret to search for.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ldap_tests::run::{Output, Run};

/// Something that a run produced: what it is, and its octets. A new output of the executables is found by itself when it is a
/// file in the run's folder; one that is anything else (a socket) is added in [`watch`].
pub(super) struct Place {
    pub(super) name: String,
    pub(super) octets: Vec<u8>,
}

/// Runs it and gathers everything it produced: its command line, stderr, stdout, and every file below `out`, where all its settings
/// for files and its temporary folder point to.
pub(super) fn watch(run: Run, out: &Path) -> (Output, Vec<Place>) {
    let temporary = out.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut places = Vec::new();
    let output = run.env("TMPDIR", temporary.to_str().unwrap()).run_and(|pid| {
        let octets = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        places.push(Place { name: "cmdline".into(), octets });
    });
    places.push(Place { name: "stderr".into(), octets: output.stderr.raw().as_bytes().to_vec() });
    places.push(Place { name: "stdout".into(), octets: output.stdout.clone() });
    files(out, &mut places);
    (output, places)
}

fn files(below: &Path, places: &mut Vec<Place>) {
    for file in std::fs::read_dir(below).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            files(&path, places);
            continue;
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o007, 0, "{} is for everybody to read: {mode:o}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        places.push(Place { octets: name.clone().into_bytes(), name: format!("the name of {name}") });
        places.push(Place { octets: std::fs::read(&path).unwrap(), name });
    }
}

/// The ways in which a text may be hidden in octets, and still be there for who looks.
pub(super) fn forms(token: &str) -> Vec<(String, Vec<u8>)> {
    let octets = token.as_bytes();
    let wide: Vec<u8> = token.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut forms = vec![
        ("in clear".to_owned(), octets.to_vec()),
        ("in UTF-16".to_owned(), wide.clone()),
        ("backwards".to_owned(), octets.iter().rev().copied().collect()),
    ];
    for (kind, octets) in [("", octets), (" of UTF-16", &wide)] {
        let hex = hex(octets);
        forms.push((format!("hex{kind}"), hex.clone().into_bytes()));
        forms.push((format!("HEX{kind}"), hex.to_ascii_uppercase().into_bytes()));
        let debug: Vec<String> = octets.iter().map(u8::to_string).collect();
        forms.push((format!("a list of octets{kind}"), debug.join(", ").into_bytes()));
        forms.push((format!("a JSON list of octets{kind}"), debug.join(",").into_bytes()));
        // In base64 it looks different after one octet, and after two.
        for before in 0..3 {
            let shifted: Vec<u8> = std::iter::repeat_n(0, before).chain(octets.iter().copied()).collect();
            let text = STANDARD_NO_PAD.encode(&shifted);
            // Characters that hold bits of nothing else.
            let whole = text.get((before * 8).div_ceil(6)..shifted.len() * 8 / 6).unwrap();
            forms.push((format!("base64{kind}, {before} octets on"), whole.as_bytes().to_vec()));
        }
    }
    forms
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// How a token is found in some octets, if it is. Line breaks of folded LDIF and of wrapped base64 hide nothing.
pub(super) fn found(token: &str, octets: &[u8]) -> Option<String> {
    let unfolded: Vec<u8> =
        String::from_utf8_lossy(octets).replace("\r\n", "\n").replace("\n ", "").into_bytes();
    let has = |octets: &[u8], form: &[u8]| octets.windows(form.len()).any(|window| window == form);
    forms(token).into_iter().find(|(_, form)| has(octets, form) || has(&unfolded, form)).map(|(kind, _)| kind)
}

#[test]
fn what_is_hidden_is_found() {
    let token = "KwSecret4711";
    let long = STANDARD.encode(format!("dn: x\n{token}"));
    let (begin, end) = long.split_at(14);
    for octets in [
        format!("a {token} b").into_bytes(),
        format!("{:?}", token.as_bytes()).into_bytes(),
        STANDARD.encode(token).into_bytes(),
        STANDARD.encode(format!("a{token}bc")).into_bytes(),
        STANDARD.encode(format!("{{SSHA}}{token}b")).into_bytes(),
        format!("userPassword:: {begin}\n {end}\n").into_bytes(),
        token.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        hex(token.as_bytes()).to_ascii_uppercase().into_bytes(),
        serde_json::json!({"x": format!("\"{token}\\")}).to_string().into_bytes(),
    ] {
        assert!(found(token, &octets).is_some(), "{}", String::from_utf8_lossy(&octets));
    }
    assert_eq!(found(token, b"KwSecret4712 and much else"), None);
}
