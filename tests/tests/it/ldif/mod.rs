//! LDIF files in place of servers.

mod ldif_directory;
mod partial_dumps;
