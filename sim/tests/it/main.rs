//! Agreement, what it takes to notice that there is none, and that a seed is a history.

mod graphs;
mod histories;
