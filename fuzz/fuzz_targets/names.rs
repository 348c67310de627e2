//! Names and tags that others write: runners, scopes, lists, stages, durations, repositories.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_reconciler::ids::{ListId, RunnerName, Scope};
use muster_reconciler::manifest::{RunnerPool, Span};
use muster_reconciler::matching::repository_allowed;
use muster_reconciler::stage::Stage;

fuzz_target!(|text: &str| {
    if let Some(name) = RunnerName::parse_ours(text, "prod") {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(scope) = text.parse::<Scope>() {
        assert_eq!(scope.to_string().parse(), Ok(scope));
    }
    if let Some(list) = ListId::parse_tag(text) {
        assert_eq!(ListId::parse_tag(&list.as_tag()), Some(list));
    }
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
    assert!(Stage::parse_tag(text).len() <= Stage::ALL.len());
    let (pattern, repository) = text.split_once('\n').unwrap_or((text, text));
    let mut pool = RunnerPool::default();
    pool.spec.github.repositories = vec![pattern.into()];
    let allowed = repository_allowed(&pool, repository);
    assert!(allowed || pattern.contains('*') || !pattern.eq_ignore_ascii_case(repository));
});
