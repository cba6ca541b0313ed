//! The user: a person with a name that no other user has.
//!
//! The aggregate cannot see whether a name is free. The log guarantees it, because the events claim
//! the name.

use actum::{Aggregate, Claim, RefusalCode};
use serde::{Deserialize, Serialize};

use crate::account::{is_owner, person};

/// State of a user: the fold of its events.
#[derive(Debug, Default, Clone)]
pub struct User {
    /// Person that the user belongs to, once registered. Only this person may rename the user.
    owner: Option<String>,
    name: String,
}

/// Commands of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserCommand {
    /// Registers the user for `owner` under this name.
    Register {
        /// Person that the user belongs to.
        owner: String,
        /// Name: 3 to 32 of `a-z 0-9 _ . -`, starting with a letter.
        name: String,
    },
    /// Changes the name; the old one is free from then on.
    Rename {
        /// New name, in the form of `Register`.
        name: String,
    },
}

/// Events of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserEvent {
    /// The user was registered.
    Registered {
        /// Person that the user belongs to.
        owner: String,
        /// Name of the user, claimed by this event.
        name: String,
    },
    /// The name was changed.
    Renamed {
        /// Old name. Part of the event, because its claim must be released.
        from: String,
        /// New name.
        to: String,
    },
}

/// Reason why a user refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum UserRefusal {
    /// No user was ever registered under this id.
    #[error("there is no such user")]
    UnknownUser,
    /// A person tried to register someone else.
    #[error("people register themselves")]
    #[serde(rename = "forbidden")]
    NotForOthers,
    /// A user with this id exists already.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// The owner is not a valid name of a person.
    #[error(
        "an owner must have 1 to {} visible characters, without control or direction marks",
        crate::account::MAX_OWNER_CHARS
    )]
    InvalidOwner,
    /// The name has another length or other characters than allowed.
    #[error("a name is 3 to 32 of a-z, 0-9, _, . and -, a letter first")]
    InvalidName,
}

/// Kind of the claim that a user has on its name.
pub const USER_NAME: &str = "user_name";

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserRefusal;

    fn handle(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserRefusal> {
        use UserCommand::*;
        match (&self.owner, command) {
            (Some(_), Register { .. }) => Err(UserRefusal::AlreadyRegistered),
            (None, Rename { .. }) => Err(UserRefusal::UnknownUser),
            (_, Register { name, .. } | Rename { name }) if !is_name(&name) => {
                Err(UserRefusal::InvalidName)
            }
            (_, Register { owner, .. }) if !is_owner(&owner) => Err(UserRefusal::InvalidOwner),
            (_, Register { owner, name }) => Ok(vec![UserEvent::Registered { owner, name }]),
            (_, Rename { name }) if name == self.name => Ok(vec![]),
            (_, Rename { name }) => {
                Ok(vec![UserEvent::Renamed { from: self.name.clone(), to: name }])
            }
        }
    }

    fn authorise(&self, actor: &str, command: &UserCommand) -> Result<(), UserRefusal> {
        let Some(person) = person(actor) else { return Ok(()) };
        match command {
            UserCommand::Register { owner, .. } if owner != person => {
                Err(UserRefusal::NotForOthers)
            }
            // The response reveals that the id exists, but must not reveal the version of the user.
            UserCommand::Register { .. } => match &self.owner {
                Some(owner) if owner != person => Err(UserRefusal::AlreadyRegistered),
                _ => Ok(()),
            },
            UserCommand::Rename { .. } if self.owner.as_deref() == Some(person) => Ok(()),
            UserCommand::Rename { .. } => Err(UserRefusal::UnknownUser),
        }
    }

    fn apply(&mut self, event: &UserEvent) {
        match event {
            UserEvent::Registered { owner, name } => {
                self.owner = Some(owner.clone());
                self.name.clone_from(name);
            }
            UserEvent::Renamed { to, .. } => self.name.clone_from(to),
        }
    }

    fn claims(event: &UserEvent) -> Vec<Claim> {
        match event {
            UserEvent::Registered { name, .. } => vec![Claim::take(USER_NAME, name)],
            UserEvent::Renamed { from, to } => {
                vec![Claim::release(USER_NAME, from), Claim::take(USER_NAME, to)]
            }
        }
    }
}

/// Checks a name against a list of allowed characters, so that no two names look the same.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_.-".contains(&c);
    (3..=32).contains(&name.len())
        && name.as_bytes()[0].is_ascii_lowercase()
        && name.bytes().all(plain)
}

impl RefusalCode for UserRefusal {}

#[cfg(test)]
mod tests;
