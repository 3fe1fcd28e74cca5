//! Format and limits of PDUs.
pub const MAX_PDU_BYTES: usize = 65_536;
pub const MAX_ID_BYTES: usize = 255;
pub const MAX_PREV_EVENTS: usize = 20;
pub const MAX_AUTH_EVENTS: usize = 10;
/// Why bytes are no PDU of their room version.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("not valid JSON: {0}")]
    Json(#[from] crate::canonical::JsonError),
    #[error("the event is larger than {MAX_PDU_BYTES} bytes")]
    TooLarge,
    #[error("`{0}` is longer than {MAX_ID_BYTES} bytes")]
    IdTooLong(&'static str),
    #[error("`{0}` is missing or has the wrong type")]
    Field(&'static str),
}
