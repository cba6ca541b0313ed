//! Account numbers in the form of an IBAN: two letters, two check digits, 11 to 30 letters and
//! digits.

/// Returns the number in its stored form: without spaces, in capital letters. Returns `None` if it
/// has another form or wrong check digits.
pub fn canonical(text: &str) -> Option<String> {
    let number: String = text.chars().filter(|c| *c != ' ').collect();
    let number = number.to_ascii_uppercase();
    let bytes = number.as_bytes();
    let shaped = (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes[4..].iter().all(u8::is_ascii_alphanumeric);
    (shaped && is_checked(bytes)).then_some(number)
}

/// Checks the digits by ISO 7064, MOD 97-10: the first four characters are moved to the end,
/// letters count as 10 to 35, and the resulting number modulo 97 must be 1.
fn is_checked(number: &[u8]) -> bool {
    let rotated = number[4..].iter().chain(&number[..4]);
    let remainder = rotated.fold(0, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn a_number_is_kept_in_one_form_however_it_was_written() {
        for written in
            ["DE89370400440532013000", "de89 3704 0044 0532 0130 00", " DE 89370400440532013000 "]
        {
            assert_eq!(canonical(written).as_deref(), Some("DE89370400440532013000"));
        }
        for valid in [
            "GB82 WEST 1234 5698 7654 32",
            "NO93 8601 1117 947",
            "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
        ] {
            assert!(canonical(valid).is_some(), "{valid}");
        }
    }

    #[test]
    fn a_mistyped_number_is_none() {
        for wrong in [
            "",
            "DE88370400440532013000",
            "DE89370400440532013001",
            "DE89370400440532010300",
            "DE89-3704-0044-0532-0130-00",
            "D889370400440532013000",
            "DEX9370400440532013000",
            "DE89\t370400440532013000",
            "DE8937040044É532013000",
            "NO9386011117",
            "DE893704004405320130000000000000000",
        ] {
            assert_eq!(canonical(wrong), None, "{wrong:?}");
        }
    }
}
