//! `init`: asks for directory and user, tests each answer at once, and writes a configuration.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;
use crate::operations::file;
use crate::operations::signals;
use crate::plugin::cli::variables;
use crate::plugin::directory_settings::{self, directory_config};
use crate::plugin::settings::{SettingsError, Table};
use ldap_directory::secret::Secret;
use ldap_directory::{Access, Directory, DirectoryError};

mod connection;
mod terminal;

pub use terminal::Terminal;

/// The flags of `init`.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// The configuration file to write; other files are written beside it [default: tap.json, target.json or service.json]
    #[arg(long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Ask nothing: use --config, and suggested values for the rest
    #[arg(long)]
    pub yes: bool,
}

/// The reason why no configuration was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// stdin is not a terminal.
    #[error(
        "init asks questions, and stdin is no terminal; with --yes it asks nothing, and takes the server and the bind from --config (a file, or ENV)"
    )]
    NoTerminal,
    /// stdin ended or failed.
    #[error("stdin: {0}; nothing was written")]
    Input(String),
    /// With `--yes`, a value without a suggestion is missing.
    #[error("{0}")]
    Missing(String),
    /// The file exists.
    #[error("{} is there already, and was left as it is; give another name with --output, or remove it first", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// With `--yes`, the directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A setting is invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Classified for InitError {
    fn class(&self) -> Class {
        match self {
            InitError::NoTerminal | InitError::Missing(_) | InitError::Exists(_) => Class::Config,
            InitError::Input(_) | InitError::File { .. } => Class::Run,
            InitError::Directory(e) => e.class(),
            InitError::Settings(e) => e.class(),
        }
    }

    fn facts(&self) -> Facts {
        match self {
            InitError::Directory(e) => e.facts(),
            InitError::Settings(e) => e.facts(),
            InitError::Exists(_) | InitError::File { .. } => Facts::of_setting("--output"),
            InitError::NoTerminal | InitError::Input(_) | InitError::Missing(_) => Facts::default(),
        }
    }
}

/// A configuration in progress.
#[derive(Debug)]
pub struct Init {
    /// The terminal for questions.
    pub terminal: Terminal,
    table: Table,
    /// The settings of `--config` and those tested so far.
    pub settings: Map<String, Value>,
    password: Option<Secret>,
    output: PathBuf,
    access: Access,
}

impl Init {
    /// Begins. `name`: the executable's; `table`: its settings; `sources`: the values of `--config`.
    pub fn begin(
        name: &str,
        table: Table,
        args: &InitArgs,
        sources: &[String],
        access: Access,
    ) -> Result<Self, InitError> {
        let defaults = table.resolve(&[], &BTreeMap::new())?.values;
        let mut settings = table.resolve(sources, &variables())?.values;
        settings.retain(|key, value| defaults.get(key) != Some(value));
        let password = settings.remove("bind_password").and_then(|p| p.as_str().map(Secret::new));
        let short = name.strip_suffix("-ldap").unwrap_or(name);
        let output = args.output.clone().unwrap_or_else(|| format!("{short}.json").into());
        let terminal = Terminal::new(args.yes)?;
        if args.yes && output.exists() {
            return Err(InitError::Exists(output));
        }
        if !args.yes {
            terminal.say(&format!(
                "{name} init asks where the directory is and writes {}. Enter takes what is in [brackets];\nCtrl-C ends it. Nothing is written before the last question.\n",
                output.display()
            ));
        }
        Ok(Self { terminal, table, settings, password, output, access })
    }

    /// Returns all settings of a later run, but without retries: the user is waiting.
    pub fn values(&self) -> Result<Map<String, Value>, InitError> {
        let mut values = self.table.resolve(&[], &BTreeMap::new())?.values;
        values.extend(self.settings.clone());
        if let Some(password) = &self.password {
            values.insert("bind_password".into(), password.reveal().into());
        }
        values.insert("retry_attempts".into(), 0.into());
        Ok(values)
    }

    async fn open(&self) -> Result<Directory, InitError> {
        let config = directory_config(&self.values()?, None, &mut Vec::new())?;
        Ok(directory_settings::open(&config, self.access).await?)
    }

