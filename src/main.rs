//! The binary: runs the command line of [`proconf_app_server::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Replaces the system's allocator: docs/adr/0007.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    proconf_app_server::cli::run()
}
