//! The executable `tap-ldap`.

fn main() -> std::process::ExitCode {
    tap_ldap::run::main()
}
