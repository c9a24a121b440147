//! See above.
