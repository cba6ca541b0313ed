//! Carries numbers that `serde_json::Value` cannot hold through upcasters.
//!
//! A `Value` holds 64-bit integers and 64-bit floats, so a `u128` or a long decimal would be
//! rounded. Such a number is replaced by a marked string before the first upcaster and restored
//! after the last one. The feature `arbitrary_precision` of serde_json would do this too, but Cargo
//! unifies features, and it breaks numbers in flattened and untagged types of the whole program.

use std::borrow::Cow;

/// Prefix of the marked strings of one payload; `None` if no number had to be marked.
pub(super) struct Marked(Option<String>);

/// Character of the private use area: rare in texts, and serde_json writes it unescaped.
const MARK: char = '\u{e000}';

/// Replaces each number that a `Value` would change with a marked string.
pub(super) fn mark(payload: &str) -> (Cow<'_, str>, Marked) {
    let mut marked = String::new();
    let (mut copied, mut mark) = (0, None);
    let mut rest = payload.char_indices().peekable();
    while let Some((start, character)) = rest.next() {
        match character {
            '"' => skip_string(&mut rest),
            '-' | '0'..='9' => {
                let mut end = start + 1;
                while rest
                    .next_if(|(_, c)| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
                    .is_some()
                {
                    end += 1;
                }
                let number = &payload[start..end];
                if !is_exact(number) {
                    let mark = mark.get_or_insert_with(|| unused(payload));
                    marked.push_str(&payload[copied..start]);
                    marked.extend(["\"", mark, number, "\""]);
                    copied = end;
                }
            }
            _ => {}
        }
    }
    if mark.is_none() {
        return (Cow::Borrowed(payload), Marked(None));
    }
    marked.push_str(&payload[copied..]);
    (Cow::Owned(marked), Marked(mark))
}

/// Skips a JSON string whose opening quote has been consumed.
fn skip_string(rest: &mut impl Iterator<Item = (usize, char)>) {
    while let Some((_, character)) = rest.next() {
        match character {
            '"' => return,
            '\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// Checks that a `Value` parsed from this number is written as the same number.
fn is_exact(number: &str) -> bool {
    if !number.contains(['.', 'e', 'E']) {
        return number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok();
    }
    // A decimal of at most 15 significant digits survives a round trip through f64.
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    let digits = mantissa.trim_start_matches(['-', '0', '.']).bytes();
    let digits = digits.filter(u8::is_ascii_digit).count();
    match number.parse::<f64>() {
        Ok(float) if float.is_finite() => {
            let is_ordinary = float == 0.0 || float.is_normal();
            let is_same = || serde_json::to_string(&float).is_ok_and(|text| text == number);
            (digits <= 15 && is_ordinary) || is_same()
        }
        _ => false,
    }
}

/// Returns a mark that is longer than all marks in the payload together, including escaped ones, so
/// no text of a user can be mistaken for it.
fn unused(payload: &str) -> String {
    let escaped = ["\\ue000", "\\uE000"].map(|escape| payload.matches(escape).count());
    let present = payload.matches(MARK).count() + escaped.iter().sum::<usize>();
    let mut mark: String = std::iter::repeat_n(MARK, present + 1).collect();
    mark.push_str("number:");
    mark
}

impl Marked {
    /// Restores the marked numbers, in whichever fields the upcasters left them.
    pub(super) fn restore(&self, body: String) -> String {
        let Some(mark) = &self.0 else { return body };
        let opening = format!("\"{mark}");
        let mut restored = String::with_capacity(body.len());
        let mut rest = &*body;
        while let Some(start) = rest.find(&opening) {
            let (before, marked) = (&rest[..start], &rest[start + opening.len()..]);
            // An upcaster appended to the string, so it stays a text, and the decoder refuses it.
            let end = marked.find(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
            match end.filter(|end| *end > 0 && marked[*end..].starts_with('"')) {
                Some(end) => {
                    restored.extend([before, &marked[..end]]);
                    rest = &marked[end + 1..];
                }
                None => {
                    restored.extend([before, &*opening]);
                    rest = marked;
                }
            }
        }
        restored.push_str(rest);
        restored
    }
}
