//! Bodies in parts (RFC 2046) as they come: only as much is held as one header may take.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use media::ports::RemoteError;

/// "Boundary delimiters must be no longer than 70 characters"; some are.
const BOUNDARY_MAX: usize = 200;
/// The header of one part.
const HEADER_MAX: usize = 16 << 10;
/// Everything that is passed over: what is before the first part, and a part nobody wants.
const SKIPPED_MAX: usize = 64 << 10;

/// The boundary that a `Content-Type` names, if it is of a body in parts.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';');
    let kind = parameters.next()?.trim();
    let is_in_parts = kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"));
    let named = parameters.find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    let is_usable = is_in_parts && !named.is_empty() && named.len() <= BOUNDARY_MAX;
    is_usable.then(|| named.to_owned())
}

type Body = BoxStream<'static, Result<Bytes, RemoteError>>;

/// A body, read up to somewhere in one of its parts.
pub(super) struct Parts {
    body: Body,
    buffer: BytesMut,
    /// What stands before each part, and behind the last.
    delimiter: Vec<u8>,
    /// The delimiter behind the present part was read.
    is_between: bool,
}

fn malformed(reason: &str) -> RemoteError {
    RemoteError::Malformed(reason.to_owned())
}

impl Parts {
    pub(super) fn new(body: Body, boundary: &str) -> Self {
        // The first delimiter may lack the line end that belongs to it.
        let (buffer, delimiter) = (BytesMut::from("\r\n"), format!("\r\n--{boundary}"));
        Self { body, buffer, delimiter: delimiter.into_bytes(), is_between: false }
    }

    async fn read_more(&mut self) -> Result<(), RemoteError> {
        let piece = self.body.next().await.ok_or_else(|| malformed("it ends in the middle"))??;
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }

