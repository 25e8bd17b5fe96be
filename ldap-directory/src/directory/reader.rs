//! The same directory, for reading.

use super::Directory;

impl Directory {
    /// Returns the same directory for reading: every change through it is an error ([`DirectoryError::ReadOnly`]). It shares the
    /// connection or the file, and has what is changed through the other one. So a program can keep the way of its changes in one place,
    /// and give this to all others.
    ///
    /// ```
    /// use ldap_directory::change::Change;
    /// use ldap_directory::{Access, Directory, DirectoryConfig, ErrorKind, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n")?;
    /// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
    /// let directory = Directory::open(&config, Access::WRITE).await?;
    /// let reader = directory.reader();
    /// let delete = Change::Delete { dn: "dc=x".into() };
    /// assert_eq!(reader.apply(&delete).await.map_err(|e| e.kind()), Err(ErrorKind::ReadOnly));
    /// directory.apply(&delete).await?;
    /// assert!(reader.read("dc=x", &["1.1"]).await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn reader(&self) -> Directory {
        match self {
            Directory::Ldap(d) => Directory::Ldap(d.reader()),
            Directory::Ldif(d) => Directory::Ldif(d.reader()),
            Directory::Preview(d) => Directory::Preview(d.reader()),
        }
    }
}
