//! The one binary, `aihub`.

use std::process::ExitCode;

/// Loading events makes and frees large batches; the system's allocator keeps most of that for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    api::cli::main()
}
