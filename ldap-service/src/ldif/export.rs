//! Export: entries as LDIF content records, as fast as the client takes them.
//!
//! The last line of a whole export is `# end: N entries`. If the directory fails in the middle, the connection is aborted (a chunked
//! body without its end), so that no program takes a part for the whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::ldif::writer::LdifWriter;
use ldap_directory::text::printable_line;
use ldap_directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest, SearchStream};
use tokio::sync::mpsc;

use super::shared::{END, HEAD};
use crate::filter::SafeFilter;
use crate::lookup::is_referral;
use crate::unseen::Unread;

/// The size from which a piece of the body is sent.
const PIECE: usize = 64 * 1024;
/// The pieces between the directory and the client.
const AHEAD: usize = 2;

/// What is exported.
#[derive(Debug, Clone)]
pub struct Export {
    /// The bases, none of them below another.
    pub bases: Vec<String>,
    /// The filter of the entries.
    pub filter: SafeFilter,
}

/// The pieces of the body. An error ends it: what was sent is not whole.
pub type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

/// An export in progress.
struct Exporter {
    directory: Directory,
    export: Export,
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    buffer: Vec<u8>,
    entries: u64,
    /// Entries that could not be written, and references to other servers.
    references: u64,
    /// Entries that refer to other servers.
    referrals: u64,
    unreadable: u64,
    /// Secret attributes that were left out, with the number of entries.
    left_out: BTreeMap<String, u64>,
    unread: Unread,
}

/// Why an export ended early.
enum Broken {
    /// The client is gone.
    Client,
    Failed(String),
}

impl From<DirectoryError> for Broken {
    fn from(error: DirectoryError) -> Self {
        Broken::Failed(error.to_string())
    }
}

impl Export {
    /// Begins the export. The first answer of the directory is awaited, so that its refusal is an error, not a body that breaks
    /// off.
    ///
    /// # Errors
    /// The directory refuses the search, or fails.
    pub async fn begin(self, directory: &Directory) -> Result<Pieces, DirectoryError> {
        let mut searches = self.bases.iter();
        let Some(first) = searches.next() else { return Ok(mpsc::channel(1).1) };
        let unread = Unread::of(directory, &["*".to_owned()]);
        let mut search = self.search(first, directory, &unread).await?;
        let first_item = search.next().await?;
        let (sender, pieces) = mpsc::channel(AHEAD);
        let exporter = Exporter {
            directory: directory.clone(),
            export: self,
            sender,
            buffer: Vec::new(),
            entries: 0,
            references: 0,
            referrals: 0,
            unreadable: 0,
            left_out: BTreeMap::new(),
            unread,
        };
        tokio::spawn(exporter.run(search, first_item));
        Ok(pieces)
    }

    async fn search(
        &self,
        base: &str,
        directory: &Directory,
        unread: &Unread,
    ) -> Result<SearchStream, DirectoryError> {
        let names: Vec<&str> = std::iter::once("*").chain(unread.request()).collect();
        directory
            .search(SearchRequest::new(base, Scope::Subtree, Filter::from(self.filter.clone()), &names))
            .await
    }
}

impl Exporter {
    async fn run(mut self, search: SearchStream, first: Option<SearchItem>) {
        match self.write(search, first).await {
            Ok(()) => tracing::info!(entries = self.entries, "export: {} entries", self.entries),
            Err(Broken::Client) => tracing::info!(entries = self.entries, "export: the client has gone"),
            Err(Broken::Failed(reason)) => {
                tracing::warn!(
                    entries = self.entries,
                    "export: ended early, and the connection is aborted: {reason}"
                );
                let _ = self.sender.send(Err(io::Error::other("the export is not whole"))).await;
            }
        }
    }

    async fn write(&mut self, search: SearchStream, first: Option<SearchItem>) -> Result<(), Broken> {
        let mut head = format!("{HEAD}\n");
        for base in &self.export.bases {
            let _ = writeln!(head, "# base: {}", printable_line(base));
        }
        let filter = self.export.filter.to_string();
        let _ = writeln!(head, "# filter: {}", printable_line(&filter));
        head.push_str("# values of secret attributes are left out: the last lines say which\n\n");
        self.buffer.extend_from_slice(head.as_bytes());
        let mut item = first;
        let mut search = search;
        let bases = self.export.bases.clone();
        for (n, base) in bases.iter().enumerate() {
            if n > 0 {
                search = self.export.search(base, &self.directory, &self.unread).await?;
                item = search.next().await?;
            }
            while let Some(found) = item {
                match found {
                    SearchItem::Entry(entry) => self.entry(base, entry).await?,
                    SearchItem::Reference(_) => self.references += 1,
                    SearchItem::Unreadable(_) => self.unreadable += 1,
                }
                item = search.next().await?;
            }
            self.unread.look(&self.directory, base).await?;
        }
        self.end().await
    }

    async fn entry(&mut self, base: &str, mut entry: Entry) -> Result<(), Broken> {
        self.unread.add(&self.directory, base, &mut entry).await?;
        self.directory.complete_ranges(&mut entry).await?;
        self.referrals += u64::from(is_referral(&entry, self.directory.schema()));
        let secrets = self.directory.secret_attributes();
        for attribute in entry.attributes.iter().filter(|a| secrets.contains(&a.description)) {
            *self.left_out.entry(attribute.description.clone()).or_default() += 1;
        }
        entry.attributes.retain(|a| !secrets.contains(&a.description));
        let mut writer = LdifWriter::new(&mut self.buffer);
        writer.entry(&entry).map_err(|e| Broken::Failed(e.to_string()))?;
        self.entries += 1;
        if self.buffer.len() >= PIECE { self.send().await } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), Broken> {
        let mut text = String::new();
        for (name, entries) in &self.left_out {
            let _ = writeln!(text, "# left out: {} of {entries} entries", printable_line(name));
        }
        for (name, entries) in self.unread.take() {
            tracing::warn!(
                setting = "bind_dn",
                attribute = name,
                entries,
                "export: the service's user may not read `{name}` of {entries} entries: it is left out"
            );
            let name = printable_line(&name);
            let _ = writeln!(text, "# left out: {name} of {entries} entries (may not be read)");
        }
        if self.references > 0 {
            let _ = writeln!(text, "# references to other servers, not followed: {}", self.references);
        }
        if self.referrals > 0 {
            let _ = writeln!(
                text,
                "# entries that refer to other servers, whose entries are not here: {}",
                self.referrals
            );
            tracing::warn!(
                entries = self.referrals,
                "export: {} entries refer to other servers, whose entries are not in it",
                self.referrals
            );
        }
        if self.unreadable > 0 {
            let _ = writeln!(text, "# entries whose DN is not UTF-8, left out: {}", self.unreadable);
        }
        let _ = writeln!(text, "{END}{} entries", self.entries);
        self.buffer.extend_from_slice(text.as_bytes());
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Broken> {
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.send(Ok(piece)).await.map_err(|_| Broken::Client)
    }
}
