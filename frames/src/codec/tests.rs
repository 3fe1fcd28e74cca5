//! The codec against the sentences of RFC 6455.

use super::{CONTROL_BYTES_MAX, Decoder, Message, Opcode, Violation, close, encode};

const MAX: usize = 70_000;

/// A client's frame: the mask is not nothing, so that unmasking shows.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        medium @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn text(payload: &str) -> Message {
    Message::Text(payload.to_owned())
}

/// All messages, and the violation that ends them.
fn decode(pieces: &[&[u8]]) -> (Vec<Message>, Option<Violation>, Decoder) {
    let mut decoder = Decoder::new(MAX);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation), decoder),
            }
        }
    }
    (messages, None, decoder)
}

/// Whole, byte by byte, and in halves: the cuts of the network mean nothing.
#[track_caller]
fn check(row: &str, bytes: &[u8], messages: &[Message]) {
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    for pieces in [&[bytes][..], &single, &[head, tail]] {
        let (found, violation, decoder) = decode(pieces);
        assert_eq!((found.as_slice(), violation), (messages, None), "{row}");
        assert_eq!(decoder.input().capacity(), 0, "{row}: an idle decoder holds no memory");
    }
}

#[test]
fn messages_are_read_however_they_are_cut() {
    let long = "ü".repeat(200);
    let longest = "x".repeat(MAX);
    let rows: Vec<(&str, Vec<u8>, Vec<Message>)> = vec![
        ("a text", frame(0x81, b"hello"), vec![text("hello")]),
        ("an empty text", frame(0x81, b""), vec![text("")]),
        ("125 bytes", frame(0x81, &[b'a'; 125]), vec![text(&"a".repeat(125))]),
        ("a medium length", frame(0x81, long.as_bytes()), vec![text(&long)]),
        ("a long length", frame(0x81, longest.as_bytes()), vec![text(&longest)]),
        ("two texts", [frame(0x81, b"a"), frame(0x81, b"b")].concat(), vec![text("a"), text("b")]),
        (
            "fragments, one of them empty, cut within a letter",
            [
                frame(0x01, &"ü".as_bytes()[..1]),
                frame(0x00, b""),
                frame(0x80, &"ü".as_bytes()[1..]),
            ]
            .concat(),
            vec![text("ü")],
        ),
        (
            "a ping between fragments",
            [frame(0x01, b"a"), frame(0x89, b"now"), frame(0x80, b"b")].concat(),
            vec![Message::Ping(b"now".to_vec()), text("ab")],
        ),
        ("a pong", frame(0x8a, b"whatever"), vec![Message::Pong]),
        ("a close without a word", frame(0x88, b""), vec![Message::Close(None)]),
        ("a close", frame(0x88, &close(1000, "bye")), vec![Message::Close(Some(1000))]),
        ("a close of ours", frame(0x88, &close(4001, "")), vec![Message::Close(Some(4001))]),
    ];
    for (row, bytes, messages) in rows {
        check(row, &bytes, &messages);
    }
}

