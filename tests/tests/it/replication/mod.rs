//! Replication: what changed and what is gone, from every kind of server, by every method it offers.

mod busy;
mod durable;
mod follow;
mod keys;
mod kill;
mod kind;
mod live;
mod loops;
mod mirror;
mod model;
mod names;
mod positions;
mod quiet;
mod refused;
mod restored;
pub(crate) mod rng;
mod states;
mod table;
mod upsets;
mod world;
