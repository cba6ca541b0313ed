//! Tests of the account's rules as scenarios: given events, when a command is sent, then events or
//! a refusal.

use actum::testing::Scenario;

use super::AccountCommand::*;
use super::AccountEvent::{self, *};
use super::{Account, MAX_OWNER_CHARS, Refusal};

fn opened() -> AccountEvent {
    Opened { owner: "Ada".into(), currency: "EUR".into(), number: None }
}

fn opening(owner: &str, currency: &str) -> super::AccountCommand {
    Open { owner: owner.into(), currency: currency.into(), number: None }
}

#[test]
fn an_account_is_opened_once() {
    Scenario::<Account>::given([]).when(opening("Ada", "EUR")).then([opened()]);
    Scenario::<Account>::given([opened()])
        .when(opening("Bob", "USD"))
        .then_refused(Refusal::AlreadyOpen);
}

#[test]
fn an_owner_has_a_name_that_can_be_shown() {
    let longest = "é".repeat(MAX_OWNER_CHARS);
    Scenario::<Account>::given([]).when(opening(&longest, "EUR")).then([Opened {
        owner: longest.clone(),
        currency: "EUR".into(),
        number: None,
    }]);
    for owner in ["", "  ", "A\nda", "A\u{0}da", "\u{1b}[31mAda", &"x".repeat(MAX_OWNER_CHARS + 1)]
    {
        Scenario::<Account>::given([])
            .when(opening(owner, "EUR"))
            .then_refused(Refusal::InvalidOwner);
    }
}

#[test]
fn a_currency_is_three_capital_letters() {
    for currency in ["", "eur", "EURO", "EU", "E R", "ÉR"] {
        Scenario::<Account>::given([])
            .when(opening("Ada", currency))
            .then_refused(Refusal::InvalidCurrency);
    }
}

#[test]
fn nothing_happens_to_an_account_that_was_never_opened() {
    let asked = [
        Credit { amount: 1 },
        Withdraw { amount: 1 },
        GrantCreditLimit { limit: 1 },
        Freeze,
        Unfreeze,
        Close,
    ];
    for command in asked {
        Scenario::<Account>::given([]).when(command).then_refused(Refusal::UnknownAccount);
    }
}

#[test]
fn an_account_cannot_be_overdrawn() {
    Scenario::<Account>::given([opened(), Credited { amount: 100 }])
        .when(Withdraw { amount: 101 })
        .then_refused(Refusal::InsufficientFunds { available: 100 });
}

#[test]
fn a_withdrawal_may_draw_on_the_credit_limit() {
    let history = [opened(), Credited { amount: 100 }, CreditLimitGranted { limit: 50 }];
    Scenario::<Account>::given(history.clone())
        .when(Withdraw { amount: 150 })
        .then([Withdrawn { amount: 150 }]);
    Scenario::<Account>::given(history)
        .when(Withdraw { amount: 151 })
        .then_refused(Refusal::InsufficientFunds { available: 150 });
}

#[test]
fn an_amount_is_above_zero() {
    for amount in [0, -1, i64::MIN] {
        for command in [Credit { amount }, Withdraw { amount }] {
            Scenario::<Account>::given([opened()])
                .when(command)
                .then_refused(Refusal::InvalidAmount);
        }
    }
}

#[test]
fn a_balance_that_could_not_be_counted_is_refused() {
    Scenario::<Account>::given([opened(), Credited { amount: i64::MAX }])
        .when(Credit { amount: 1 })
        .then_refused(Refusal::BalanceTooLarge);
}

#[test]
fn the_largest_amounts_are_counted_exactly() {
    Scenario::<Account>::given([opened(), CreditLimitGranted { limit: i64::MAX }])
        .when(Withdraw { amount: i64::MAX })
        .then([Withdrawn { amount: i64::MAX }]);
    let rich = [opened(), Credited { amount: i64::MAX }, CreditLimitGranted { limit: i64::MAX }];
    Scenario::<Account>::given(rich)
        .when(Withdraw { amount: i64::MAX })
        .then([Withdrawn { amount: i64::MAX }]);
    let drawn = [opened(), CreditLimitGranted { limit: i64::MAX }, Withdrawn { amount: i64::MAX }];
    Scenario::<Account>::given(drawn)
        .when(GrantCreditLimit { limit: 0 })
        .then_refused(Refusal::LimitInUse { used: i64::MAX });
}

