//! Subtrees that are left out of all answers.

use std::sync::Arc;

use super::Directory;
use crate::dn::{DnError, DnKey};
use crate::schema::Schema;

/// Subtrees of a directory that are left out: their top entries, and all below them.
#[derive(Debug)]
pub struct ExcludedSubtrees {
    tops: Vec<DnKey>,
    schema: Arc<Schema>,
}

impl ExcludedSubtrees {
    /// Returns whether an entry lies in one of them.
    pub fn has(&self, key: &DnKey) -> bool {
        self.tops.iter().any(|top| key.is_within(top))
    }

    /// Does the same for a DN. Something that is no DN lies in none of them.
    pub fn has_dn(&self, dn: &str) -> bool {
        DnKey::parse(dn, &self.schema).is_ok_and(|key| self.has(&key))
    }

    /// Returns them as texts that do not depend on how they were written, nor on their order, for comparison.
    pub fn to_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> =
            self.tops.iter().map(|top| String::from_utf8_lossy(top.as_octets()).into_owned()).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }
}

impl Directory {
    /// Returns the same directory without some subtrees: no search and no read returns an entry of them. A search that begins in one of
    /// them finds nothing. Clones of the directory are not changed; changes may still be made anywhere.
    ///
    /// The server is not asked to leave them out (no filter can ask it for that): their entries are dropped when they arrive.
    ///
    /// # Errors
    /// Fails if one of the texts is not a DN.
    ///
    /// ```
    /// use ldap_directory::{Access, Directory, DirectoryConfig, Scope, SearchRequest, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: ou=old,dc=x\nobjectClass: organizationalUnit\nou: old\n")?;
    /// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
    /// let whole = Directory::open(&config, Access::Read).await?;
    /// let part = whole.clone().excluding(["OU=Old, DC=x"])?;
    /// assert!(whole.read("ou=old,dc=x", &["*"]).await?.is_some());
    /// assert!(part.read("ou=old,dc=x", &["*"]).await?.is_none());
    ///
    /// let mut answer = part.search(SearchRequest::new("dc=x", Scope::Subtree, "(objectClass=*)", &["1.1"])).await?;
    /// assert_eq!(answer.next_entry().await?.map(|entry| entry.dn), Some("dc=x".into()));
    /// assert_eq!(answer.next_entry().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn excluding(
        self,
        subtrees: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Directory, DnError> {
        let schema = self.schema().clone();
        let tops = subtrees
            .into_iter()
            .map(|dn| DnKey::parse(dn.as_ref(), &schema))
            .collect::<Result<Vec<_>, _>>()?;
        let excluded = (!tops.is_empty()).then(|| Arc::new(ExcludedSubtrees { tops, schema }));
        Ok(self.with_excluded(excluded))
    }

    /// Returns the directory with all its subtrees.
    #[must_use]
    pub fn whole(&self) -> Directory {
        self.clone().with_excluded(None)
    }

    /// Returns the subtrees that are left out, if there are any.
    pub fn excluded(&self) -> Option<&Arc<ExcludedSubtrees>> {
        match self {
            Directory::Ldap(d) => d.excluded.as_ref(),
            Directory::Ldif(d) => d.excluded.as_ref(),
            Directory::Preview(d) => d.excluded.as_ref(),
        }
    }

    fn with_excluded(mut self, excluded: Option<Arc<ExcludedSubtrees>>) -> Directory {
        match &mut self {
            Directory::Ldap(d) => d.excluded = excluded,
            Directory::Ldif(d) => d.excluded = excluded,
            Directory::Preview(d) => d.excluded = excluded,
        }
        self
    }
}
