//! The `weir` binary.

use std::process::ExitCode;

/// Small, returns freed memory, and does not slow down with the number of threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway_userspace::cli::main()
}
