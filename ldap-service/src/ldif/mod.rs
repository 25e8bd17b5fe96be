//! LDIF export and import.
