//! The contract on every engine.

mod engines;
