//! The examples under the help of each command, which are also in the manual pages. A test parses every line.

pub(super) const PROGRAM: &str = "\
Examples:
  muster demo                                   look at it: no account, nothing is touched
  muster init                                   write the files of a first cluster
  muster validate my-cluster                    check manifests
  muster explain 29679449526                    why a job waits, by GitHub's id
  muster top                                    watch the running controller";

#[cfg(feature = "live")]
pub(super) const RUN: &str = "\
Examples:
  muster run --manifests /etc/muster            run with the manifests of a directory
  muster run --manifests s3://my-bucket/prod    run with those of a bucket
  muster run --manifests my-cluster --shadow --record s3://my-bucket/shadow
  muster run --manifests my-cluster --shadow --record /tmp/week --events archive/";

#[cfg(feature = "live")]
pub(super) const SHADOW: &str = "\
Examples:
  muster shadow report /var/lib/shadow --manifests my-cluster
  muster shadow report s3://my-bucket/shadow --manifests my-cluster --prices prices.yaml -o json";

#[cfg(feature = "live")]
pub(super) const PLAN: &str = "\
Examples:
  muster plan --manifests my-cluster            what a controller would do now, and why
  muster plan --manifests my-cluster -o json    the same for programs";

#[cfg(feature = "live")]
pub(super) const DOCTOR: &str = "\
Examples:
  muster doctor --manifests my-cluster          look at everything that muster needs
  muster doctor --manifests my-cluster --live --repo acme/web";

#[cfg(feature = "live")]
pub(super) const SYNC: &str = "\
Examples:
  muster sync --manifests my-cluster --dry-run  what would be copied into the bucket
  muster sync --manifests my-cluster            copy it";

pub(super) const GET: &str = "\
Examples:
  muster get all                                pools, jobs and runners
  muster get jobs --state queued --pool linux   what waits for one pool
  muster get jobs --repo acme/web -o wide       one repository's jobs, with labels and branch
  muster get pool linux -o yaml                 one pool, for programs that people read
  muster get runners --state idle,busy -w       print again whenever something changed
  muster get runners --reason idle -o name      names that other commands take
  muster get pools -o jsonpath={.items[*].name}";

pub(super) const EXPLAIN: &str = "\
Examples:
  muster explain 29679449526                    a job, by GitHub's id
  muster explain https://github.com/acme/web/actions/runs/332/job/29679449526
  muster explain i-0123456789abcdef0            a runner, by its instance id
  muster explain pool/linux -o json             a pool, for programs";

pub(super) const EVENTS: &str = "\
Examples:
  muster events -f                              go on until Ctrl-C
  muster events pool/linux --since 1h -n 1000   one pool's last hour
  muster events 29679449526 -o json             one job, one JSON object a line";

pub(super) const TOP: &str = "\
Examples:
  muster top                                    watch; press ? for the keys
  muster top --pool linux                       one pool
  muster top --once                             print once, for a script";

pub(super) const HEALTH: &str = "\
Examples:
  muster health                                 for the health check of a container";

#[cfg(feature = "live")]
pub(super) const COST: &str = "\
Examples:
  muster cost --manifests my-cluster            the last seven days, by pool and repository
  muster cost --manifests my-cluster --since 30d --by day,market
  muster cost --manifests my-cluster --repo acme/web -o csv";

#[cfg(feature = "live")]
pub(super) const REPLAY: &str = "\
Examples:
  muster replay s3://my-bucket/record --at 2026-11-24T14:03 explain job/8123
  muster replay s3://my-bucket/record --at 2026-11-24T14:03 --listen 9091
  muster replay /var/lib/muster/record --check  what this muster decides otherwise
  muster replay /var/lib/muster/record --against my-cluster";

pub(super) const PAUSE: &str = "\
Examples:
  muster pause linux --reason \"AZ b is down\"    the pool launches nothing
  muster pause pool/linux --token-file ~/token  with the token of a file";

pub(super) const RESUME: &str = "\
Examples:
  muster resume linux                           the pool launches again";

pub(super) const DRAIN: &str = "\
Examples:
  muster drain i-0123456789abcdef0              one runner ends once it is idle
  muster drain pool/linux                       all runners that the pool has now";

pub(super) const RERUN: &str = "\
Examples:
  muster rerun 29679449526                      a job that went down with its machine
  muster rerun pool/linux                       all such jobs of the pool";

pub(super) const INIT: &str = "\
Examples:
  muster init                                   ask, and write the directory my-cluster
  muster init --org acme --region eu-west-1 --subnets subnet-0123456789abcdef0,subnet-0123456789abcdef1
  muster init --repo me/web                     for one repository, as of a personal account
  muster init --github-url https://github.example.com   with a GitHub Enterprise Server
  muster init --dir staging --cluster staging   another cluster beside it";

