//! What the target reads: lines, BATCH files, and an input that stays open.

mod batch;
mod only;
mod open_input;
mod singer_lines;
