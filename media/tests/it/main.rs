//! The repository over a real directory: what is there after an upload, a crash, a hostile image.

mod images;
mod previews;
mod remote;
mod uploads;
mod world;
