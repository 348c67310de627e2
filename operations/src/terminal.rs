//! Standard output and standard error. All text that a command prints passes through here, because some of it was written by
//! others: labels, names of runners, what a server answered.
//!
//! Some characters are not seen and change what is seen: they turn the direction of the text, end a line, or give the terminal
//! an order. They are printed as `\u202e`, which is also how JSON writes them.
//! <https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// The characters of the categories Cf (format), Zl (line separator) and Zp (paragraph separator), of Unicode 17.
/// <https://www.unicode.org/Public/17.0.0/ucd/extracted/DerivedGeneralCategory.txt>
const UNSEEN: [RangeInclusive<char>; 21] = [
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    // With the two separators, U+2028 and U+2029.
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{2064}',
    '\u{2066}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0001}'..='\u{e0001}',
    '\u{e0020}'..='\u{e007f}',
];

fn is_unseen(c: char) -> bool {
    !c.is_ascii() && UNSEEN.iter().any(|range| range.contains(&c))
}

/// A text in which every character is seen. Line breaks and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unseen(c) || (c.is_control() && c != '\n' && c != '\t'))
}

/// A text in one line in which every character is seen.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unseen(c) || c.is_control())
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut seen = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A String takes all.
                let _ = write!(seen, "\\u{unit:04x}");
            }
        } else {
            seen.push(c);
        }
    }
    Cow::Owned(seen)
}

/// Prints a text to standard output. A reader that closes early (`| head`) is not an error, because the exit code still tells the
/// result.
///
/// # Errors
/// When standard output takes nothing.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(visible(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints a line to standard error. If standard error takes nothing, there is nobody to be told.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", visible(line));
}

/// Prints a question to standard error. The answer is typed behind it.
pub fn ask(question: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{} ", visible_line(question)).and_then(|()| err.flush());
}

/// Puts a text in the place of the last line of standard error, which is a terminal.
pub fn replace_line(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "\r\x1b[K{}", visible_line(text)).and_then(|()| err.flush());
}

/// How a piece of text stands out on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// As the terminal writes everything.
    #[default]
    Plain,
    /// For headings.
    Bold,
    /// For what matters less.
    Dim,
    /// For what goes well.
    Green,
    /// For what somebody may want to look at.
    Yellow,
    /// For what somebody should look at.
    Red,
}

/// A line of a full screen: pieces of text with their ink, and whether the line is the chosen one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScreenLine {
    /// The pieces, from left to right.
    pub pieces: Vec<(Ink, String)>,
    /// Whether the line is shown in reverse.
    pub chosen: bool,
}

impl ScreenLine {
    /// The line as the terminal takes it. Each piece is cleaned first, so that only the ink gives orders to the terminal.
    fn painted(&self, colours: bool) -> String {
        let mut line = String::new();
        for (ink, text) in &self.pieces {
            let order = match (ink, self.chosen) {
                (_, true) => "7",
                (Ink::Plain, _) => "",
                (Ink::Bold, _) => "1",
                (Ink::Dim, _) => "2",
                (Ink::Green, _) => "32",
                (Ink::Yellow, _) => "33",
                (Ink::Red, _) => "31",
            };
            let text = visible_line(text);
            // The chosen line is marked without colours, too.
            let marked = !order.is_empty() && (colours || self.chosen);
            line += &if marked { format!("\x1b[{order}m{text}\x1b[0m") } else { text.into_owned() };
        }
        line
    }
}

/// The whole terminal, for as long as this lives. Then the terminal shows again what it showed before.
#[derive(Debug)]
pub struct Screen {
    colours: bool,
}

impl Screen {
    /// Takes the terminal of standard output.
    ///
    /// # Errors
    /// When standard output takes nothing.
    pub fn enter(colours: bool) -> io::Result<Screen> {
        raw("\x1b[?1049h\x1b[?25l")?;
        Ok(Screen { colours })
    }

    /// Shows these lines in the place of all others.
    ///
    /// # Errors
    /// When standard output takes nothing.
    pub fn draw(&self, lines: &[ScreenLine]) -> io::Result<()> {
        let lines: Vec<String> = lines.iter().map(|line| format!("{}\x1b[K", line.painted(self.colours))).collect();
        raw(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = raw("\x1b[?25h\x1b[?1049l");
    }
}

/// Writes what has passed [`visible_line`] already.
fn raw(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Standard error for the log. Whoever formats the log escapes control characters, and may write colours. So only characters that
/// are not seen are escaped here.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSink;

impl Write for LogSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => io::stderr().write_all(escaped(text, is_unseen).as_bytes())?,
            Err(_) => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_written_out_and_the_rest_stays() {
        for plain in ["", "linux-x64", "größe, 大きい, مرحبا, 🚀", "two\nlines", "a b"] {
            assert!(matches!(visible(plain), Cow::Borrowed(_)), "{plain}");
        }
        for (text, seen) in [
            ("abc\u{202e}def", "abc\\u202edef"),
            ("\u{2066}x\u{2069}", "\\u2066x\\u2069"),
            ("a\u{2028}b\u{2029}c", "a\\u2028b\\u2029c"),
            ("\u{200b}\u{feff}", "\\u200b\\ufeff"),
            ("\u{1b}]0;title\u{7}", "\\u001b]0;title\\u0007"),
            ("\u{9b}31m\r", "\\u009b31m\\u000d"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(visible(text), seen);
            assert_eq!(visible(&visible(text)), seen, "once is enough");
            let json: String = serde_json::from_str(&format!("\"{seen}\"")).expect("JSON");
            assert_eq!(json, text, "in JSON it is the same text");
        }
        assert_eq!(visible_line("two\nlines\t"), "two\\u000alines\\u0009");
    }

    #[test]
    fn only_the_ink_gives_orders_to_the_terminal() {
        let pieces = vec![(Ink::Red, "a\u{1b}[2Jb".to_owned()), (Ink::Plain, "c\n".to_owned())];
        let line = ScreenLine { pieces, chosen: false };
        assert_eq!(line.painted(true), "\x1b[31ma\\u001b[2Jb\x1b[0mc\\u000a");
        assert_eq!(line.painted(false), "a\\u001b[2Jbc\\u000a");
        assert!(ScreenLine { chosen: true, ..line }.painted(false).starts_with("\x1b[7m"));
    }

    #[test]
    fn every_character_that_debug_hides_is_hidden_or_is_a_letter_or_a_space() {
        // The standard library escapes what cannot be printed: these categories, and others that do no harm on a terminal, such as
        // spaces, private use and what is not assigned.
        for c in (0x80..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_unseen(*c)) {
            assert!(c.escape_debug().count() > 1, "{:x} can be printed", u32::from(c));
        }
        assert_eq!((0x80..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_unseen(*c)).count(), 172);
    }
}
