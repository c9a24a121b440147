//! Limits without code: a rate limit service for Envoy, and forward auth for other proxies. It decides nothing itself: a
//! request becomes clauses, and the ratelimit module in Redis decides them.

mod app;
mod call;
mod check;
mod cli;
mod config;
mod connect;
mod decide;
mod denied;
mod grpc;
mod health;
mod key;
mod limits;
mod listen;
mod reload;
mod rls;
mod rules;
mod seldom;
mod server;
mod settings;
mod stats;
mod store;
mod workers;
mod yaml;

use std::process::ExitCode;

use settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ratelimit-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), String> {
    let mut settings = Settings::read(&|name| std::env::var(name).ok())?;
    match cli::read(std::env::args_os())? {
        cli::Asked::Serve { rules, shadow } => {
            settings.rules_file = rules.or(settings.rules_file);
            settings.rules_shadow |= shadow;
        }
        cli::Asked::Print(text) => {
            print!("{text}");
            return Ok(());
        }
    }
    log(&settings)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "TLS cannot be set up")?;
    let runtime = workers::runtime()?;
    let result = runtime.block_on(server::run(settings));
    runtime.shutdown_background();
    result
}

fn log(settings: &Settings) -> Result<(), String> {
    let level = match settings.log_level.to_ascii_lowercase().as_str() {
        "trace" => tracing::Level::TRACE,
        "debug" => tracing::Level::DEBUG,
        "info" => tracing::Level::INFO,
        "warn" | "warning" => tracing::Level::WARN,
        "error" | "fatal" | "panic" => tracing::Level::ERROR,
        level => {
            return Err(format!(
                "LOG_LEVEL={level}: expected trace, debug, info, warn or error"
            ))
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if settings.log_json {
        builder.json().init();
    } else {
        builder.init();
    }
    Ok(())
}
