//! `tap-ldap init`: creates a configuration and a first catalog interactively.

use std::process::ExitCode;

use ldap_directory::Access;
use serde_json::Value;
use singer_common::plugin::init::{Init, InitArgs};
use singer_common::singer::catalog::CatalogEntry;

use crate::config::TapConfig;
use crate::discover::{Discovery, discover};
use crate::discovery::context::DirectoryContext;
use crate::settings::TABLE;

/// The most streams that are listed; a directory may have thousands of containers.
const MOST_LISTED: usize = 40;

/// Asks for the settings, tries them and writes the files. `sources`: the values of `--config`.
pub async fn run(args: &InitArgs, sources: &[String]) -> anyhow::Result<ExitCode> {
    let mut init = Init::begin("tap-ldap", TABLE, args, sources, Access::Read)?;
    let directory = init.connect().await?;
    let base = init.base(&directory, "base_dn").await?;
    let config = TapConfig::from_settings(&init.values()?, &mut Vec::new())?;
    init.terminal.say("  Looking what there is …");
    let context = DirectoryContext::find(&config, &directory, &base).await?;
    let Discovery { mut catalog, samples } = discover(&config, &context).await?;
    directory.close().await;
    for (at, stream) in catalog.streams.iter().enumerate().take(MOST_LISTED) {
        let entries = samples.get(at).map(|s| format!("{}{}", s.entries, if s.complete { "" } else { "+" }));
        let (number, entries) = (at + 1, entries.unwrap_or_default());
        init.terminal.say(&format!(
            "  {number:>4}  {entries:>7} entries  {}  ({})",
            stream.stream, stream.tap_stream_id
        ));
    }
    if catalog.streams.len() > MOST_LISTED {
        init.terminal.say(&format!("        and {} more", catalog.streams.len() - MOST_LISTED));
    }
    let chosen = loop {
        let answer = init.terminal.ask("Which streams: all, or numbers (1,3-5)", "all").await?;
        match numbers(&answer, catalog.streams.len()) {
            Ok(chosen) => break chosen,
            Err(why) => init.terminal.say(&format!("  No: {why}.")),
        }
    };
    for (at, stream) in catalog.streams.iter_mut().enumerate() {
        select(stream, chosen.contains(&(at + 1)));
    }
    let path = init.beside("catalog.json");
    let catalog_flag = path.display().to_string();
    let written = init.write(vec![(path, format!("{}\n", catalog.to_pretty_json()?))]).await?;
    let flags = written.flags();
    written.next(&[
        (format!("tap-ldap {flags} --test"), "connects, and reads a record of each stream"),
        (format!("tap-ldap {flags} --catalog {catalog_flag} | head"), "the first messages"),
    ]);
    Ok(ExitCode::SUCCESS)
}

/// Returns the numbers in an answer, from 1 to `most`.
fn numbers(answer: &str, most: usize) -> Result<Vec<usize>, String> {
    if answer.eq_ignore_ascii_case("all") {
        return Ok((1..=most).collect());
    }
    let mut all = Vec::new();
    for part in answer.split([',', ' ']).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| (1..=most).contains(n));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => all.extend(first..=last),
            _ => return Err(format!("`{part}` is no number from 1 to {most}, and no range of them")),
        }
    }
    if all.is_empty() { Err("nothing would be read".to_owned()) } else { Ok(all) }
}

fn select(stream: &mut CatalogEntry, selected: bool) {
    if let Some(own) = stream.metadata.iter_mut().find(|m| m.breadcrumb.is_empty()) {
        own.metadata.insert("selected".to_owned(), Value::Bool(selected));
    }
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn streams_are_chosen_by_their_numbers() {
        assert_eq!(numbers("all", 3), Ok(vec![1, 2, 3]));
        assert_eq!(numbers("1, 3-5", 5), Ok(vec![1, 3, 4, 5]));
        for wrong in ["0", "6", "x", "3-1", "1-9", "-", "", ","] {
            assert!(numbers(wrong, 5).is_err(), "{wrong}");
        }
    }
}
