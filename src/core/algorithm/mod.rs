//! The algorithms, one a file, the maths first.

pub mod bucket;
pub mod fixed;
pub mod joint;
pub mod lease;
pub mod log;
pub mod meter;
pub mod reserved;
pub mod sliding;
