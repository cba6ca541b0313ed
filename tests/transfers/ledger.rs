//! A checker of the whole log: at every prefix no money was made or lost, and each transfer took each
//! step at most once.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// An event: stream, type and payload.
pub type Row = (String, String, String);

/// State of all accounts and transfers at the end of the log.
#[derive(Debug, Default)]
pub struct Ledger {
    pub balances: BTreeMap<String, i64>,
    /// Transfers whose money is in transit, with the amount.
    pub in_transit: HashMap<String, i64>,
    /// The end of each transfer; `None` if it has not ended.
    pub ends: BTreeMap<String, Option<String>>,
    /// Money put in from outside, less the money taken out.
    outside: i128,
    /// Money that arrived, by transfer: `TransferredIn` or `TakenBack`.
    arrived: HashMap<String, String>,
}

impl Ledger {
    /// Folds the log. Panics at the first event after which the money does not add up.
    #[track_caller]
    pub fn of(log: &[Row]) -> Self {
        let mut ledger = Self::default();
        for (index, row) in log.iter().enumerate() {
            let done = ledger.fold(row);
            let (held, transit) = (ledger.balances.values(), ledger.in_transit.values());
            // Accounts may hold the largest amount there is.
            let total: i128 = held.chain(transit).map(|amount| i128::from(*amount)).sum();
            let fault = done.err().or((total != ledger.outside).then(|| "the total".to_owned()));
            assert!(fault.is_none(), "position {}: {fault:?}: {row:?}: {ledger:?}", index + 1);
        }
        ledger
    }

    /// Checks that every transfer has ended, and that no money is in transit.
    #[track_caller]
    pub fn is_settled(&self) {
        assert!(self.in_transit.is_empty(), "in transit: {:?}", self.in_transit);
        let open: Vec<_> = self.ends.iter().filter(|(_, end)| end.is_none()).collect();
        assert!(open.is_empty(), "not ended: {open:?}");
    }

    /// Number of transfers with this end.
    pub fn ended(&self, end: &str) -> usize {
        self.ends.values().filter(|found| found.as_deref() == Some(end)).count()
    }

    fn fold(&mut self, (stream, name, payload): &Row) -> Result<(), String> {
        let Some((kind, id)) = stream.split_once('-') else { return Ok(()) };
        let payload: Value = serde_json::from_str(payload).map_err(|error| error.to_string())?;
        let amount = payload["amount"].as_i64().unwrap_or(0);
        match kind {
            "account" => self.book(id, name, amount, payload["transfer"].as_str()),
            "transfer" => self.step(id, name),
            _ => Ok(()),
        }
    }

    fn book(
        &mut self,
        id: &str,
        name: &str,
        amount: i64,
        transfer: Option<&str>,
    ) -> Result<(), String> {
        let transfer = transfer.unwrap_or_default().to_owned();
        let balance = self.balances.entry(id.to_owned()).or_default();
        match name {
            "Credited" => {
                *balance += amount;
                self.outside += i128::from(amount);
            }
            "Withdrawn" => {
                *balance -= amount;
                self.outside -= i128::from(amount);
            }
            "TransferredOut" => {
                *balance -= amount;
                let is_new = !self.arrived.contains_key(&transfer);
                let before = self.in_transit.insert(transfer, amount);
                return check(is_new && before.is_none(), "taken out twice");
            }
            "TransferredIn" | "TakenBack" => {
                *balance += amount;
                let transit = self.in_transit.remove(&transfer);
                self.arrived.insert(transfer, name.to_owned());
                return check(transit == Some(amount), "not in transit");
            }
            _ => return Ok(()),
        }
        check(*balance >= 0, "overdrawn")
    }

    fn step(&mut self, id: &str, name: &str) -> Result<(), String> {
        let end = self.ends.entry(id.to_owned()).or_default();
        if matches!(name, "Requested" | "Approved") {
            return check(end.is_none(), "a step after the end");
        }
        let arrived = self.arrived.get(id).map(String::as_str);
        let is_right = match name {
            "Completed" => arrived == Some("TransferredIn"),
            "Refunded" => arrived == Some("TakenBack"),
            _ => arrived.is_none() && !self.in_transit.contains_key(id),
        };
        check(is_right, "another end than that of its money")?;
        check(end.replace(name.to_owned()).is_none(), "ended twice")
    }
}

fn check(holds: bool, fault: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Row};

    fn row(stream: &str, name: &str, payload: &str) -> Row {
        (stream.to_owned(), name.to_owned(), payload.to_owned())
    }

    fn good() -> Vec<Row> {
        let moved = r#"{"transfer":"t","amount":3}"#;
        vec![
            row("account-a", "Credited", r#"{"amount":5}"#),
            row("transfer-t", "Requested", "{}"),
            row("account-a", "TransferredOut", moved),
            row("account-b", "TransferredIn", moved),
            row("transfer-t", "Completed", "{}"),
        ]
    }

    fn is_refused(log: &[Row]) -> bool {
        std::panic::catch_unwind(|| Ledger::of(log)).is_err()
    }

    #[test]
    fn a_ledger_refuses_money_that_is_doubled_and_ends_that_are_not_true() {
        Ledger::of(&good()).is_settled();
        for doubled in 2..5 {
            let mut log = good();
            log.insert(doubled, log[doubled].clone());
            assert!(is_refused(&log), "{log:?}");
        }
        for left_out in [2, 3] {
            let mut log = good();
            log.remove(left_out);
            assert!(is_refused(&log), "{log:?}");
        }
        let mut log = good();
        log[4].1 = "Failed".to_owned();
        assert!(is_refused(&log), "{log:?}");
    }
}
