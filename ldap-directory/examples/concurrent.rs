//! Many searches at once, over the few connections of one directory.
//!
//! ```text
//! LDAP_URL=ldap://localhost LDAP_BASE=dc=example,dc=com LDAP_SEARCHES=50 LDAP_POOL=4 \
//!     cargo run --example concurrent
//! ```
#![allow(clippy::print_stdout, reason = "the output of an example")]

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use ldap_directory::{
    Access, AuthMethod, Directory, DirectoryConfig, DirectoryError, ErrorKind, Scope, SearchRequest,
    ServerUrl,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |name: &str, default: usize| env::var(name).map_or(Ok(default), |text| text.parse());
    let auth = match (env::var("LDAP_BIND_DN"), env::var("LDAP_PASSWORD")) {
        (Ok(dn), Ok(password)) => AuthMethod::simple(dn, password),
        _ => AuthMethod::Anonymous,
    };
    let base = env::var("LDAP_BASE")?;
    let config = DirectoryConfig::new([ServerUrl::parse(&env::var("LDAP_URL")?)?])
        .auth(auth)
        .pool_size(number("LDAP_POOL", 4)?)
        .page_size(10);

    // More searches than connections: each takes its turn.
    let directory = Directory::open(&config, Access::Read).await?;
    let tasks: Vec<_> = (0..number("LDAP_SEARCHES", 50)?)
        .map(|_| {
            let (directory, base) = (directory.clone(), base.clone());
            tokio::spawn(async move { count(&directory, &base).await.map_err(|e| e.kind()) })
        })
        .collect();
    let mut results: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks {
        *results.entry(format!("{:?}", task.await?)).or_default() += 1;
    }
    for (result, times) in results {
        println!("{times} times {result}");
    }
    directory.close().await;

    // A task that keeps a search open and begins another one needs two connections, as with a pool of database connections. If there is
    // only one, the second search waits as long as for an answer.
    let config = config.pool_size(1).operation_timeout(Duration::from_millis(500));
    let directory = Directory::open(&config, Access::Read).await?;
    let mut outer = directory.search(everything(&base)).await?;
    outer.next_entry().await?;
    match count(&directory, &base).await.map_err(|e| e.kind()) {
        Err(ErrorKind::PoolExhausted) => println!("inside another one: no connection left"),
        other => println!("inside another one: {other:?}"),
    }
    // Whoever drops the first one makes room.
    drop(outer);
    println!("after it: {:?}", count(&directory, &base).await?);
    directory.close().await;
    Ok(())
}

fn everything(base: &str) -> SearchRequest {
    SearchRequest::new(base, Scope::Subtree, "(objectClass=*)", &["1.1"])
}

async fn count(directory: &Directory, base: &str) -> Result<usize, DirectoryError> {
    let mut answer = directory.search(everything(base)).await?;
    let mut count = 0;
    while answer.next_entry().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
