//! Opening, reopening, and what must be refused.