    /// Asks for the base, under the setting `name`, until the entry exists.
    pub async fn base(&mut self, directory: &Directory, name: &str) -> Result<String, InitError> {
        let root = directory.root_dse();
        if root.naming_contexts.len() > 1 {
            self.terminal.say(&format!("  It holds {}", root.naming_contexts.join("; ")));
        }
        let given = self.settings.get(name).and_then(Value::as_str);
        let own = root.default_base().filter(|base| !base.is_empty());
        let suggestion = given.or(own).or(root.naming_contexts.first().map(String::as_str));
        let suggestion = suggestion.unwrap_or_default().to_owned();
        loop {
            let base = self.terminal.ask("Base DN, where to begin", &suggestion).await?;
            if base.is_empty() {
                if self.terminal.takes_suggestions() {
                    return Err(InitError::Missing(format!(
                        "the server does not say where it begins: set {name}"
                    )));
                }
                continue;
            }
            match directory.begins_at(&base).await {
                Ok(true) => {
                    self.settings.insert(name.into(), base.as_str().into());
                    return Ok(base);
                }
                Ok(false) => self.no(&format!("there is no `{base}`, or this user may not see it")),
                Err(e) => self.no(&e.to_string()),
            }
            if self.terminal.takes_suggestions() {
                return Err(InitError::Missing(format!("{name}: `{base}` cannot be read")));
            }
        }
    }

    fn no(&self, why: &str) {
        self.terminal.say(&format!("  No: {why}."));
    }

    /// Returns the path of a file beside the configuration: `tap.password`.
    pub fn beside(&self, extension: &str) -> PathBuf {
        self.output.with_extension(extension)
    }

    /// Asks about each existing file, then writes all. `more`: files beside the configuration.
    pub async fn write(mut self, more: Vec<(PathBuf, String)>) -> Result<Written, InitError> {
        let mut files = more;
        let mut variable = None;
        if let Some(password) = self.password.take() {
            let path = self.beside("password");
            let name = format!("{}_BIND_PASSWORD", self.table.prefix);
            let question = format!(
                "Keep the password in {}, which only you can read? With no, it has to be in {name}",
                path.display()
            );
            if self.terminal.confirm(&question, true).await? {
                let folder = std::path::absolute(file::folder(&path)).unwrap_or_default();
                let whole = folder.join(path.file_name().unwrap_or_default());
                self.settings.insert("bind_password_file".into(), whole.display().to_string().into());
                files.push((path, format!("{}\n", password.reveal())));
            } else {
                variable = Some(name);
            }
        }
        files.push((self.output.clone(), format!("{:#}\n", json!(self.settings))));
        for (path, _) in &files {
            if path.exists() {
                if self.terminal.takes_suggestions() {
                    return Err(InitError::Exists(path.clone()));
                }
                let question = format!("{} is there already. Overwrite it?", path.display());
                if !self.terminal.confirm(&question, false).await? {
                    return Err(InitError::Exists(path.clone()));
                }
            }
        }
        self.terminal.say("");
        for (path, text) in &files {
            private(path, text)?;
            self.terminal.say(&format!("Wrote {}", path.display()));
        }
        Ok(Written { config: self.output, variable, terminal: self.terminal })
    }
}

/// The files written.
#[derive(Debug)]
pub struct Written {
    /// The configuration.
    pub config: PathBuf,
    /// The variable that must contain the password.
    variable: Option<String>,
    terminal: Terminal,
}

impl Written {
    /// Returns the flags that name the configuration.
    pub fn flags(&self) -> String {
        let config = self.config.display();
        let env = if self.variable.is_some() { " --config ENV" } else { "" };
        format!("--config {config}{env}")
    }

    /// Prints the next steps.
    pub fn next(&self, lines: &[(String, &str)]) {
        self.terminal.say("\nNext:");
        if let Some(variable) = &self.variable {
            self.terminal.say(&format!("  export {variable}=…\n      the password"));
        }
        for (line, what) in lines {
            self.terminal.say(&format!("  {line}\n      {what}"));
        }
    }
}

/// Writes a file atomically that only its owner may read.
fn private(path: &Path, text: &str) -> Result<(), InitError> {
    let fail = |e: std::io::Error| InitError::File { path: path.to_owned(), reason: e.to_string() };
    let _uninterrupted = signals::uninterrupted();
    // A temporary file is readable only by its owner, independent of the umask.
    let mut out =
        tempfile::Builder::new().prefix(".singer-ldap-").tempfile_in(file::folder(path)).map_err(fail)?;
    out.write_all(text.as_bytes()).map_err(fail)?;
    out.as_file().sync_all().map_err(fail)?;
    out.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}
