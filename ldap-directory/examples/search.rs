//! Searches a server, then adds, modifies and deletes an entry.
//!
//! ```text
//! LDAP_URL=ldap://localhost LDAP_BIND_DN=cn=admin,dc=example,dc=com LDAP_PASSWORD=secret \
//!     LDAP_BASE=dc=example,dc=com cargo run --example search
//! ```
#![allow(clippy::print_stdout, reason = "the output of an example")]

use std::env;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::client::LdapDirectory;
use ldap_directory::dn::{Dn, Rdn};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::{Access, AuthMethod, Directory, DirectoryConfig, Scope, SearchRequest, ServerUrl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = ServerUrl::parse(&env::var("LDAP_URL")?)?;
    let base = env::var("LDAP_BASE")?;
    let auth = match (env::var("LDAP_BIND_DN"), env::var("LDAP_PASSWORD")) {
        (Ok(dn), Ok(password)) => AuthMethod::simple(dn, password),
        _ => AuthMethod::Anonymous,
    };
    let config = DirectoryConfig::new([server.clone()]).auth(auth);

    // Health: name lookup, TCP, TLS and bind, each with a grade and advice. Nothing is retried.
    let (steps, opened) = LdapDirectory::open_by_steps(&config, Access::Read, &server).await;
    for step in steps {
        println!("{} {}: {}", step.grade.word(), step.name, step.text);
    }
    opened?.close().await;

    // The usual way: tries every server of the configuration, and repeats what is transient.
    let directory = Directory::open(&config, Access::WRITE).await?;
    println!("connected to {}", directory.root_dse().vendor.name());

    // A value from outside is not pasted into the text of a filter: it is a value of a `Filter`.
    let filter = Filter::equality("objectClass", "organizationalUnit");
    let mut units = directory.search(SearchRequest::new(&base, Scope::Subtree, filter, &["ou"])).await?;
    while let Some(unit) = units.next_entry().await? {
        println!("found {}", unit.dn);
    }

    // An RDN escapes its value: this one has a comma.
    let dn = Dn::parse(&base)?.child(Rdn::single("ou", "Sales, North")).to_string();
    let added = Entry {
        dn: dn.clone(),
        attributes: vec![
            Attribute::new("objectClass", vec![b"organizationalUnit".to_vec()]),
            Attribute::new("ou", vec![b"Sales, North".to_vec()]),
        ],
    };
    directory.apply(&Change::Add(added)).await?;
    println!("added {dn}");

    let description = Modification::new(ModificationKind::Replace, "description", vec![b"new".to_vec()]);
    directory.apply(&Change::Modify { dn: dn.clone(), changes: vec![description] }).await?;
    let entry = directory.read(&dn, &["description"]).await?;
    println!("description: {:?}", entry.as_ref().and_then(|e| e.first_text("description")));

    directory.apply(&Change::Delete { dn: dn.clone() }).await?;
    // A missing entry is not an error of `read`.
    println!("still there: {}", directory.read(&dn, &["1.1"]).await?.is_some());

    // It is an error of a change, with a kind to match on.
    if let Err(error) = directory.apply(&Change::Delete { dn }).await {
        println!("{:?}, transient: {}", error.kind(), error.is_transient());
    }
    directory.close().await;
    Ok(())
}
