//! The bank as a child process: how it starts, stops, crashes at each step, and behaves on a disk that
//! fails or under more load than it accepts.

mod bank;
mod crash;
mod disk;
mod overload;
mod program;
