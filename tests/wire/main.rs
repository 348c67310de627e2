//! Everything that crosses a wire, tested over a wire: the real binary and the real adapters against moto, a double of
//! GitHub, real boot scripts, real Terraform, Prometheus and Chromium. All of it is one program, because each further
//! program would link the AWS SDK again.
//!
//! There is one module for each thing that is tested. `cargo test --test wire MODULE::` runs one of them.

#[cfg(feature = "live")]
mod support;

#[cfg(feature = "live")]
mod aws_adapters;
#[cfg(all(feature = "live", target_os = "linux"))]
mod binary;
#[cfg(all(feature = "live", target_os = "linux"))]
mod bootstrap;
#[cfg(all(feature = "live", target_os = "linux"))]
mod bootstrap_text;
mod cli;
#[cfg(feature = "live")]
mod cli_tls;
#[cfg(feature = "live")]
mod e2e_alive;
#[cfg(all(feature = "live", target_os = "linux"))]
mod e2e_box;
#[cfg(feature = "live")]
mod e2e_burst;
#[cfg(feature = "live")]
mod e2e_crash;
#[cfg(feature = "live")]
mod e2e_doctor;
#[cfg(feature = "live")]
mod e2e_faults;
#[cfg(feature = "live")]
mod e2e_field;
#[cfg(feature = "live")]
mod e2e_latency;
#[cfg(feature = "live")]
mod e2e_main;
#[cfg(feature = "live")]
mod e2e_more;
#[cfg(feature = "live")]
mod e2e_otlp;
#[cfg(feature = "live")]
mod e2e_prices;
#[cfg(feature = "live")]
mod e2e_prometheus;
#[cfg(feature = "live")]
mod e2e_steer;
#[cfg(feature = "live")]
mod e2e_terraform;
#[cfg(feature = "live")]
mod e2e_webhook;
mod house;
#[cfg(feature = "live")]
mod iam;
#[cfg(feature = "live")]
mod image;
#[cfg(feature = "live")]
mod load;
#[cfg(feature = "live")]
mod page;
#[cfg(all(feature = "live", target_os = "linux"))]
mod release;
mod sim_cli;
mod simulate_cli;
#[cfg(feature = "live")]
mod support_selftest;
#[cfg(feature = "live")]
mod sync;
#[cfg(feature = "live")]
mod terraform;
#[cfg(feature = "live")]
mod terraform_plans;
#[cfg(feature = "live")]
mod terraform_policies;
#[cfg(feature = "live")]
mod terraform_pools;
mod validate_cli;
mod webhook_http;
