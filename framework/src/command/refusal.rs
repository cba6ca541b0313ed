//! Codes by which programs recognise a refusal.

use std::any::type_name;
use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::event::codec::variant_name;

/// A refusal that programs can recognise: implement it on an aggregate's `Error`, which derives
/// `Serialize`. The defaults are right for most, so the implementation is empty.
///
/// ```
/// use actum::RefusalCode;
///
/// #[derive(Debug, serde::Serialize, thiserror::Error)]
/// enum Refusal {
///     #[error("only {available} are available")]
///     InsufficientFunds { available: i64 },
///     #[serde(rename = "forbidden")]
///     #[error("an account is opened by its owner")]
///     NotForOthers,
/// }
///
/// impl RefusalCode for Refusal {}
///
/// assert_eq!(Refusal::InsufficientFunds { available: 1 }.code(), "insufficient_funds");
/// assert_eq!(Refusal::NotForOthers.code(), "forbidden");
/// assert_eq!(Refusal::NotForOthers.status(), 403);
/// ```
pub trait RefusalCode: std::error::Error + Serialize + Sized {
    /// Name of the refusal for programs, which must never change. Default: the name of the variant as
    /// serde writes it, or of the type if it is no enum, in `snake_case`.
    fn code(&self) -> Cow<'static, str> {
        let name = variant_name(self);
        code_of(name.unwrap_or_else(|| {
            let path = type_name::<Self>();
            path.rsplit("::").next().unwrap_or(path)
        }))
    }

    /// HTTP status. Default: 404 if the code begins with `unknown_`, 403 if it is `forbidden`, and 422
    /// for every other code.
    fn status(&self) -> u16 {
        // The OpenAPI document describes these codes under these statuses.
        match &*self.code() {
            "forbidden" => 403,
            code if code.starts_with("unknown_") => 404,
            _ => 422,
        }
    }
}

/// The name in `snake_case`: `InsufficientFunds` is `insufficient_funds`.
pub(crate) fn code_of(name: &'static str) -> Cow<'static, str> {
    if !name.contains(|letter: char| letter.is_ascii_uppercase()) {
        return name.into();
    }
    let mut code = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !code.is_empty() && !code.ends_with('_') {
            code.push('_');
        }
        code.push(letter.to_ascii_lowercase());
    }
    code.into()
}

/// The `Error` of an aggregate that refuses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NoRefusal {}

impl RefusalCode for NoRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, thiserror::Error)]
    #[error("{0}")]
    struct TooLarge(u64);

    impl RefusalCode for TooLarge {}

    #[test]
    fn a_refusal_that_is_no_enum_is_named_by_its_type() {
        assert_eq!(TooLarge(1).code(), "too_large");
        assert_eq!(TooLarge(1).status(), 422);
    }

    #[test]
    fn a_status_follows_from_the_code() {
        #[derive(Debug, Serialize, thiserror::Error)]
        #[error("it is refused")]
        enum Refusal {
            UnknownOrder,
            Unknown,
            #[serde(rename = "forbidden")]
            NotForOthers,
            Forbidding,
        }
        impl RefusalCode for Refusal {}
        for (refusal, status) in [
            (Refusal::UnknownOrder, 404),
            (Refusal::Unknown, 422),
            (Refusal::NotForOthers, 403),
            (Refusal::Forbidding, 422),
        ] {
            assert_eq!(refusal.status(), status, "{}", refusal.code());
        }
    }

    #[test]
    fn a_name_that_is_in_snake_case_stays_as_it_is() {
        assert_eq!(code_of("already_open"), "already_open");
        assert_eq!(code_of("AlreadyOpen"), "already_open");
        assert_eq!(code_of("Already_Open"), "already_open");
    }
}
