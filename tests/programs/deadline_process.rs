//! A process with deadlines and scheduled commands, to be killed between any two steps of them.
//!
//! `deadline-process STORE AT` has timers that wait for the same time, in milliseconds since 1970, and
//! schedules as many commands for it. The deadline of a timer ends it, and a command adds one to the
//! tally. A second start with the same store and time asks for the same again. The process prints
//! `done` when all have happened, and stops in order at a line by standard input, or at its end.

use std::io::stdin;
use std::time::Duration;

use actum::{
    Aggregate, Application, CommandKey, CommandOptions, CommandState, Correlation, Effects,
    EventEnvelope, NoRefusal, ProcessManager, Reacts, Refused, StartPosition,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

const EACH: usize = 3;

/// A timer that stores every end it is told, so that a doubled effect shows.
#[derive(Default, Clone)]
struct Timer {
    has_ended: bool,
}

#[derive(Clone, Serialize, Deserialize)]
enum TimerCommand {
    Wait { until: i64 },
    End,
}

#[derive(PartialEq, Serialize, Deserialize)]
enum TimerEvent {
    Waits { until: i64 },
    Ended,
}

impl Aggregate for Timer {
    const TYPE: &'static str = "timer";
    type Command = TimerCommand;
    type Event = TimerEvent;
    type Error = NoRefusal;

    fn handle(&self, command: TimerCommand) -> Result<Vec<TimerEvent>, NoRefusal> {
        Ok(vec![match command {
            TimerCommand::Wait { until } => TimerEvent::Waits { until },
            TimerCommand::End => TimerEvent::Ended,
        }])
    }

    fn apply(&mut self, event: &TimerEvent) {
        self.has_ended |= *event == TimerEvent::Ended;
    }
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Timers;

impl ProcessManager for Timers {
    const NAME: &'static str = "timers";
    type Deadline = ();

    fn correlation() -> Correlation<Self> {
        Correlation::starts::<Timer>().commands::<Timer>()
    }

    fn refused(&mut self, refused: &Refused, _: &mut Effects<Self>) {
        panic!("nothing refuses: {refused:?}");
    }

    fn due(&mut self, (): (), effects: &mut Effects<Self>) {
        effects.execute::<Timer>(effects.key().to_owned(), &TimerCommand::End);
    }
}

impl Reacts<Timer> for Timers {
    fn on(&mut self, event: &EventEnvelope<TimerEvent>, effects: &mut Effects<Self>) {
        if let TimerEvent::Waits { until } = &event.event {
            effects.deadline("end", at(*until), &());
        }
    }
}

/// Counts what scheduled commands add.
#[derive(Default, Clone)]
struct Tally;

#[derive(PartialEq, Serialize, Deserialize)]
enum TallyEvent {
    Added,
}

impl Aggregate for Tally {
    const TYPE: &'static str = "tally";
    type Command = ();
    type Event = TallyEvent;
    type Error = NoRefusal;

    fn handle(&self, (): ()) -> Result<Vec<TallyEvent>, NoRefusal> {
        Ok(vec![TallyEvent::Added])
    }

    fn apply(&mut self, _: &TallyEvent) {}
}

fn at(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).unwrap()
}

fn keyed(kind: &str, n: usize) -> CommandOptions {
    CommandOptions::keyed(CommandKey::new(format!("{kind}-{n}"), &[]).unwrap())
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, until] = &arguments[..] else { panic!("deadline-process STORE AT") };
    let until: i64 = until.parse().unwrap();
    let app = Application::builder(actum::open(store).await.unwrap()).aggregate::<Timer>();
    let app = app.aggregate::<Tally>().answers_later::<Tally>();
    let app = app.process_manager::<Timers>(StartPosition::Beginning).start().await.unwrap();
    let mut scheduled = Vec::new();
    for n in 0..EACH {
        let (timer, wait) = (n.to_string(), TimerCommand::Wait { until });
        app.execute_with::<Timer>(&timer, wait, keyed("wait", n)).await.unwrap();
        let id = app.schedule::<Tally>("all", &(), at(until), keyed("add", n)).await.unwrap();
        scheduled.push(id.to_string());
    }
    for (n, id) in scheduled.iter().enumerate() {
        while !app.load::<Timer>(&n.to_string()).await.unwrap().state.has_ended {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while app.command(id).await.unwrap().state == CommandState::Accepted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!("done");
    spawn_blocking(|| stdin().read_line(&mut String::new())).await.unwrap().unwrap();
    app.shutdown().await;
}
