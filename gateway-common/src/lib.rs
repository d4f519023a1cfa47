//! The kernel/user ABI.
#![cfg_attr(not(feature = "user"), no_std)]
