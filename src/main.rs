//! The command `firn`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            // Nothing can be done if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "firn: unavailable: the operating system gives no threads: {e}");
            return ExitCode::from(8);
        }
    };
    let status = runtime.block_on(firnline::cli::run(std::env::args_os()));
    // A read of standard input that nobody waits for must not hold up the end.
    runtime.shutdown_background();
    status
}
