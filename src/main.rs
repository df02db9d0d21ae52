//! The `weighbridge` program: see `weighbridge::cli`.

fn main() -> std::process::ExitCode {
    weighbridge::cli::main()
}
