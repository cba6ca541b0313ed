//! The user: a person by a name that no other user has.
//!
//! That the name is free cannot be seen from here: the log says it, because the events claim it.

use actum::{Aggregate, Claim, RefusalCode};
use serde::{Deserialize, Serialize};

use crate::account::{is_owner, person};

/// A user as the events have left them.
#[derive(Debug, Default, Clone)]
pub struct User {
    /// Whose they are, once registered: the person who may rename them.
    owner: Option<String>,
    name: String,
}

/// What can be asked of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserCommand {
    /// Register for `owner` under this name.
    Register {
        /// The person.
        owner: String,
        /// 3 to 32 of `a-z 0-9 _ . -`, a letter first.
        name: String,
    },
    /// Take another name; the old one is free from then on.
    Rename {
        /// As in `Register`.
        name: String,
    },
}

/// What can have happened to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserEvent {
    /// There is a user of this name.
    Registered {
        /// The person.
        owner: String,
        /// Theirs alone.
        name: String,
    },
    /// The name is another.
    Renamed {
        /// The old name: who releases it has to say it.
        from: String,
        /// The new one.
        to: String,
    },
}

/// Reasons why a user refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum UserRefusal {
    /// Nobody was ever registered under this id.
    #[error("there is no such user")]
    UnknownUser,
    /// People register themselves.
    #[error("people register themselves")]
    #[serde(rename = "forbidden")]
    NotForOthers,
    /// The id is taken.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// Not a person an account could be opened for.
    #[error(
        "an owner is 1 to {} visible characters, without control or direction marks",
        crate::account::MAX_OWNER_CHARS
    )]
    InvalidOwner,
    /// Not of the characters allowed.
    #[error("a name is 3 to 32 of a-z, 0-9, _, . and -, a letter first")]
    InvalidName,
}

/// The kind of the claim that a user has on the name.
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
            // That an id is taken has to be told, but not at which version it is.
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

/// An allow-list, so that no two names look the same.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_.-".contains(&c);
    (3..=32).contains(&name.len())
        && name.as_bytes()[0].is_ascii_lowercase()
        && name.bytes().all(plain)
}

impl RefusalCode for UserRefusal {
    fn status(&self) -> u16 {
        match self {
            Self::UnknownUser => 404,
            Self::NotForOthers => 403,
            _ => 422,
        }
    }
}

#[cfg(test)]
mod tests;
