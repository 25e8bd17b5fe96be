//! The replication keys that servers maintain: how their values grow, which entries have them, and which attribute must be
//! read in addition, because a server reuses values or omits them.

use ldap_directory::Vendor;

/// What the values of a key mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The last change of the entry. The value of an entry never decreases, unless its database is restored.
    Changed,
    /// The creation of the entry: it marks additions, and no other change.
    Created,
    /// Any value that users write.
    Unknown,
}

/// A key that servers maintain.
struct MaintainedKey {
    name: &'static str,
    growth: Growth,
    /// The kinds of server that give it to every entry.
    everywhere: &'static [Vendor],
    /// Whether its values are local to one server, and not valid on the others of the directory.
    local: bool,
}

const ALL_STAMP: &[Vendor] = &[Vendor::OpenLdap, Vendor::Ds389, Vendor::ActiveDirectory];

const KEYS: &[MaintainedKey] = &[
    MaintainedKey {
        name: "entryCSN",
        growth: Growth::Changed,
        everywhere: &[Vendor::OpenLdap],
        local: false,
    },
    // Entries that are older than the plug-in have none; see `second_key`.
    MaintainedKey { name: "entryusn", growth: Growth::Changed, everywhere: &[Vendor::Ds389], local: true },
    MaintainedKey {
        name: "uSNChanged",
        growth: Growth::Changed,
        everywhere: &[Vendor::ActiveDirectory],
        local: true,
    },
    // [MS-ADA3] 2.370: not replicated, each domain controller has its own.
    MaintainedKey {
        name: "whenChanged",
        growth: Growth::Changed,
        everywhere: &[Vendor::ActiveDirectory],
        local: true,
    },
    // RFC 4512 section 3.4.4: set when an entry is modified. Some servers also set it when it is added.
    MaintainedKey { name: MODIFIED, growth: Growth::Changed, everywhere: ALL_STAMP, local: false },
    MaintainedKey {
        name: "uSNCreated",
        growth: Growth::Created,
        everywhere: &[Vendor::ActiveDirectory],
        local: true,
    },
    MaintainedKey {
        name: "whenCreated",
        growth: Growth::Created,
        everywhere: &[Vendor::ActiveDirectory],
        local: false,
    },
    MaintainedKey { name: CREATED, growth: Growth::Created, everywhere: ALL_STAMP, local: false },
];

const MODIFIED: &str = "modifyTimestamp";
const CREATED: &str = "createTimestamp";

fn known(key: &str) -> Option<&'static MaintainedKey> {
    KEYS.iter().find(|k| k.name.eq_ignore_ascii_case(key))
}

/// Returns what the values of a key mean.
pub(crate) fn growth(key: &str) -> Growth {
    known(key).map_or(Growth::Unknown, |k| k.growth)
}

/// Returns whether every entry of a server of this kind has the key.
pub(crate) fn is_on_every_entry(vendor: Vendor, key: &str) -> bool {
    known(key).is_some_and(|k| k.everywhere.contains(&vendor))
}

/// Returns whether a key is local to one server.
pub(crate) fn is_local(key: &str) -> bool {
    known(key).is_some_and(|k| k.local)
}

/// Returns the attribute that dates an entry without a value of the key, because it was never modified since it was added.
pub(crate) fn fallback(vendor: Vendor, key: &str) -> Option<&'static str> {
    let lacks = key.eq_ignore_ascii_case(MODIFIED) && !is_on_every_entry(vendor, key);
    lacks.then_some(CREATED)
}

/// Returns a second key to read, because the server may reuse values of the first one: 389 DS decrements `entryusn` for each
/// addition that it refuses, and starts anew after an import.
pub(crate) fn second_key(vendor: Vendor, key: &str) -> Option<&'static str> {
    (vendor == Vendor::Ds389 && key.eq_ignore_ascii_case("entryusn")).then_some(MODIFIED)
}

/// Returns the attributes that mark the last change of an entry on a server of this kind, if they are not the replication
/// key. The first one decides which of two entries changed later.
pub(crate) fn marks(vendor: Vendor) -> &'static [&'static str] {
    match vendor {
        Vendor::OpenLdap => &["entryCSN"],
        // An import resets the number, and a restored entry has an earlier time.
        Vendor::Ds389 => &[MODIFIED, "entryusn"],
        Vendor::ActiveDirectory => &["uSNChanged"],
        Vendor::Ldif | Vendor::Other => &[MODIFIED],
    }
}

/// Returns the best of some keys, the server's own first: one that marks every change.
pub(crate) fn best(keys: &[String]) -> Option<&String> {
    keys.iter().find(|k| growth(k) == Growth::Changed)
}

/// Returns the change keys that entries have. A server that does not set `modifyTimestamp` when it adds an entry will set it
/// later: `createTimestamp` implies it.
pub(crate) fn available(
    vendor: Vendor,
    keys: &[&'static str],
    has: impl Fn(&str) -> bool,
) -> Vec<&'static str> {
    let implied = |key: &str| fallback(vendor, key).is_some_and(&has);
    keys.iter().copied().filter(|key| has(key) || implied(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_additions_only_is_no_default() {
        let keys = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            best(&keys(&["createTimestamp", "modifyTimestamp"])).map(String::as_str),
            Some("modifyTimestamp")
        );
        assert_eq!(best(&keys(&["createTimestamp", "whenCreated"])), None);
    }

    #[test]
    fn every_key_of_every_server_is_known() {
        for vendor in [Vendor::OpenLdap, Vendor::Ds389, Vendor::ActiveDirectory, Vendor::Ldif, Vendor::Other]
        {
            for key in vendor.change_keys() {
                assert_ne!(growth(key), Growth::Unknown, "{key}");
                let is_followed = is_on_every_entry(vendor, key)
                    || fallback(vendor, key).is_some()
                    || growth(key) == Growth::Created;
                assert!(is_followed, "{vendor:?} {key}");
            }
        }
    }

    #[test]
    fn an_entry_that_was_never_modified_is_followed_by_what_stands_in() {
        let keys = Vendor::Other.change_keys();
        assert_eq!(
            available(Vendor::Other, keys, |k| k == "createTimestamp"),
            ["modifyTimestamp", "createTimestamp"]
        );
        assert!(available(Vendor::Other, keys, |_| false).is_empty());
        assert_eq!(
            available(Vendor::OpenLdap, Vendor::OpenLdap.change_keys(), |k| k == "createTimestamp"),
            ["createTimestamp"]
        );
    }
}