#[test]
fn violations_are_found_as_soon_as_they_show() {
    let protocol: Vec<(&str, Vec<u8>)> = vec![
        ("not masked", vec![0x81, 0x05]),
        ("the first reserved bit", vec![0xc1, 0x80]),
        ("the second reserved bit", vec![0xa1, 0x80]),
        ("the third reserved bit", vec![0x91, 0x80]),
        ("binary", vec![0x82, 0x80]),
        ("a data opcode that is not defined", vec![0x83, 0x80]),
        ("a control opcode that is not defined", vec![0x8b, 0x80]),
        ("a fragmented ping", vec![0x09, 0x80]),
        ("a ping of 126 bytes", vec![0x89, 0x80 | 126]),
        ("a length of 125 in three bytes", vec![0x81, 0x80 | 126, 0, 125]),
        ("a length of 65,535 in nine bytes", vec![0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 255, 255]),
        ("a negative length", [&[0x81, 0x80 | 127][..], &[0xff; 8]].concat()),
        ("a continuation of nothing", frame(0x80, b"a")),
        ("a text within a text", [frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        ("no UTF-8", frame(0x81, &[0xc3, 0x28])),
        ("no UTF-8 over fragments", [frame(0x01, &[0xc3]), frame(0x80, &[0x28])].concat()),
        ("half a letter at the end", frame(0x81, &[0xc3])),
        ("half a close code", frame(0x88, &[3])),
        ("a close code for nobody's wire", frame(0x88, &close(1006, ""))),
        ("a close code of nobody", frame(0x88, &close(2000, ""))),
        ("a close code too high", frame(0x88, &close(5000, ""))),
        ("a reason that is no UTF-8", frame(0x88, &[3, 232, 0xff])),
    ];
    for (row, bytes) in protocol {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [&[bytes.as_slice()][..], &single] {
            let (messages, violation, mut decoder) = decode(pieces);
            assert!(matches!(violation, Some(Violation::Protocol(_))), "{row}: {violation:?}");
            assert_eq!(messages, [], "{row}");
            assert_eq!(decoder.message().err(), violation, "{row}: nothing after it is read");
        }
    }
}

#[test]
fn what_is_too_long_is_skipped_without_being_kept() {
    let too_long = frame(0x81, &vec![b'x'; MAX + 1]);
    let fragments = [
        frame(0x01, &vec![b'x'; MAX]),
        frame(0x00, b"y"),
        frame(0x89, b"still here"),
        frame(0x80, b"z"),
    ]
    .concat();
    for (row, bytes) in [("one frame", too_long), ("fragments", fragments)] {
        let bytes = [bytes, frame(0x81, b"after")].concat();
        for size in [1, 1000, 8192, bytes.len()] {
            let mut decoder = Decoder::new(MAX);
            let (mut too_long, mut last) = (0, None);
            for piece in bytes.chunks(size) {
                decoder.feed(piece);
                loop {
                    match decoder.message() {
                        Ok(None) => break,
                        Ok(message) => last = message,
                        Err(violation) => {
                            assert_eq!(violation, Violation::TooLong, "{row}, {size}");
                            too_long += 1;
                        }
                    }
                }
                assert!(decoder.input().len() <= MAX + 14 + size, "{row}, {size}");
            }
            assert_eq!((too_long, last), (1, Some(text("after"))), "{row}, {size}");
        }
    }
}

#[test]
fn the_length_that_a_client_claims_takes_no_memory() {
    let mut decoder = Decoder::new(MAX);
    decoder.feed(&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0x11, 0, 1, 2, 3, 4, b'x']);
    assert_eq!(decoder.message(), Ok(None));
    assert!(decoder.input().capacity() < 100);
}

#[test]
fn frames_are_written_with_the_shortest_length() {
    let rows: [(usize, &[u8]); 5] = [
        (0, &[0x81, 0]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 255, 255]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ];
    for (bytes, header) in rows {
        let mut out = Vec::new();
        encode(Opcode::Text, &vec![b'x'; bytes], &mut out);
        assert_eq!(&out[..header.len()], header);
        assert_eq!(out.len(), header.len() + bytes);
    }
    let mut out = Vec::new();
    encode(Opcode::Close, &close(4008, &"x".repeat(200)), &mut out);
    assert_eq!(&out[..4], [0x88, 125, 0x0f, 0xa8]);
    assert_eq!(out.len(), 127);
}

/// Headers that are nearly right, so that every branch is met.
#[test]
fn junk_neither_panics_nor_piles_up() {
    const SMALL: usize = 40;
    let rng = stdx::Rng::from_seed(7);
    let below = |bound: u64| u8::try_from(rng.below(bound)).expect("a byte");
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut decoder = Decoder::new(SMALL);
        for _ in 0..8 {
            let first = [0x81, 0x01, 0x00, 0x80, 0x88, 0x89, below(256)][usize::from(below(7))];
            let mut bytes = vec![first, 0x80 | below(128)];
            bytes.extend((0..below(60)).map(|_| below(2) * below(256)));
            decoder.feed(&bytes);
            assert!(decoder.input().len() <= 14 + SMALL + CONTROL_BYTES_MAX + bytes.len());
            match decoder.message() {
                Ok(message) => read += u32::from(message.is_some()),
                Err(Violation::TooLong) => (),
                Err(Violation::Protocol(_)) => {
                    refused += 1;
                    break;
                }
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
