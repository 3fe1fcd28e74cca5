//! The link between a gateway and the core: what each says about the WebSockets that end there.
//!
//! A frame is a header of [`HEADER_BYTES`] and a payload: the payload's length (`u32`), a kind
//! (`u8`) and the number of the socket (`u32`), in little-endian order. A gateway numbers its
//! sockets, and does not use a number twice while the link lives.

use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Of a frame, before its payload.
pub const HEADER_BYTES: usize = 9;
/// The longest payload. A client's message is the longest thing that is not cut into pieces.
pub const PAYLOAD_BYTES_MAX: usize = 96 << 10;
/// Messages of one socket that the core has not taken yet; the gateway reads no further until then.
pub const CREDIT: u8 = 16;
/// After so many the core says that it has taken them.
pub const CREDIT_STEP: u8 = 8;

/// The first byte of a connection to the core says what it is for.
pub const FOR_REQUESTS: u8 = b'h';
pub const FOR_SOCKETS: u8 = b's';

/// The header of a request in which a gateway says where it came from, an address with a port.
pub const CLIENT_HEADER: &str = "x-meridian-client";

/// Where WebSockets are opened.
pub const SOCKET_PATHS: [&str; 3] = [
    "/_matrix/client/unstable/im.meridian/sync/ws",
    "/_matrix/client/unstable/stream",
    "/_matrix/client/ws/r0",
];

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the core: a client asks for a WebSocket. The payload is an [`Opening`].
    Open = 1,
    /// To the core: a text message.
    Text = 2,
    /// To the core: the client closes. The payload is the code, or nothing.
    Close = 3,
    /// To the core: the connection has ended.
    Gone = 4,
    /// To the core, of no socket: the numbers of those whose users are there.
    Active = 5,
    /// To the core, of no socket: the numbers of those whose users are not.
    Inactive = 6,
    /// To the gateway: the answer to `Open`, an [`Answer`].
    Answer = 16,
    /// To the gateway: bytes for the client that end within a frame.
    Part = 17,
    /// To the gateway: bytes for the client that end with a frame.
    Whole = 18,
    /// To the gateway: it is known whose the socket is, so heartbeats need not come any more.
    Live = 19,
    /// To the gateway: [`CREDIT_STEP`] messages were taken.
    Credit = 20,
    /// To the gateway: nothing follows.
    End = 21,
}

impl Kind {
    fn from_u8(byte: u8) -> Option<Self> {
        const ALL: [Kind; 12] = [
            Kind::Open,
            Kind::Text,
            Kind::Close,
            Kind::Gone,
            Kind::Active,
            Kind::Inactive,
            Kind::Answer,
            Kind::Part,
            Kind::Whole,
            Kind::Live,
            Kind::Credit,
            Kind::End,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub socket: u32,
    pub payload: Bytes,
}

/// The head of the request that opens a WebSocket.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub client: SocketAddr,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The response to it. With the status 101 the socket is open.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// The other end does not speak this protocol, which only a mistake of ours explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("a frame of {0} bytes")]
    TooLong(u32),
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("a payload cannot be read")]
    Payload,
    #[error("more messages than the socket's credit")]
    Credit,
}

/// Takes the next frame off the input; `None` while it is not complete.
pub fn take(input: &mut BytesMut) -> Result<Option<Frame>, LinkError> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [a, b, c, d, kind, e, f, g, h] = *header;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length as usize > PAYLOAD_BYTES_MAX {
        return Err(LinkError::TooLong(length));
    }
    let kind = Kind::from_u8(kind).ok_or(LinkError::UnknownKind(kind))?;
    let whole = HEADER_BYTES + length as usize;
    if input.len() < whole {
        input.reserve(whole - input.len());
        return Ok(None);
    }
    input.advance(HEADER_BYTES);
    let payload = input.split_to(length as usize).freeze();
    Ok(Some(Frame { kind, socket: u32::from_le_bytes([e, f, g, h]), payload }))
}

/// Appends a frame. `payload` must not be longer than [`PAYLOAD_BYTES_MAX`].
pub fn put(kind: Kind, socket: u32, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.reserve(HEADER_BYTES + payload.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&socket.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The payload of [`Kind::Close`].
pub fn close_payload(code: Option<u16>) -> Vec<u8> {
    code.map(|code| code.to_le_bytes().to_vec()).unwrap_or_default()
}

pub fn read_close(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_le_bytes(*code))
}

/// The payloads of [`Kind::Active`] and [`Kind::Inactive`]: as many as it takes.
pub fn beats(sockets: &[u32]) -> impl Iterator<Item = Vec<u8>> {
    sockets
        .chunks(PAYLOAD_BYTES_MAX / size_of::<u32>())
        .map(|chunk| chunk.iter().flat_map(|socket| socket.to_le_bytes()).collect())
}

pub fn read_beats(payload: &[u8]) -> impl Iterator<Item = u32> {
    let (chunks, _rest) = payload.as_chunks();
    chunks.iter().map(|socket| u32::from_le_bytes(*socket))
}

/// Writes an [`Opening`] or an [`Answer`]; the error is that it is too long for a frame.
pub fn to_payload(value: &impl Serialize) -> Result<Vec<u8>, LinkError> {
    let payload = postcard::to_stdvec(value).map_err(|_| LinkError::Payload)?;
    if payload.len() > PAYLOAD_BYTES_MAX { Err(LinkError::Payload) } else { Ok(payload) }
}

pub fn from_payload<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, LinkError> {
    postcard::from_bytes(payload).map_err(|_| LinkError::Payload)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{HEADER_BYTES, Kind, LinkError, PAYLOAD_BYTES_MAX, beats, put, read_beats, take};

    #[test]
    fn frames_arrive_however_they_are_cut() {
        let mut sent = Vec::new();
        put(Kind::Text, 7, b"hello", &mut sent);
        put(Kind::Gone, u32::MAX, b"", &mut sent);
        put(Kind::Whole, 1, &[9; PAYLOAD_BYTES_MAX], &mut sent);
        for step in [1, HEADER_BYTES, 1000, sent.len()] {
            let mut input = BytesMut::new();
            let mut taken = Vec::new();
            for bytes in sent.chunks(step) {
                input.extend_from_slice(bytes);
                while let Some(frame) = take(&mut input).expect("these are frames") {
                    taken.push((frame.kind, frame.socket, frame.payload.len()));
                }
            }
            let expected = [
                (Kind::Text, 7, 5),
                (Kind::Gone, u32::MAX, 0),
                (Kind::Whole, 1, PAYLOAD_BYTES_MAX),
            ];
            assert_eq!(taken, expected, "cut each {step} bytes");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_takes_memory() {
        let rows: [(&[u8], LinkError); 2] = [
            (&[0, 0, 0, 1, 2, 0, 0, 0, 0], LinkError::TooLong(1 << 24)),
            (&[0, 0, 0, 0, 99, 0, 0, 0, 0], LinkError::UnknownKind(99)),
        ];
        for (bytes, error) in rows {
            assert_eq!(take(&mut BytesMut::from(bytes)), Err(error));
        }
    }

    #[test]
    fn all_beats_are_told() {
        let sockets: Vec<u32> = (0..60_000).collect();
        let told: Vec<u32> = beats(&sockets)
            .flat_map(|payload| {
                assert!(payload.len() <= PAYLOAD_BYTES_MAX);
                read_beats(&payload).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(told, sockets);
    }
}
