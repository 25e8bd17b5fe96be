//! The executable `target-ldap`.

fn main() -> std::process::ExitCode {
    target_ldap::run::main()
}
