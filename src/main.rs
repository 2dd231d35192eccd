//! The binary: hands the command line to [`proconf_app_server::cli`] and ends with the exit code that it names.

use std::process::ExitCode;

fn main() -> ExitCode {
    proconf_app_server::cli::run()
}
