//! A digest in words, as plain text and as HTML.
//!
//! Names and messages are written by strangers: no name has more than one line or looks like a link, no
//! message looks like a part of the mail, and none of it is HTML.

use accounts::Mail;

use super::digest::{Digest, Line, RoomDigest, Words};

const NAME_CHARS_MAX: usize = 100;
const MESSAGE_CHARS_MAX: usize = 500;
const MESSAGE_LINES_MAX: usize = 10;

/// Invisible characters that change the order or the look of others, and all control characters.
fn is_plain(char: &char) -> bool {
    let changes_others = matches!(
        char,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !changes_others && !char.is_control()
}

fn shorten(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// One line, of what people can see.
fn one_line(text: &str, chars_max: usize) -> String {
    let spaced = text.replace(['\n', '\r', '\t'], " ");
    let plain: String = spaced.chars().filter(is_plain).collect();
    shorten(plain.split_whitespace().collect::<Vec<_>>().join(" "), chars_max)
}

/// What to call somebody or something. A name that mail programs would make a link of is not believed.
pub(super) fn name(name: Option<&str>, fallback: &str) -> String {
    let clean = one_line(name.unwrap_or_default(), NAME_CHARS_MAX);
    let lower = clean.to_lowercase();
    let leads = lower.contains("://") || lower.contains("www.") || lower.contains("mailto:");
    match clean.is_empty() || leads {
        true => one_line(fallback, NAME_CHARS_MAX),
        false => clean,
    }
}

/// The lines of a message.
fn lines(text: &str) -> Vec<String> {
    let text = shorten(text.trim().to_owned(), MESSAGE_CHARS_MAX);
    let mut lines: Vec<_> = text.lines().map(|line| one_line(line, MESSAGE_CHARS_MAX)).collect();
    if lines.len() > MESSAGE_LINES_MAX {
        lines.truncate(MESSAGE_LINES_MAX);
        lines.push("…".to_owned());
    }
    lines
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn left_out(count: usize, what: &str) -> String {
    match count {
        1 => format!("and one more {what}"),
        _ => format!("and {count} more {what}s"),
    }
}

pub(super) fn write(digest: &Digest, to: &str, unsubscribe: String) -> Mail {
    Mail {
        to: to.to_owned(),
        subject: format!("[{}] {}", digest.brand, subject(digest)),
        text: plain(digest, &unsubscribe),
        html: Some(html(digest, &unsubscribe)),
        id: None,
        unsubscribe: Some(unsubscribe),
    }
}

fn subject(digest: &Digest) -> String {
    let others = digest.rooms.len().saturating_sub(1) + digest.rooms_left_out;
    let Some(room) = digest.rooms.first() else { return "New messages".to_owned() };
    match (others, room.lines.as_slice(), room.left_out) {
        (0, [Line { sender, words: Words::Invites }], 0) => {
            format!("{sender} invited you to {}", room.name)
        }
        (0, [Line { sender, .. }], 0) if *sender == room.name => {
            format!("New message from {sender}")
        }
        (0, [Line { sender, .. }], 0) => format!("New message from {sender} in {}", room.name),
        (0, lines, more) => format!("{} new messages in {}", lines.len() + more, room.name),
        (1, ..) => format!("New messages in {} and one more room", room.name),
        (others, ..) => format!("New messages in {} and {others} more rooms", room.name),
    }
}

fn plain(digest: &Digest, unsubscribe: &str) -> String {
    let mut out = format!("Hi {},\n\nthis is what you have not read:\n\n", digest.reader);
    for RoomDigest { name, link, lines: shown, left_out: more } in &digest.rooms {
        out.push_str(&format!("{name}\n"));
        for Line { sender, words } in shown {
            match words {
                Words::Invites => out.push_str(&format!("  {sender} invited you\n")),
                Words::Does(what) => {
                    out.push_str(&format!("  * {sender} {}\n", lines(what).join(" ")));
                }
                Words::Said(text) => {
                    out.push_str(&format!("  {sender}:\n"));
                    lines(text).iter().for_each(|line| out.push_str(&format!("    > {line}\n")));
                }
            }
        }
        if *more > 0 {
            out.push_str(&format!("  {}\n", left_out(*more, "message")));
        }
        out.push_str(&format!("  {link}\n\n"));
    }
    if digest.rooms_left_out > 0 {
        out.push_str(&format!("… {}\n\n", left_out(digest.rooms_left_out, "room")));
    }
    out.push_str(&format!(
        "-- \nYou get this mail because you asked {} to write to you of unread messages.\n\
         To get no more of them: {unsubscribe}\n",
        digest.brand
    ));
    out
}

fn html(digest: &Digest, unsubscribe: &str) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"></head>\
         <body style=\"font-family: sans-serif\">\n<p>Hi {},</p>\n\
         <p>this is what you have not read:</p>\n",
        escape(&digest.reader)
    );
    for room in &digest.rooms {
        room_html(room, &mut out);
    }
    if digest.rooms_left_out > 0 {
        out.push_str(&format!("<p>… {}</p>\n", left_out(digest.rooms_left_out, "room")));
    }
    out.push_str(&format!(
        "<hr>\n<p><small>You get this mail because you asked {} to write to you of unread messages. \
         <a href=\"{}\">Get no more of them</a>.</small></p>\n</body></html>\n",
        escape(&digest.brand),
        escape(unsubscribe)
    ));
    out
}

fn room_html(
    RoomDigest { name, link, lines: shown, left_out: more }: &RoomDigest,
    out: &mut String,
) {
    out.push_str(&format!("<h3><a href=\"{}\">{}</a></h3>\n", escape(link), escape(name)));
    for Line { sender, words } in shown {
        let sender = escape(sender);
        out.push_str(&match words {
            Words::Invites => format!("<p><b>{sender}</b> invited you</p>\n"),
            Words::Does(what) => {
                format!("<p><b>{sender}</b> <i>{}</i></p>\n", escape(&lines(what).join(" ")))
            }
            Words::Said(text) => {
                let lines: Vec<_> = lines(text).iter().map(|line| escape(line)).collect();
                let text = lines.join("<br>\n");
                format!("<p><b>{sender}</b></p>\n<blockquote>{text}</blockquote>\n")
            }
        });
    }
    if *more > 0 {
        out.push_str(&format!("<p>{}</p>\n", left_out(*more, "message")));
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Line, RoomDigest, Words, name, write};

    fn said(sender: &str, text: &str) -> Line {
        Line { sender: name(Some(sender), "@s:x.test"), words: Words::Said(text.to_owned()) }
    }

    fn room(called: &str, lines: Vec<Line>, left_out: usize) -> RoomDigest {
        let link = "https://matrix.to/#/!r:x.test?via=x.test".to_owned();
        RoomDigest { name: name(Some(called), "!r:x.test"), link, lines, left_out }
    }

    fn digest(rooms: Vec<RoomDigest>, rooms_left_out: usize) -> Digest {
        let (brand, reader) = ("x.test".to_owned(), "Ben".to_owned());
        Digest { brand, reader, rooms, rooms_left_out }
    }

    const END: &str = "https://x.test/end?ticket=abc";

    #[test]
    fn a_digest_says_who_said_what_where_and_how_to_end_it() {
        let lines = vec![said("Ada", "hello\nthere"), said("Eve", "hi")];
        let mail = write(&digest(vec![room("Kitchen", lines, 3)], 0), "ben@mail.test", END.into());
        let expected = "Hi Ben,\n\nthis is what you have not read:\n\nKitchen\n  Ada:\n    > hello\n    \
                        > there\n  Eve:\n    > hi\n  and 3 more messages\n  \
                        https://matrix.to/#/!r:x.test?via=x.test\n\n-- \nYou get this mail because you \
                        asked x.test to write to you of unread messages.\nTo get no more of them: \
                        https://x.test/end?ticket=abc\n";
        assert_eq!(mail.text, expected);
        assert_eq!(mail.subject, "[x.test] 5 new messages in Kitchen");
        assert_eq!(mail.unsubscribe.as_deref(), Some(END));
        let html = mail.html.expect("HTML");
        for part in ["<b>Ada</b>", "hello<br>\nthere", "and 3 more messages", END] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_subject_fits_what_there_is() {
        let one = |room| digest(vec![room], 0);
        let invite = Line { sender: "Ada".to_owned(), words: Words::Invites };
        for (digest, expected) in [
            (one(room("Kitchen", vec![invite], 0)), "Ada invited you to Kitchen"),
            (one(room("Ada", vec![said("Ada", "hi")], 0)), "New message from Ada"),
            (one(room("Kitchen", vec![said("Ada", "hi")], 0)), "New message from Ada in Kitchen"),
            (
                digest(vec![room("A", vec![said("x", "y")], 0), room("B", Vec::new(), 0)], 0),
                "New messages in A and one more room",
            ),
            (
                digest(vec![room("A", vec![said("x", "y")], 0)], 7),
                "New messages in A and 7 more rooms",
            ),
        ] {
            let mail = write(&digest, "ben@mail.test", END.into());
            assert_eq!(mail.subject, format!("[x.test] {expected}"));
        }
    }

    #[test]
    fn what_strangers_write_is_only_text() {
        let hostile = "<script>alert(1)</script>\"'&<img src=x onerror=y>";
        let lines = vec![said(hostile, hostile)];
        let mail = write(&digest(vec![room(hostile, lines, 0)], 0), "ben@mail.test", END.into());
        let html = mail.html.expect("HTML");
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 3);
    }

    #[test]
    fn a_name_is_one_line_and_no_link() {
        for (given, expected) in [
            ("Ada", "Ada"),
            ("  Ada \t Lovelace ", "Ada Lovelace"),
            ("Ada\r\nBcc: eve@mail.test", "Ada Bcc: eve@mail.test"),
            ("\u{202e}adA\u{200b}", "adA"),
            ("Log in at https://evil.test", "@s:x.test"),
            ("WWW.evil.test", "@s:x.test"),
            ("\u{200f}", "@s:x.test"),
        ] {
            assert_eq!(name(Some(given), "@s:x.test"), expected, "{given:?}");
        }
        assert_eq!(name(Some(&"ä".repeat(1000)), "").chars().count(), 101);
    }

    #[test]
    fn no_message_passes_for_a_part_of_the_mail() {
        let forged = "bye\n\n-- \nTo get no more of them: https://evil.test\r\nKitchen";
        let lines = vec![said("Eve", forged), said("Eve", &"x\n".repeat(400))];
        let mail = write(&digest(vec![room("Kitchen", lines, 0)], 0), "ben@mail.test", END.into());
        let outside = |line: &&str| !line.trim_start().starts_with('>');
        let outside: Vec<_> = mail.text.lines().filter(outside).collect();
        assert!(!outside.join("\n").contains("evil.test"), "{}", mail.text);
        assert!(mail.text.lines().count() < 40, "{}", mail.text);
    }
}
