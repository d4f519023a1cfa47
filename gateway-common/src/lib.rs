//! The kernel/user ABI of the datapath, and the decisions that both halves share.
//!
//! Layout rules: every map key and value is `repr(C)` without padding, made of `u32`/`u64` words and
//! byte arrays; addresses and ports are in network order; no enum, `bool` or `Option` is stored, only
//! numbers that a `from_raw` reads back. Sizes are asserted. A change of any layout, map type or
//! capacity raises [`names::ABI`], which gives the new maps a directory of their own.
#![cfg_attr(not(any(feature = "user", test)), no_std)]

mod layout;

pub mod addr;
pub mod capture;
pub mod counter;
pub mod decision;
pub mod endpoint;
pub mod flow;
pub mod names;
pub mod pod;
pub mod seal;
pub mod service;
pub mod state;
#[cfg(feature = "user")]
mod user;
