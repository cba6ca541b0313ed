//! The event handler `WelcomeMail`: welcomes the owner of each new account by mail.
//!
//! A mail leaves through a [`Mailer`]: [`FileMailer`] by default, `SmtpMailer` with the feature `smtp`, or
//! a mock in the test.

#[cfg(feature = "smtp")]
mod smtp;
#[cfg(not(feature = "smtp"))]
#[path = "welcome/smtp_off.rs"]
mod smtp;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use actix_web::web::block;
use actum::{Attempt, BoxError, EventEnvelope, EventHandler, EventSources, HandlerSettings};
use async_trait::async_trait;

#[cfg(feature = "smtp")]
pub use self::smtp::SmtpMailer;
pub(crate) use self::smtp::mailer as smtp_mailer;
use crate::account::{Account, AccountEvent};

/// A mail to the owner of an account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mail {
    /// Idempotency key. A mail that is sent again has the same one.
    pub id: String,
    /// Name of the owner, because the bank has no addresses.
    pub to: String,
    /// First line that the owner sees.
    pub subject: String,
    /// Text of the mail.
    pub body: String,
}

/// A way to send mails.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Sends a mail. It may have been sent before, under the same id.
    ///
    /// # Errors
    /// The mail was not sent; it is sent again later.
    async fn send(&self, mail: Mail) -> Result<(), BoxError>;
}

/// Welcomes the owner of each new account.
pub struct WelcomeMail<M> {
    mailer: M,
    settings: HandlerSettings,
}

impl<M: Mailer> WelcomeMail<M> {
    /// Creates the handler. Its mails leave through `mailer`.
    pub fn new(mailer: M) -> Self {
        Self { mailer, settings: HandlerSettings::default() }
    }

    /// Sets the timeout of an attempt, and the number of attempts.
    #[must_use]
    pub fn settings(self, settings: HandlerSettings) -> Self {
        Self { settings, ..self }
    }
}

#[async_trait]
impl<M: Mailer> EventHandler for WelcomeMail<M> {
    const NAME: &'static str = "welcome_mail";
    type Event = EventEnvelope<AccountEvent>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Account>()
    }

    async fn handle(&self, event: &Self::Event, attempt: &Attempt) -> Result<(), BoxError> {
        let AccountEvent::Opened { owner, .. } = &event.event else { return Ok(()) };
        let mail = Mail {
            id: attempt.event.event_id.to_string(),
            to: owner.clone(),
            subject: "Welcome".to_owned(),
            body: format!("Dear {owner}, your account {} is open.", event.key()),
        };
        self.mailer.send(mail).await
    }

    fn settings(&self) -> HandlerSettings {
        self.settings.clone()
    }
}

/// Appends mails to a file, one JSON object per line.
pub struct FileMailer {
    file: PathBuf,
}

impl FileMailer {
    /// Creates a mailer for this file, which the first mail creates.
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }
}

#[async_trait]
impl Mailer for FileMailer {
    async fn send(&self, mail: Mail) -> Result<(), BoxError> {
        let file = self.file.clone();
        // On a thread for blocking calls, because a handler must not block its own.
        block(move || append(&file, &mail)).await??;
        Ok(())
    }
}

fn append(file: &Path, mail: &Mail) -> std::io::Result<()> {
    let line = serde_json::to_string(mail)?;
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    // The event is not handled again after this, so the line must survive a crash of the machine.
    file.sync_data()
}

#[cfg(test)]
mod tests;
