//! Everything that crosses a wire, tested over a wire: the real binary and the real adapters against moto, a double of
//! GitHub, real boot scripts, real Terraform, Prometheus and Chromium. All of it is one program, because each further
//! program would link the AWS SDK again.
//!
//! There is one module for each thing that is tested. `cargo test --test wire MODULE::` runs one of them.

mod cli;
mod docs;
mod house;
mod newcomer;
mod sim_cli;
mod simulate_cli;
mod validate_cli;
mod webhook_http;

// What talks to AWS or GitHub. Not `cfg_select!`: rustfmt does not look at the modules in it.
cfg_if::cfg_if! {
    if #[cfg(feature = "live")] {
        mod support;

        mod attackers;
        mod aws_adapters;
        #[cfg(target_os = "linux")]
        mod binary;
        #[cfg(target_os = "linux")]
        mod bootstrap;
        #[cfg(target_os = "linux")]
        mod bootstrap_text;
        mod cli_tls;
        mod driver;
        mod e2e_alive;
        mod e2e_answers;
        #[cfg(unix)]
        mod e2e_app;
        mod e2e_burst;
        mod e2e_cost;
        mod e2e_crash;
        mod e2e_doctor;
        mod e2e_faults;
        mod e2e_field;
        #[cfg(target_os = "linux")]
        mod e2e_instance;
        mod e2e_late;
        mod e2e_latency;
        mod e2e_lease;
        mod e2e_main;
        mod e2e_otlp;
        mod e2e_prices;
        mod e2e_prometheus;
        mod e2e_record;
        mod e2e_rerun;
        mod e2e_scopes;
        mod e2e_shadow;
        mod e2e_steer;
        mod e2e_terraform;
        mod e2e_trouble;
        mod e2e_validate;
        mod e2e_versions;
        mod e2e_warm;
        mod e2e_webhook;
        mod iam;
        mod image;
        mod load;
        mod page;
        mod page_acts;
        mod page_find;
        mod page_live;
        mod page_looks;
        mod page_questions;
        #[cfg(target_os = "linux")]
        mod release;
        mod support_selftest;
        mod sync;
        mod terraform;
        mod terraform_plans;
        mod terraform_policies;
        mod terraform_pools;
        mod terraform_trust;
        #[cfg(target_os = "linux")]
        mod top;
        mod tune_cli;
    }
}
