//! What an entry has of its own, and what a server shows of it.

use super::Directory;

impl Directory {
    /// Returns the same directory, whose answers have the entries' own values only. It shares the connection.
    ///
    /// 389 Directory Server computes values when an entry is read: by classes of service and roles. They look like others, and no change of
    /// the entry adds or removes them. Whoever plans, checks, notes or takes back a change has to look at what the entry has itself. Filters
    /// are compared with what is shown, by the server. A server that computes nothing, and a file, answer as before.
    ///
    /// ```
    /// use ldap_directory::{Access, Directory, DirectoryConfig, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n")?;
    /// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
    /// let directory = Directory::open(&config, Access::Read).await?;
    /// assert!(!directory.tells_own_values());
    /// let own = directory.own_values().read("dc=x", &["dc"]).await?;
    /// assert_eq!(own, directory.as_shown().read("dc=x", &["dc"]).await?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn own_values(&self) -> Directory {
        self.reading_own(true)
    }

    /// Returns the same directory, whose answers have what the server shows: the opposite of [`Self::own_values`].
    #[must_use]
    pub fn as_shown(&self) -> Directory {
        self.reading_own(false)
    }

    /// Whether the server computes values, and can leave them out of an answer: then [`Self::own_values`] and [`Self::as_shown`] differ.
    pub fn tells_own_values(&self) -> bool {
        match self {
            Directory::Ldap(d) => d.tells_own_values(),
            Directory::Ldif(_) => false,
            Directory::Preview(d) => d.below().tells_own_values(),
        }
    }

    fn reading_own(&self, reads_own: bool) -> Directory {
        match self {
            Directory::Ldap(d) => Directory::Ldap(d.reading_own(reads_own)),
            Directory::Ldif(d) => Directory::Ldif(d.clone()),
            Directory::Preview(d) => Directory::Preview(d.over(d.below().reading_own(reads_own))),
        }
    }
}
