//! Replacement of `smtp.rs` without the feature `smtp`: no mailer can be created.

use actum::BoxError;
use actum::web::HiddenText;

use super::FileMailer;

/// Always fails, so that a bank with the address of an SMTP server reports the missing feature.
pub(crate) fn mailer(_: &HiddenText, _: &str) -> Result<FileMailer, BoxError> {
    Err("this bank was built without SMTP: build it with --features smtp".into())
}
