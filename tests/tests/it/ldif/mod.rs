//! LDIF files in place of servers.

mod deep_names;
mod ldif_directory;
mod partial_dumps;
mod stated_content;
