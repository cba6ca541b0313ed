//! Tests of the user's rules: names, permissions and claims.

use actum::Claim;
use actum::testing::Scenario;

use super::UserCommand::{Register, Rename};
use super::UserEvent::{Registered, Renamed};
use super::{User, UserEvent, UserRefusal};

fn register(name: &str) -> super::UserCommand {
    Register { owner: "Ada".into(), name: name.into() }
}

fn rename(name: &str) -> super::UserCommand {
    Rename { name: name.into() }
}

fn ada() -> UserEvent {
    Registered { owner: "Ada".into(), name: "ada".into() }
}

#[test]
fn a_user_claims_the_name() {
    Scenario::<User>::given_nothing()
        .when(register("ada"))
        .then([ada()])
        .then_claims([Claim::take("user_name", "ada")]);
}

#[test]
fn another_name_releases_the_old_one() {
    Scenario::<User>::given([ada()])
        .when(rename("ada.l"))
        .then([Renamed { from: "ada".into(), to: "ada.l".into() }])
        .then_claims([Claim::release("user_name", "ada"), Claim::take("user_name", "ada.l")])
        .when(rename("ada.l"))
        .then_nothing()
        .then_claims([]);
}

#[test]
fn a_name_is_of_few_characters() {
    let longest = "a".repeat(32);
    for name in ["ada", "a-1", "a._", &longest] {
        Scenario::<User>::given_nothing()
            .when(register(name))
            .then([Registered { owner: "Ada".into(), name: name.into() }]);
    }
    let too_long = "a".repeat(33);
    for name in ["", "ad", "Ada", "1da", "ad a", "adä", "ad\u{430}", "ada\n", &too_long] {
        Scenario::<User>::given_nothing()
            .when(register(name))
            .then_refused(UserRefusal::InvalidName);
        Scenario::<User>::given([ada()]).when(rename(name)).then_refused(UserRefusal::InvalidName);
    }
}

#[test]
fn a_user_is_registered_once_and_for_somebody() {
    Scenario::<User>::given([ada()])
        .when(register("other"))
        .then_refused(UserRefusal::AlreadyRegistered);
    Scenario::<User>::given_nothing().when(rename("ada")).then_refused(UserRefusal::UnknownUser);
    let nobody = Register { owner: " ".into(), name: "ada".into() };
    Scenario::<User>::given_nothing().when(nobody).then_refused(UserRefusal::InvalidOwner);
}

#[test]
fn people_register_and_rename_themselves_alone() {
    Scenario::<User>::given_nothing().when_by("user:Ada", register("ada")).then([ada()]);
    let given = || Scenario::<User>::given([ada()]);
    given().when_by("user:bob", register("bob")).then_refused(UserRefusal::NotForOthers);
    given().when_by("user:bob", rename("bob")).then_refused(UserRefusal::UnknownUser);
    for actor in ["user:Ada", "key:shop"] {
        let renamed = Renamed { from: "ada".into(), to: "ada.l".into() };
        given().when_by(actor, rename("ada.l")).then([renamed]);
    }
}
