//! Follows the changes of a server by content synchronization (RFC 4533).
//!
//! First a refresh: all entries, and a cookie. Then, from that cookie on, changes as they happen, until `LDAP_ITEMS` of them
//! arrived (0 by default: the example ends after the refresh).
//!
//! ```text
//! LDAP_URL=ldap://localhost LDAP_BIND_DN=cn=admin,dc=example,dc=com LDAP_PASSWORD=secret \
//!     LDAP_BASE=dc=example,dc=com LDAP_ITEMS=3 cargo run --example sync
//! ```
#![allow(clippy::print_stdout, reason = "the output of an example")]

use std::env;

use ldap_directory::client::LdapDirectory;
use ldap_directory::client::content_sync::{SyncItem, SyncMode, SyncRequest, SyncState};
use ldap_directory::filter::Filter;
use ldap_directory::{Access, AuthMethod, DirectoryConfig, Scope, ServerUrl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let auth = match (env::var("LDAP_BIND_DN"), env::var("LDAP_PASSWORD")) {
        (Ok(dn), Ok(password)) => AuthMethod::simple(dn, password),
        _ => AuthMethod::Anonymous,
    };
    let config = DirectoryConfig::new([ServerUrl::parse(&env::var("LDAP_URL")?)?]).auth(auth);
    let server = LdapDirectory::open(&config, Access::Read).await?;

    let mut request = SyncRequest {
        base: env::var("LDAP_BASE")?,
        scope: Scope::Subtree,
        filter: Filter::parse("(objectClass=*)")?,
        attributes: vec!["*".to_owned()],
        mode: SyncMode::RefreshOnly,
        cookie: None,
    };

    // The refresh. `next_in_time` fails if the server stops making progress.
    let mut connection = server.sync_connection().await?;
    connection.start(&request).await?;
    let mut entries = 0;
    loop {
        match connection.next_in_time().await?.1 {
            SyncItem::Entry { state: SyncState::Changed, .. } => entries += 1,
            // Store it only once everything before it is stored.
            SyncItem::Cookie(cookie) => request.cookie = Some(cookie),
            SyncItem::End(Ok(())) => break,
            SyncItem::End(Err(end)) => return Err(format!("the refresh ended with code {}", end.code).into()),
            _ => {}
        }
    }
    println!("refreshed: {entries} entries, cookie: {}", request.cookie.is_some());

    // What changed since the cookie, and then every change as it happens.
    let wanted: usize = env::var("LDAP_ITEMS").unwrap_or_default().parse().unwrap_or(0);
    request.mode = SyncMode::RefreshAndPersist;
    let id = connection.start(&request).await?;
    let mut changes = 0;
    while changes < wanted {
        // `next` waits as long as nothing changes, and may be dropped while it waits.
        match connection.next().await?.1 {
            SyncItem::Entry { state, uuid, entry } => {
                // A deletion has no attributes; its DN is the last one.
                println!("{state:?} {} {uuid}", entry.dn);
                changes += 1;
            }
            SyncItem::Set { deleted: true, uuids } => {
                println!("deleted: {}", uuids.len());
                changes += uuids.len();
            }
            SyncItem::PhaseEnd { complete: true, .. } => println!("following"),
            SyncItem::End(end) => return Err(format!("the server ended it: {end:?}").into()),
            // A cookie after each change, for the next start; references; what is unchanged.
            _ => {}
        }
    }
    connection.abandon(id).await?;
    connection.close().await;
    server.close().await;
    Ok(())
}
