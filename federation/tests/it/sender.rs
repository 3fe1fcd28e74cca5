//! The sender on a server in memory, with a wire in place of the network: what peers get to see of
//! what happens here, however they behave.

mod bound;
mod contact;
mod crowd;
mod delivery;
mod device_lists;
mod notices;
mod presence;
mod refusals;
mod wire;
mod world;
