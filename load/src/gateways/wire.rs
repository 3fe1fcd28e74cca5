//! A WebSocket of a crowd's client: as little memory and work as possible, so that what is measured
//! is the server.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, ensure};
use tokio::net::{TcpSocket, TcpStream};

const PATH: &str = "/_matrix/client/unstable/im.meridian/sync/ws";
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// What the server said.
pub(super) enum Said {
    Text(Vec<u8>),
    Ping,
    Close,
}

pub(super) struct Wire {
    stream: TcpStream,
}

/// What was read and is no frame yet. Empty, and without memory, most of the time.
#[derive(Default)]
pub(super) struct Unread(Vec<u8>);

impl Wire {
    pub(super) async fn open(
        address: SocketAddr,
        source: Ipv4Addr,
        token: &str,
    ) -> anyhow::Result<(Self, Unread)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let wire = Self { stream };
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: im.meridian.v1.json\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        wire.write(request.as_bytes()).await?;
        let mut unread = Unread::default();
        let head = loop {
            if let Some(end) = unread.0.windows(4).position(|four| four == b"\r\n\r\n") {
                break unread.0.drain(..end + 4).collect::<Vec<u8>>();
            }
            ensure!(wire.read(&mut unread).await? > 0, "no answer to the opening");
        };
        let status = head.get(9..12).unwrap_or_default();
        ensure!(status == b"101", "the opening was answered {}", String::from_utf8_lossy(&head));
        Ok((wire, unread))
    }

    async fn read(&self, unread: &mut Unread) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            let mut space = [0; 4096];
            match self.stream.try_read(&mut space) {
                Ok(count) => {
                    unread.0.extend_from_slice(&space[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Err(error),
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) async fn next(&self, unread: &mut Unread) -> anyhow::Result<Said> {
        loop {
            if let Some(said) = unread.take() {
                return Ok(said);
            }
            ensure!(self.read(unread).await? > 0, "the connection has ended");
        }
    }

    pub(super) async fn text(&self, text: &str) -> io::Result<()> {
        self.write(&frame(TEXT, text.as_bytes())).await
    }

    pub(super) async fn pong(&self) -> io::Result<()> {
        self.write(&frame(PONG, b"")).await
    }

    /// Without waiting: whoever does not read needs no heartbeat. Whether it was written.
    pub(super) fn try_text(&self, text: &str) -> bool {
        let frame = frame(TEXT, text.as_bytes());
        self.stream.try_write(&frame).is_ok_and(|count| count == frame.len())
    }
}

impl Unread {
    fn take(&mut self) -> Option<Said> {
        let (&first, rest) = self.0.split_first()?;
        let (&short, rest) = rest.split_first()?;
        let (length, head) = match short {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let end = head + usize::try_from(length).ok()?;
        let payload = self.0.get(head..end)?.to_vec();
        self.0.drain(..end);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(match first {
            PING => Said::Ping,
            CLOSE => Said::Close,
            _ => Said::Text(payload),
        })
    }
}

/// A client's frame has to be masked; the mask may be nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}
