//! The `muster` binary: see [`muster::cli`].

fn main() -> std::process::ExitCode {
    muster::cli::main()
}
