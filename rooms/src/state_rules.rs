//! state_rules
