//! Deferred commands: accepted durably, executed once and in order, and reported by status, by
//! callback and by signed webhook calls.

mod callbacks;
mod deciders;
mod execution;
mod outcomes;
mod slow_commands;
mod webhook;
