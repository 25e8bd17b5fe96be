//! LDIF files in place of servers.

mod active_directory_filters;
mod deep_names;
mod ldif_directory;
mod partial_dumps;
mod stated_content;
