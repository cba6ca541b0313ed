//! Names of owners: visible, and the same to everyone who reads them.
//!
//! Characters that are invisible or change the direction of the text around them are refused,
//! because an owner named `\u{202e}adA` looks like another one. Letters, accents and emoji of every
//! script are allowed.

use super::MAX_OWNER_CHARS;

/// Checks that a text is a valid name of an owner.
pub(crate) fn is_owner(name: &str) -> bool {
    let is_visible = |c: char| !c.is_whitespace() && !JOINERS.contains(&c);
    let length = name.chars().count();
    length <= MAX_OWNER_CHARS && name.chars().any(is_visible) && !name.chars().any(is_hidden)
}

/// Joiners and the emoji style selector: part of visible text in many scripts, but invisible alone.
const JOINERS: [char; 3] = ['\u{200c}', '\u{200d}', '\u{fe0f}'];

/// Ranges (first and last) of characters that are never visible: controls, line separators,
/// direction marks, and the other default-ignorable characters of Unicode 16 (except [`JOINERS`]),
/// including blanks that count as letters. The pattern of an owner in the OpenAPI document is made
/// from this table.
pub(crate) const HIDDEN: [(char, char); 24] = [
    ('\u{0}', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200b}'),
    ('\u{200e}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fe00}', '\u{fe0e}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{fffe}', '\u{ffff}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{f0000}', '\u{10ffff}'),
];

fn is_hidden(character: char) -> bool {
    HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

#[cfg(test)]
mod tests {
    use super::is_owner;

    #[test]
    fn an_owner_can_be_seen_and_reads_the_same_to_everybody() {
        for owner in [
            "Ada",
            "Ada 👩\u{200d}💻",
            "Zoë",
            "Zoe\u{308}",
            "עדה",
            "نی\u{200c}ما",
            "❤\u{fe0f}",
            "葛飾",
        ] {
            assert!(is_owner(owner), "{owner}");
        }
        for hidden in [
            "",
            " ",
            "\u{a0}\u{3000}",
            "\u{200d}",
            "\u{200c} \u{fe0f}",
            "\u{202e}adA",
            "Ada\u{2066}",
            "Ada\u{200b}",
            "\u{200f}Ada",
            "\u{61c}Ada",
            "\u{feff}Ada",
            "\u{ad}",
            "\u{3164}",
            "\u{ffa0}",
            "\u{2800}",
            "\u{115f}",
            "A\u{e0041}da",
            "A\u{2028}da",
            "A\u{2060}da",
            "A\u{180e}da",
            "A\u{e000}",
            "A\u{ffff}",
            "A\nda",
            "\u{9b}Ada",
        ] {
            assert!(!is_owner(hidden), "{hidden:?}");
        }
    }
}
