//! The executable `target-ldap`.

/// Records are made on one thread and end on another, part by part, which the C library's allocator is slow at: records into
/// LDIF take 40 % less time with this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    target_ldap::run::main()
}
