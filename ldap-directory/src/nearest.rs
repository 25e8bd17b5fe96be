//! Suggestions for misspelled names.

/// Returns the known name that a wrong one most likely stands for: the same letters and digits in another case or with other
/// separators, or else the one with the fewest typing errors. `None` if none is near.
///
/// ```
/// use ldap_directory::nearest::nearest;
///
/// assert_eq!(nearest("given_name", ["sn", "givenName"].into_iter()), Some("givenName"));
/// assert_eq!(nearest("colour", ["sn", "givenName"].into_iter()), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(name);
    let distance = |known: &str| strsim::damerau_levenshtein(&plain(known), &wanted);
    let near = |(distance, known): &(usize, &str)| {
        *distance <= 3.max(known.len() / 3) && *distance < known.len().max(2)
    };
    known.map(|known| (distance(known), known)).min().filter(near).map(|(_, known)| known)
}

/// Returns at most three known names that are near to an unknown one, the nearest first. For long lists, such as a server's schema,
/// in which some name always differs by a few letters.
pub fn nearest_of_many<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &name);
    let near = |(distance, known): &(usize, &str)| *distance <= 1 + known.len() / 4 && *distance < name.len();
    let mut near: Vec<_> = known.map(|known| (distance(known), known)).filter(near).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, known)| known).take(3).collect()
}

/// Returns whether a name is most likely a misspelling of a known one: at most one typing error in three letters. A name that differs by its
/// digits is another one.
///
/// ```
/// use ldap_directory::nearest::is_misspelling;
///
/// assert!(is_misspelling("poeple", "people"));
/// assert!(!is_misspelling("2025", "2026") && !is_misspelling("team-2", "team-1"));
/// assert!(!is_misspelling("a", "b"));
/// ```
pub fn is_misspelling(name: &str, known: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| !c.is_ascii_digit()).flat_map(char::to_lowercase).collect()
    };
    let (name, known) = (letters(name), letters(known));
    name != known && strsim::damerau_levenshtein(&name, &known) * 3 <= known.chars().count()
}
