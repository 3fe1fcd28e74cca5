//! Canonical form at any depth: a request is signed as a whole, and one event in it that is nested
//! too deeply must not make the others unreadable.
//!
//! So nothing here recurses: values lie in one list and refer to each other by index.

use std::{borrow::Cow, vec};

use super::{
    super::{JsonError, Numbers, write_string},
    Parser,
};

/// Values, one in another, of one text; what honest servers send has a tenth of it.
const MAX_VALUES: usize = 2_000_000;
/// No value.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node<'a> {
    /// As in the text, with its quotes; empty in arrays.
    key: &'a str,
    /// A scalar as in the text, or the bracket that opens a container.
    text: &'a str,
    /// The first child of a container.
    first: u32,
    next: u32,
}

/// The canonical form of `text`; numbers keep the text they have.
pub(crate) fn canonicalise_deep(text: &str) -> Result<Vec<u8>, JsonError> {
    let nodes = parse(text)?;
    let mut out = Vec::with_capacity(text.len());
    write(&nodes, &mut out);
    Ok(out)
}

fn parse(text: &str) -> Result<Vec<Node<'_>>, JsonError> {
    let mut parser = Parser { text, at: 0, numbers: Numbers::AsText };
    let mut nodes: Vec<Node<'_>> = Vec::new();
    // Containers, outermost first, each with the latest of its children.
    let mut open: Vec<(u32, u32)> = Vec::new();
    loop {
        parser.skip_whitespace();
        let in_object = open.last().is_some_and(|(parent, _)| nodes[*parent as usize].text == "{");
        let key = if in_object { parser.raw_key()? } else { "" };
        let value = parser.raw_value()?;
        if nodes.len() == MAX_VALUES {
            return Err(JsonError::TooMany(MAX_VALUES));
        }
        let node = nodes.len() as u32;
        nodes.push(Node { key, text: value, first: NONE, next: NONE });
        if let Some((parent, latest)) = open.last_mut() {
            match *latest {
                NONE => nodes[*parent as usize].first = node,
                latest => nodes[latest as usize].next = node,
            }
            *latest = node;
        }
        if let Some(close) = closing(value) {
            parser.skip_whitespace();
            if !parser.eat(close) {
                open.push((node, NONE));
                continue;
            }
        }
        loop {
            parser.skip_whitespace();
            let Some((parent, _)) = open.last() else {
                return if parser.at == text.len() { Ok(nodes) } else { Err(parser.syntax()) };
            };
            if parser.eat(b',') {
                break;
            }
            parser.expect(closing(nodes[*parent as usize].text).unwrap_or(b']'))?;
            open.pop();
        }
    }
}

fn closing(open: &str) -> Option<u8> {
    match open {
        "{" => Some(b'}'),
        "[" => Some(b']'),
        _ => None,
    }
}

impl<'a> Parser<'a> {
    /// A key with its quotes; the colon and what surrounds it are eaten.
    fn raw_key(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.string()?;
        let key = &self.text[start..self.at];
        self.skip_whitespace();
        self.expect(b':')?;
        self.skip_whitespace();
        Ok(key)
    }

    /// A scalar, or the bracket that opens a container.
    fn raw_value(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        match self.peek() {
            Some(b'{' | b'[') => self.at += 1,
            _ => drop(self.value(0)?),
        }
        Ok(&self.text[start..self.at])
    }
}

/// A container that is being written.
enum Frame<'a> {
    Array {
        next: u32,
    },
    /// By key, each key once.
    Object(vec::IntoIter<(Cow<'a, str>, u32)>),
}

impl<'a> Frame<'a> {
    fn next(&mut self, nodes: &[Node<'a>]) -> Option<(Option<Cow<'a, str>>, u32)> {
        match self {
            Self::Object(entries) => entries.next().map(|(key, node)| (Some(key), node)),
            Self::Array { next: NONE } => None,
            Self::Array { next } => {
                let node = *next;
                *next = nodes[node as usize].next;
                Some((None, node))
            }
        }
    }
}

fn write(nodes: &[Node<'_>], out: &mut Vec<u8>) {
    let mut open = Vec::new();
    let mut node = 0;
    loop {
        let Node { text, first, .. } = nodes[node as usize];
        match text.as_bytes() {
            b"{" => open.push((Frame::Object(entries(nodes, first).into_iter()), b'}')),
            b"[" => open.push((Frame::Array { next: first }, b']')),
            [b'"', ..] => write_string(&unquoted(text), out),
            scalar => out.extend_from_slice(scalar),
        }
        if closing(text).is_some() {
            out.extend_from_slice(text.as_bytes());
        }
        node = loop {
            let Some((frame, close)) = open.last_mut() else { return };
            if let Some((key, child)) = frame.next(nodes) {
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    out.push(b',');
                }
                if let Some(key) = key {
                    write_string(&key, out);
                    out.push(b':');
                }
                break child;
            }
            out.push(*close);
            open.pop();
        };
    }
}

/// In canonical order; of a repeated key the last value stays.
fn entries<'a>(nodes: &[Node<'a>], first: u32) -> Vec<(Cow<'a, str>, u32)> {
    let mut entries = Vec::new();
    let mut next = first;
    while next != NONE {
        let node = &nodes[next as usize];
        entries.push((unquoted(node.key), next));
        next = node.next;
    }
    entries
        .sort_unstable_by(|(left, first), (right, second)| left.cmp(right).then(second.cmp(first)));
    entries.dedup_by(|next, kept| next.0 == kept.0);
    entries
}

/// The text of a string that was parsed before.
fn unquoted(text: &str) -> Cow<'_, str> {
    let mut parser = Parser { text, at: 0, numbers: Numbers::AsText };
    parser.string().unwrap_or_default()
}
