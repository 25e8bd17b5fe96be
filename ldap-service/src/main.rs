//! The executable `ldap-service`.

fn main() -> std::process::ExitCode {
    ldap_service::run::main()
}
