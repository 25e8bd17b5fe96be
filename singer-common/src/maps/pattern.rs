//! Wildcards in stream names: `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`, as in Python's `fnmatch`.

/// Whether a name matches a pattern.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The position of the last `*`, and the end of the characters that it matched.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = step(pattern.get(p..).unwrap_or_default(), name.get(n).copied()) {
            p += next;
            n += 1;
        } else if let Some((at, eaten)) = star {
            star = Some((at, eaten + 1));
            p = at + 1;
            n = eaten + 1;
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Returns the length of the pattern's next element if it matches the character.
fn step(pattern: &[char], c: Option<char>) -> Option<usize> {
    let c = c?;
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let is_not = pattern.get(1) == Some(&'!');
            let start = if is_not { 2 } else { 1 };
            // A `]` right after the opening bracket is a member of the set.
            let Some(end) = pattern.iter().skip(start + 1).position(|c| *c == ']').map(|n| n + start + 1)
            else {
                return (c == '[').then_some(1);
            };
            let set = pattern.get(start..end).unwrap_or_default();
            let mut is_in = false;
            let mut at = 0;
            while let Some(from) = set.get(at) {
                if let (Some('-'), Some(to)) = (set.get(at + 1), set.get(at + 2)) {
                    is_in |= (*from..=*to).contains(&c);
                    at += 3;
                } else {
                    is_in |= *from == c;
                    at += 1;
                }
            }
            (is_in != is_not).then_some(end + 1)
        }
        other => (*other == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn wildcards_match_as_in_fnmatch() {
        for (pattern, name) in [
            ("users", "users"),
            ("*", ""),
            ("*", "x"),
            ("u*s", "users"),
            ("a*b*c", "aXbbYc"),
            ("us?rs", "users"),
            ("[tu]sers", "users"),
            ("[a-z]sers", "users"),
            ("[!a]sers", "users"),
            ("a[", "a["),
            ("[]]", "]"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("users", "user"),
            ("u*s", "userx"),
            ("?", ""),
            ("[!u]sers", "users"),
            ("[a-c]x", "dx"),
            ("a*b", "ac"),
            ("", "x"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
