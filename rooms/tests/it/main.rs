//! The room engine from outside: what was asked for has happened, and what was refused has not.

mod create;
mod durability;
mod membership;
mod peers;
mod reads_directory;
mod reads_ephemeral;
mod reads_relations;
mod reads_timeline;
mod reads_visibility;
mod receive;
mod remote;
mod restricted;
mod send;
mod state;
mod upgrade;
mod wire;
mod world;
