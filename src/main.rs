//! The binary: hands the command line to [`proconf_app_server::cli`] and ends with the exit code that it names.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Replaces the system's allocator: docs/adr/0007.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    proconf_app_server::cli::run()
}
