//! The program itself: commands, tasks, the demo.

mod cli;
mod demo;
mod openapi;
mod postgres;
mod read_commands;
mod shell;
mod tasks;
