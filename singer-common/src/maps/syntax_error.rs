//! Syntax errors of expressions.

/// A syntax error in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// The position, in characters from 1.
    pub(super) at: usize,
    pub(super) reason: String,
}

impl SyntaxError {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}