#[test]
fn a_credit_limit_covers_what_is_drawn_already() {
    let history = [opened(), CreditLimitGranted { limit: 50 }, Withdrawn { amount: 30 }];
    Scenario::<Account>::given(history.clone())
        .when(GrantCreditLimit { limit: 30 })
        .then([CreditLimitGranted { limit: 30 }]);
    Scenario::<Account>::given(history.clone())
        .when(GrantCreditLimit { limit: 29 })
        .then_refused(Refusal::LimitInUse { used: 30 });
    Scenario::<Account>::given(history)
        .when(GrantCreditLimit { limit: -1 })
        .then_refused(Refusal::InvalidLimit);
}

#[test]
fn asking_for_what_is_so_already_changes_nothing() {
    Scenario::<Account>::given([opened(), CreditLimitGranted { limit: 50 }])
        .when(GrantCreditLimit { limit: 50 })
        .then_nothing();
    Scenario::<Account>::given([opened(), Frozen]).when(Freeze).then_nothing();
    Scenario::<Account>::given([opened()]).when(Unfreeze).then_nothing();
    Scenario::<Account>::given([opened(), Closed]).when(Close).then_nothing();
}

#[test]
fn a_frozen_account_takes_money_in_and_lets_none_out() {
    let frozen = [opened(), Credited { amount: 100 }, Frozen];
    Scenario::<Account>::given(frozen.clone())
        .when(Withdraw { amount: 1 })
        .then_refused(Refusal::Frozen);
    Scenario::<Account>::given(frozen.clone())
        .when(Credit { amount: 1 })
        .then([Credited { amount: 1 }]);
    Scenario::<Account>::given(frozen).when(Unfreeze).then([Unfrozen]);
    Scenario::<Account>::given([opened(), Credited { amount: 100 }, Frozen, Unfrozen])
        .when(Withdraw { amount: 1 })
        .then([Withdrawn { amount: 1 }]);
}

#[test]
fn an_account_is_closed_only_with_a_balance_of_zero() {
    Scenario::<Account>::given([opened()]).when(Close).then([Closed]);
    Scenario::<Account>::given([opened(), Credited { amount: 7 }])
        .when(Close)
        .then_refused(Refusal::BalanceNotZero { balance: 7 });
    Scenario::<Account>::given([
        opened(),
        CreditLimitGranted { limit: 7 },
        Withdrawn { amount: 7 },
    ])
    .when(Close)
    .then_refused(Refusal::BalanceNotZero { balance: -7 });
}

#[test]
fn a_closed_account_stays_closed() {
    let asked =
        [Credit { amount: 1 }, Withdraw { amount: 1 }, GrantCreditLimit { limit: 1 }, Freeze];
    for command in asked {
        Scenario::<Account>::given([opened(), Closed]).when(command).then_refused(Refusal::Closed);
    }
    Scenario::<Account>::given([opened(), Closed])
        .when(opening("Ada", "EUR"))
        .then_refused(Refusal::AlreadyOpen);
}

#[test]
fn people_have_to_do_with_their_own_accounts_only() {
    let asked = [
        Credit { amount: 1 },
        Withdraw { amount: 1 },
        GrantCreditLimit { limit: 1 },
        Freeze,
        Unfreeze,
        Close,
    ];
    for command in asked {
        for actor in ["user:Bob", "user:ada", "user:", "user:Ada ", "user:user:Ada"] {
            Scenario::<Account>::given([opened()])
                .when_by(actor, command.clone())
                .then_refused(Refusal::UnknownAccount);
            // As if the account did not exist.
            Scenario::<Account>::given([])
                .when_by(actor, command.clone())
                .then_refused(Refusal::UnknownAccount);
        }
    }
    for actor in ["user:Ada", "key:shop", "key:Ada", "dev"] {
        Scenario::<Account>::given([opened()])
            .when_by(actor, Credit { amount: 1 })
            .then([Credited { amount: 1 }]);
    }
}

#[test]
fn people_open_accounts_for_themselves() {
    Scenario::<Account>::given([]).when_by("user:Ada", opening("Ada", "EUR")).then([opened()]);
    Scenario::<Account>::given([]).when_by("key:shop", opening("Ada", "EUR")).then([opened()]);
    for given in [vec![], vec![opened()]] {
        Scenario::<Account>::given(given)
            .when_by("user:Bob", opening("Ada", "EUR"))
            .then_refused(Refusal::NotForOthers);
    }
    Scenario::<Account>::given([])
        .when_by("user:", opening("", "EUR"))
        .then_refused(Refusal::InvalidOwner);
}