pub(super) const APP: &str = "\
Examples:
  muster app create --manifests manifests --cluster prod
  muster app create --org acme --keys ~/keys    without manifests
  muster app create --org acme --github-url https://github.example.com
  muster app link --org acme --with rerun       a link to GitHub's form, filled in";

pub(super) const APP_CREATE: &str = "\
Examples:
  muster app create --manifests manifests --cluster prod
  muster app create --org acme --keys ~/keys    without manifests";

pub(super) const APP_LINK: &str = "\
Examples:
  muster app link --org acme                    a link to GitHub's form, filled in
  muster app link --manifests manifests         with what the pools of these manifests need";

pub(super) const DEMO: &str = "\
Examples:
  muster demo                                   then open http://127.0.0.1:8080
  muster demo --port 9090 --speed 60            where the other commands look, an hour a minute";

pub(super) const SIM: &str = "\
Examples:
  muster sim                                    1000 seeds
  muster sim --seed 7 --trace                   one seed, with all that happens
  muster sim --example burst --crash-each       kill the controller after each effect";

pub(super) const SIMULATE: &str = "\
Examples:
  muster simulate my-cluster --trace jobs.csv
  muster simulate my-cluster --workload monday.yaml --html report.html
  muster simulate my-cluster --trace jobs.csv --compare other-cluster

docs/simulate.md says how to write jobs.csv with `gh api`.";

#[cfg(feature = "live")]
pub(super) const TUNE: &str = "\
Examples:
  muster tune my-cluster --trace jobs.csv --prices prices.yaml --goal 'p95 wait <= 30s'
  muster tune my-cluster --record s3://my-bucket/record --goal 'p90 wait <= 1m' --budget 40/day
  muster tune my-cluster --trace jobs.csv --goal 'p95 wait <= 30s' --write tuned

docs/tune.md says what is searched, and how far to believe the answer.";

pub(super) const VALIDATE: &str = "\
Examples:
  muster validate my-cluster                    a directory
  muster validate prod staging                  each by itself
  muster validate a.yaml b.yaml                 files, together
  muster validate - < pools.yaml                standard input
  muster validate manifests --cluster prod      a directory of the Terraform module
  muster validate s3://my-bucket/manifests      what a controller reads there
  muster validate my-cluster -o github          annotations for a pull request";

pub(super) const MATCH: &str = "\
Examples:
  muster match self-hosted linux x64 --manifests my-cluster
  muster match \"[self-hosted, linux, gpu]\" --repo acme/web --manifests my-cluster";

pub(super) const VERSION: &str = "\
Examples:
  muster version                                the same as muster --version";

pub(super) const COMPLETIONS: &str = "\
Examples:
  muster completions bash > ~/.local/share/bash-completion/completions/muster
  muster completions zsh > ~/.zfunc/_muster
  muster completions fish > ~/.config/fish/completions/muster.fish

Pools, jobs and runners are completed, too: the running controller that --controller or MUSTER_CONTROLLER names is asked.";

pub(super) const MAN: &str = "\
Examples:
  muster man ~/.local/share/man/man1            then: man muster-explain";

pub(super) const SCHEMA: &str = "\
Examples:
  muster schema RunnerPool > pool.schema.json";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::cli::Cli;

    /// The words of an example, as a shell reads them, up to a redirection. What stands behind two spaces is a comment.
    fn words(line: &str) -> Vec<String> {
        let line = line.trim().split("  ").next().unwrap_or_default();
        let line = line.split([" > ", " < "][usize::from(line.contains(" < "))]).next().unwrap_or_default();
        let mut parts = Vec::new();
        for (nth, part) in line.split(['"', '\'']).enumerate() {
            if nth % 2 == 1 { parts.push(part.to_owned()) } else { parts.extend(part.split_whitespace().map(str::to_owned)) }
        }
        parts
    }

    /// The command and all commands below it.
    fn all(command: clap::Command) -> Vec<clap::Command> {
        let below: Vec<clap::Command> = command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
        std::iter::once(command).chain(below.into_iter().flat_map(all)).collect()
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_understood() {
        let mut lines = 0;
        for command in all(Cli::command()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n"), "{} has no examples", command.get_name());
            for line in help.lines().filter(|line| line.starts_with("  muster ")) {
                lines += 1;
                let parsed = Cli::try_parse_from(words(line));
                assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
            }
        }
        assert!(lines > 40, "{lines}");
    }
}
