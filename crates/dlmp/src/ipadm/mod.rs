//! The commands of `ipadm`: IP interfaces and addresses.

pub mod change;
pub mod show;
mod view;
