//! One delivery from raw bytes to the queue's message: verify, parse, route, encode. The target is 60 µs for 12 KB.
#![expect(missing_docs, reason = "criterion_group! makes a public function without a doc")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster_message::delivery::{Acceptance, Delivery, judge};
use muster_message::keyring::Keyring;
use muster_message::signature::sign;
use muster_reconciler::ids::Scope;
use muster_reconciler::manifest::{RunnerPool, Spec};
use secrecy::SecretString;

const BODY: &[u8] = include_bytes!("../tests/github/payloads/workflow_job.queued.2.json");

/// Twenty pools, of which the last one in order takes the job.
fn spec() -> Spec {
    let pool = |n: u32| {
        let mut pool = RunnerPool::default();
        pool.metadata.name = format!("pool-{n:02}");
        pool.spec.github.scope = Scope::Repo("lineville".into(), "elastic-machines-testing".into());
        pool.spec.labels = vec!["self-hosted".into(), "linux".into(), if n == 19 { "k8s".into() } else { format!("kind-{n}") }];
        (pool.metadata.name.as_str().into(), pool)
    };
    Spec { pools: (0..20).map(pool).collect(), ..Spec::default() }
}

fn webhook(c: &mut Criterion) {
    let secrets = ["new secret", "old secret"].map(SecretString::from);
    let (spec, keyring) = (spec(), Keyring::new([("".into(), secrets.to_vec())]));
    let mut group = c.benchmark_group("webhook");
    group.throughput(Throughput::Bytes(BODY.len() as u64));
    for (name, signer) in [("verify+parse+route 13 KB", &secrets[0]), ("the same during a secret's rotation", &secrets[1])] {
        let signature = sign(signer, BODY);
        let delivery = Delivery { signature: Some(&signature), event: Some("workflow_job"), content_type: None, body: BODY };
        assert!(matches!(judge(&spec, &keyring, &delivery), Acceptance::Queue { .. }), "the payload is one that is taken");
        group.bench_function(name, |b| b.iter(|| judge(black_box(&spec), &keyring, black_box(&delivery))));
    }
    group.finish();
}

criterion_group!(benches, webhook);
criterion_main!(benches);
