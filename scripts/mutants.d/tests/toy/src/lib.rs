//! For the test of the tool.
mod core;
