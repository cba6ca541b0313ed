//! The mailer that hands mails to an SMTP server.

use actum::BoxError;
use actum::web::HiddenText;
use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{Mail, Mailer};

/// Mailbox that mails come from.
const SENDER: &str = "bank";

/// Sends mails to an SMTP server, each over a connection of its own.
pub struct SmtpMailer {
    server: AsyncSmtpTransport<Tokio1Executor>,
    domain: String,
    sender: Mailbox,
}

impl SmtpMailer {
    /// Creates a mailer for the server at this URL: `smtp://HOST:PORT` without TLS,
    /// `smtp://USER:PASSWORD@HOST?tls=required` with STARTTLS, or `smtps://USER:PASSWORD@HOST`. A mail
    /// to the owner `ada` goes to `ada@domain`.
    ///
    /// # Errors
    /// The URL has another form, or the domain is not valid in a mail address.
    pub fn new(url: &HiddenText, domain: &str) -> Result<Self, BoxError> {
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose());
        let server = server.map_err(|error| format!("the URL of the SMTP server: {error}"))?;
        let sender = Mailbox::new(Some("Bank".to_owned()), Address::new(SENDER, domain)?);
        // No timeout of its own, because the handler cuts off an attempt that takes too long.
        Ok(Self { server: server.timeout(None).build(), domain: domain.to_owned(), sender })
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: Mail) -> Result<(), BoxError> {
        let Mail { id, to, subject, body } = mail;
        // Not every name can be the name of a mailbox. Without one the key of the event is parked.
        let address = Address::new(&to, &self.domain)
            .map_err(|error| format!("{to:?} cannot be a mailbox of {}: {error}", self.domain))?;
        let message = Message::builder()
            .from(self.sender.clone())
            .to(Mailbox::new(Some(to), address))
            .subject(subject)
            // The same in each attempt, so that the receiver recognises a mail that comes again.
            .message_id(Some(format!("<{id}@{}>", self.domain)))
            .header(ContentType::TEXT_PLAIN)
            .body(body)?;
        self.server.send(message).await?;
        Ok(())
    }
}

/// Creates the mailer of the command line options.
pub(crate) fn mailer(url: &HiddenText, domain: &str) -> Result<SmtpMailer, BoxError> {
    SmtpMailer::new(url, domain)
}

#[cfg(test)]
mod tests;
