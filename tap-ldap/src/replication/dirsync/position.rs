//! Positions in the changes of Active Directory.

/// A position in either mechanism. The first octet of the persisted form says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    DirSync(Vec<u8>),
    /// The highest update sequence number seen.
    Usn(u64),
}

impl Position {
    pub(super) fn to_octets(&self) -> Vec<u8> {
        match self {
            Position::DirSync(cookie) => std::iter::once(b'D').chain(cookie.iter().copied()).collect(),
            Position::Usn(usn) => format!("U{usn}").into_bytes(),
        }
    }

    pub(super) fn from_octets(octets: &[u8]) -> Option<Position> {
        match octets.split_first()? {
            (b'D', cookie) => Some(Position::DirSync(cookie.to_vec())),
            (b'U', usn) => Some(Position::Usn(std::str::from_utf8(usn).ok()?.parse().ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back() {
        for position in [Position::DirSync(vec![0, 255]), Position::Usn(u64::MAX)] {
            assert_eq!(Position::from_octets(&position.to_octets()), Some(position));
        }
        assert_eq!(Position::from_octets(b"Ux"), None);
    }
}
