//! The known name that a misspelled one most likely stands for.

/// The known name that a wrong one most likely stands for: the same letters and digits in other cases and with other
/// separators, or else the one that fewest typing errors lead to. `None` where none is near.
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

/// The known names, at most three, that are near to one that is not known: the nearest first. For long lists, such as a
/// server's schema, where some name always differs in a few letters.
pub fn nearest_of_many<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &name);
    let near = |(distance, known): &(usize, &str)| *distance <= 1 + known.len() / 4 && *distance < name.len();
    let mut near: Vec<_> = known.map(|known| (distance(known), known)).filter(near).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, known)| known).take(3).collect()
}
