//! The executable `target-ldap`.

/// Records are made on one thread and end on another: the C library's allocator locks for each of their parts, which took
/// 40 % of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    target_ldap::run::main()
}
