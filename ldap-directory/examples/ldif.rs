//! An LDIF file as a directory: search it, change it, write it back.
//!
//! ```text
//! cargo run --example ldif people.ldif
//! ```
//!
//! Without an argument, it works on a file of its own.
#![allow(clippy::print_stdout, reason = "the output of an example")]

use std::path::PathBuf;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::{Access, Directory, DirectoryConfig, Scope, SearchRequest, ServerUrl};

const PEOPLE: &str = "\
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=Ada Lovelace,dc=example,dc=com
objectClass: person
cn: Ada Lovelace
sn: Lovelace
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = if let Some(path) = std::env::args_os().nth(1) {
        PathBuf::from(path)
    } else {
        let path = folder.path().join("people.ldif");
        std::fs::write(&path, PEOPLE)?;
        path
    };

    // The same interface as for a server. A missing file would be an empty directory.
    let config = DirectoryConfig::new([ServerUrl::Ldif(path.clone())]);
    let directory = Directory::open(&config, Access::WRITE).await?;
    let base = directory.root_dse().default_base().unwrap_or_default().to_owned();
    println!("{base}: {} naming context(s)", directory.root_dse().naming_contexts.len());

    // Filters compare by the matching rules of the schema: `LOVELACE` matches `Lovelace`.
    let mut people = directory.search(SearchRequest::new(base, Scope::Subtree, "(sn=LOVELACE)", &[])).await?;
    while let Some(person) = people.next_entry().await? {
        println!("found {}", person.dn);
        let mail = Modification::new(ModificationKind::Replace, "mail", vec![b"ada@example.com".to_vec()]);
        directory.apply(&Change::Modify { dn: person.dn, changes: vec![mail] }).await?;
    }

    // Until here, nothing was written. Now the file is replaced in one rename.
    directory.commit()?;
    print!("{}", std::fs::read_to_string(path)?);
    Ok(())
}