    /// Goes to the next part; returns its header.
    pub(super) async fn next_part(&mut self) -> Result<HeaderMap, RemoteError> {
        if !self.is_between {
            self.skip_part().await?;
        }
        self.is_between = false;
        loop {
            if self.buffer.starts_with(b"--") {
                return Err(malformed("a part is missing"));
            }
            // The delimiter's line ends, then lines follow up to an empty one.
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let header = self.buffer.split_to(at + 4);
                return header_map(&header);
            }
            if self.buffer.len() > HEADER_MAX {
                return Err(malformed("a header is too long"));
            }
            self.read_more().await?;
        }
    }

    /// Goes to the end of the part.
    pub(super) async fn skip_part(&mut self) -> Result<(), RemoteError> {
        let mut skipped = 0;
        while let Some(piece) = self.next_piece().await? {
            skipped += piece.len();
            if skipped > SKIPPED_MAX {
                return Err(malformed("what precedes the content is too long"));
            }
        }
        Ok(())
    }

    /// Some more of the part; `None` at its end.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, RemoteError> {
        loop {
            if self.is_between {
                return Ok(None);
            }
            if let Some(at) = find(&self.buffer, &self.delimiter) {
                let piece = self.buffer.split_to(at).freeze();
                let _delimiter = self.buffer.split_to(self.delimiter.len());
                self.is_between = true;
                return Ok(Some(piece));
            }
            // The delimiter may have begun within the last bytes.
            let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if certain > 0 {
                return Ok(Some(self.buffer.split_to(certain).freeze()));
            }
            self.read_more().await?;
        }
    }

    /// The rest of the part.
    pub(super) fn into_part(self) -> impl Stream<Item = Result<Bytes, RemoteError>> + Send {
        stream::try_unfold(self, |mut parts| async move {
            Ok(parts.next_piece().await?.map(|piece| (piece, parts)))
        })
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + within[from..].iter().position(|byte| *byte == what[0])?;
        if within[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Lines that are no headers are passed over.
fn header_map(text: &[u8]) -> Result<HeaderMap, RemoteError> {
    let text = str::from_utf8(text).map_err(|_| malformed("a header is no text"))?;
    let mut headers = HeaderMap::new();
    // What is on the delimiter's own line is padding.
    for line in text.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = HeaderName::from_bytes(name.trim().as_bytes());
        let value = HeaderValue::from_str(value.trim());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};
    use media::ports::RemoteError;

    use super::{Parts, boundary};

    /// The second part of a body that comes in pieces of a size: its type and its content.
    async fn second(body: &[u8], size: usize) -> Result<(String, Vec<u8>), RemoteError> {
        let pieces: Vec<_> = body.chunks(size).map(|piece| Ok(piece.to_vec().into())).collect();
        let mut parts = Parts::new(stream::iter(pieces).boxed(), "b0");
        parts.next_part().await?;
        parts.skip_part().await?;
        let headers = parts.next_part().await?;
        let kind = headers.get("content-type").and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let pieces: Vec<_> = parts.into_part().try_collect().await?;
        Ok((kind, pieces.concat()))
    }

    #[tokio::test]
    async fn the_content_is_found_however_the_body_is_cut() {
        for (row, body, kind, content) in [
            (
                "as usual",
                "--b0\r\nContent-Type: application/json\r\n\r\n{}\r\n--b0\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b0--\r\n",
                "text/plain",
                "hello",
            ),
            (
                "as Synapse does",
                "\r\n--b0\r\nContent-Type: application/json\r\n\r\n{}\r\n--b0\r\ncontent-type: a/b\r\n\r\nx\r\n\r\n--b0--\r\n\r\n",
                "a/b",
                "x\r\n",
            ),
            (
                "without headers, with a preamble and what looks like the end",
                "words\r\n--b0  \r\n\r\n{}\r\n--b0\r\n\r\n\r\n--b\r\n-b0\r\r\n--b1\r\n--b0--",
                "",
                "\r\n--b\r\n-b0\r\r\n--b1",
            ),
            ("empty", "--b0\r\n\r\n{}\r\n--b0\r\nA: b\r\n\r\n\r\n--b0--", "", ""),
        ] {
            for size in 1..=body.len() {
                let found = second(body.as_bytes(), size).await.expect(row);
                assert_eq!(found, (kind.to_owned(), content.as_bytes().to_vec()), "{row} {size}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_cut_or_too_long_is_refused() {
        let long = "x".repeat(100_000);
        for (row, body) in [
            ("nothing", String::new()),
            ("no boundary", "hello".to_owned()),
            ("one part", "--b0\r\n\r\n{}\r\n--b0--\r\n".to_owned()),
            ("no end", "--b0\r\n\r\n{}\r\n--b0\r\n\r\nhello".to_owned()),
            ("half an end", "--b0\r\n\r\n{}\r\n--b0\r\n\r\nhello\r\n--b".to_owned()),
            ("no header's end", "--b0\r\n\r\n{}\r\n--b0\r\nA: b".to_owned()),
            ("an endless preamble", long.clone()),
            ("an endless header", format!("--b0\r\n\r\n{{}}\r\n--b0\r\nA: {long}")),
            ("endless JSON", format!("--b0\r\n\r\n{long}\r\n--b0\r\n\r\nx\r\n--b0--")),
        ] {
            let found = second(body.as_bytes(), 100).await;
            assert!(matches!(found, Err(RemoteError::Malformed(_))), "{row}: {found:?}");
        }
    }

    #[test]
    fn boundaries_are_read_in_every_spelling() {
        for (header, named) in [
            ("multipart/mixed; boundary=abc", Some("abc")),
            ("Multipart/Mixed; charset=x; BOUNDARY=\"a b\"", Some("a b")),
            ("multipart/mixed", None),
            ("multipart/mixed; boundary=", None),
            ("text/plain; boundary=abc", None),
            ("é", None),
        ] {
            assert_eq!(boundary(header).as_deref(), named, "{header}");
        }
        assert_eq!(boundary(&format!("multipart/mixed; boundary={}", "b".repeat(300))), None);
    }
}
