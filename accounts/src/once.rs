//! A bounded table of short-lived entries that are taken once.
