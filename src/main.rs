//! The program: arguments in, errors and an exit code out. Everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match kraft::cli::main() {
        Ok(code) => code,
        Err(errors) => {
            let mut stderr = std::io::stderr().lock();
            for error in &errors {
                // Nobody is left to tell when standard error is gone.
                let _ = writeln!(stderr, "error: {error}");
                if let Some(hint) = error.hint() {
                    let _ = writeln!(stderr, "hint: {hint}");
                }
            }
            ExitCode::from(errors.first().map_or(125, kraft::error::Error::exit_code))
        }
    }
}
