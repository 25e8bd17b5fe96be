//! The Meltano SDK, Meltano, and the executables as Python wheels.

mod meltano;
pub(crate) mod sdk;
mod sdk_lines;
mod wheels;
