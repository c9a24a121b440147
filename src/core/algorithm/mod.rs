//! The algorithms, one a file, the maths first.

pub mod bucket;
pub mod fixed;
pub mod sliding;
