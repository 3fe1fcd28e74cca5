//! Access tokens: compact EdDSA JWTs.
