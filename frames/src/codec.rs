//! The frames of RFC 6455, as a server reads and writes them. Pure: bytes in, messages out.
//!
//! No extension is negotiated and no binary message is known, so what uses either is a violation.
//! A decoder between two messages holds no memory: that is what most of its life is.

/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

#[cfg(test)]
mod tests;

#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    /// Its payload has to come back in a pong.
    Ping(Vec<u8>),
    Pong,
    /// With the code, if one was given.
    Close(Option<u16>),
}

/// Why a client's bytes are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The message is skipped, and those after it can be read.
    #[error("the message is too long")]
    TooLong,
    /// Nothing after it can be read.
    #[error("{0}")]
    Protocol(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

impl TryFrom<u8> for Opcode {
    type Error = Violation;

    fn try_from(bits: u8) -> Result<Self, Violation> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Err(Violation::Protocol("messages are text")),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(Violation::Protocol("an unknown opcode")),
        }
    }
}

struct Header {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Of the header itself.
    bytes: usize,
    payload_bytes: u64,
}

impl Header {
    /// `None` while it is not complete.
    fn read(input: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = input else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        let opcode = Opcode::try_from(first & 0x0f)?;
        let last = first & 0x80 != 0;
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("a client's frames are masked"));
        }
        let (length_bytes, least) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 1 << 16),
            _ => (0, 0),
        };
        if opcode.is_control() && !(last && length_bytes == 0) {
            return Err(Violation::Protocol("a control frame is long or fragmented"));
        }
        let Some((length, rest)) = rest.split_at_checked(length_bytes) else { return Ok(None) };
        let payload_bytes = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if payload_bytes < least || payload_bytes >> 63 != 0 {
            return Err(Violation::Protocol("the length is not in its shortest form"));
        }
        let Some(mask) = rest.first_chunk() else { return Ok(None) };
        let bytes = 2 + length_bytes + mask.len();
        Ok(Some(Self { last, opcode, mask: *mask, bytes, payload_bytes }))
    }
}

/// Makes messages of what is read of a client.
#[derive(Debug)]
pub struct Decoder {
    /// Gone between two messages: there may be very many decoders, and few that have begun.
    begun: Option<Box<Begun>>,
    message_bytes_max: usize,
}

impl Decoder {
    /// Of a message that is longer than `message_bytes_max` bytes nothing is kept.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { begun: None, message_bytes_max }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        let max = self.message_bytes_max;
        self.begun.get_or_insert_with(|| Box::new(Begun::new(max))).feed(bytes);
    }

    /// The next message, if it is complete. A violation of the protocol stays for ever.
    pub fn message(&mut self) -> Result<Option<Message>, Violation> {
        let Some(begun) = &mut self.begun else { return Ok(None) };
        let next = begun.message();
        if begun.is_nothing() {
            self.begun = None;
        }
        next
    }

    #[cfg(test)]
    fn input(&self) -> &Vec<u8> {
        static NOTHING: Vec<u8> = Vec::new();
        self.begun.as_ref().map_or(&NOTHING, |begun| &begun.input)
    }
}

/// What was read and is not a message yet.
#[derive(Debug)]
struct Begun {
    input: Vec<u8>,
    /// Of `input`, what is decoded.
    done: usize,
    /// What is still to come of a message that is too long.
    skip: u64,
    /// The fragments so far of a message that has not ended.
    fragments: Option<Vec<u8>>,
    message_bytes_max: usize,
    /// Nothing is read after it.
    broken: Option<Violation>,
}

impl Begun {
    fn new(message_bytes_max: usize) -> Self {
        let (input, fragments, broken) = (Vec::new(), None, None);
        Self { input, done: 0, skip: 0, fragments, message_bytes_max, broken }
    }

    fn is_nothing(&self) -> bool {
        let Self { input, skip, fragments, broken, .. } = self;
        input.is_empty() && *skip == 0 && fragments.is_none() && broken.is_none()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.done);
        self.done = 0;
        let skipped = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
        self.skip -= skipped as u64;
        self.input.extend_from_slice(&bytes[skipped..]);
    }

    fn message(&mut self) -> Result<Option<Message>, Violation> {
        if let Some(violation) = self.broken {
            return Err(violation);
        }
        let next = self.decode();
        if let Err(violation @ Violation::Protocol(_)) = next {
            self.broken = Some(violation);
        }
        next
    }

    fn decode(&mut self) -> Result<Option<Message>, Violation> {
        while let Some(header) = Header::read(&self.input[self.done..])? {
            self.admit(&header)?;
            let begin = self.done + header.bytes;
            // What was admitted is small.
            let end = begin + header.payload_bytes as usize;
            let Some(payload) = self.input.get_mut(begin..end) else { break };
            unmask(payload, header.mask);
            let message = take(&mut self.fragments, &header, payload)?;
            self.done = end;
            if message.is_some() {
                self.forget_what_is_done();
                return Ok(message);
            }
        }
        self.forget_what_is_done();
        Ok(None)
    }

    fn forget_what_is_done(&mut self) {
        if self.done == self.input.len() {
            (self.input, self.done) = (Vec::new(), 0);
        }
    }

    /// Whether the frame may stand here, and its message be as long as it becomes.
    fn admit(&mut self, header: &Header) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let before = match (header.opcode, &self.fragments) {
            (Opcode::Text, Some(_)) => {
                return Err(Violation::Protocol("a message begins within another"));
            }
            (Opcode::Continuation, None) => {
                return Err(Violation::Protocol("nothing is there to be continued"));
            }
            (_, before) => before.as_ref().map_or(0, Vec::len),
        };
        if (before as u64).saturating_add(header.payload_bytes) <= self.message_bytes_max as u64 {
            return Ok(());
        }
        let here = (self.input.len() - self.done) as u64;
        let frame = header.payload_bytes.saturating_add(header.bytes as u64);
        // What is fragmented further is kept as nothing, so that its end is understood.
        self.fragments = (!header.last).then(Vec::new);
        self.skip = frame.saturating_sub(here);
        self.done += frame.min(here) as usize;
        Err(Violation::TooLong)
    }
}

/// Takes the payload of a frame. `None` where it ends no message.
fn take(
    fragments: &mut Option<Vec<u8>>,
    header: &Header,
    payload: &[u8],
) -> Result<Option<Message>, Violation> {
    match header.opcode {
        Opcode::Text | Opcode::Continuation => {
            let mut message = fragments.take().unwrap_or_default();
            message.extend_from_slice(payload);
            if !header.last {
                *fragments = Some(message);
                return Ok(None);
            }
            let text = String::from_utf8(message);
            text.map(|text| Some(Message::Text(text)))
                .map_err(|_| Violation::Protocol("a text is not UTF-8"))
        }
        Opcode::Ping => Ok(Some(Message::Ping(payload.to_vec()))),
        Opcode::Pong => Ok(Some(Message::Pong)),
        Opcode::Close => close_code(payload).map(|code| Some(Message::Close(code))),
    }
}

/// Section 7.4 of RFC 6455, and the codes that were registered since.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(Violation::Protocol("half a close code"));
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a close code that is not to be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::Protocol("a reason to close is not UTF-8"));
    }
    Ok(Some(code))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for chunk in payload.chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

/// Appends one frame. Control frames are cut to what they may hold.
pub fn encode(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let payload = match opcode.is_control() {
        true => &payload[..payload.len().min(CONTROL_BYTES_MAX)],
        false => payload,
    };
    out.reserve(payload.len() + 10);
    out.push(0x80 | opcode as u8);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// The payload of a close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    payload
}
