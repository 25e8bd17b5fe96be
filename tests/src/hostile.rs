//! The hostile directory.
