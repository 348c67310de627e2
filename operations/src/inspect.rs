//! Questions to the task that runs the core. The core is not shared: the driver (or the demo) answers between two steps.
//!
//! Orders, and the question whether the controller is ready, have a lane of their own. They never wait behind somebody who looks.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::ids::{JobId, ListId};
use muster_reconciler::reason::{OrderAnswer, OrderRefusal, Unready};
use muster_reconciler::steer::Order;
use muster_reconciler::time::Time;
use muster_reconciler::view::{EventView, Explanation, JobView, PoolView, RunnerView, Snapshot, Totals};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::subject::Subject;

/// How long an answer may take. A step takes milliseconds, so a core that takes longer is in trouble.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// How many questions may wait in each lane. If this many wait, nobody answers.
const WAITING: usize = 64;

/// A question, with the channel for its answer. A question that is dropped tells its sender that there will be no answer.
#[derive(Debug)]
pub enum Query {
    /// Every pool.
    Pools(oneshot::Sender<Vec<PoolView>>),
    /// Every job.
    Jobs(oneshot::Sender<Vec<JobView>>),
    /// Every runner.
    Runners(oneshot::Sender<Vec<RunnerView>>),
    /// Everything at one moment.
    Snapshot(oneshot::Sender<Snapshot>),
    /// The events after this number, oldest first, at most this many; and the number of the last event.
    Events(u64, usize, oneshot::Sender<(Vec<EventView>, u64)>),
    /// Everything that there is to say of one thing. The answer is None if the thing is unknown.
    Explain(Subject, oneshot::Sender<Option<Explanation>>),
    /// An operator's order. The answer says what came of it.
    Order(Order, oneshot::Sender<Result<OrderAnswer, OrderRefusal>>),
    /// The numbers for the metrics.
    Totals(oneshot::Sender<Totals>),
    /// The versions of the runner program that the pools run, by list.
    Versions(oneshot::Sender<BTreeSet<(ListId, String)>>),
    /// Whether the controller can do its work; if not, what is missing.
    Ready(oneshot::Sender<Result<(), Unready>>),
}

/// What came of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What came of the order, in one sentence.
    pub said: String,
    /// The same in one word for programs ([`OrderAnswer::WORDS`]). Empty: the other process is older than these words.
    #[serde(default)]
    pub reason_word: String,
    /// Why the order would not survive a restart, although it holds now. None: it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Why there is no answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// There was no answer within [`DEADLINE`].
    #[error("the controller did not answer within {DEADLINE:?}; it is overloaded or stuck")]
    Slow,
    /// The core has ended, or is about to.
    #[error("the controller is stopping")]
    Gone,
}

impl Query {
    /// Whether the question has the lane of orders and health.
    const fn is_urgent(&self) -> bool {
        matches!(self, Query::Order(..) | Query::Ready(_))
    }
}

/// A handle for questions. All clones ask the same core.
#[derive(Clone, Debug)]
pub struct Inspect {
    urgent: mpsc::Sender<Query>,
    looks: mpsc::Sender<Query>,
}

/// The questions that wait for an answer.
#[derive(Debug)]
pub struct Questions {
    urgent: mpsc::Receiver<Query>,
    looks: mpsc::Receiver<Query>,
}

impl Questions {
    /// Waits for the next question: an order or a question for health, if there is one. None: nobody can ask any more.
    pub async fn recv(&mut self) -> Option<Query> {
        tokio::select! {
            biased;
            Some(query) = self.urgent.recv() => Some(query),
            Some(query) = self.looks.recv() => Some(query),
            else => None,
        }
    }

    /// An order or a question for health, if one waits at this moment.
    pub fn urgent(&mut self) -> Option<Query> {
        self.urgent.try_recv().ok()
    }
}

impl Inspect {
    /// Makes a handle, and the receiver of the questions that are asked with it.
    pub fn new() -> (Inspect, Questions) {
        let ((ask_urgently, urgent), (look, looks)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        (Inspect { urgent: ask_urgently, looks: look }, Questions { urgent, looks })
    }

    /// Every pool, with its reason.
    pub async fn pools(&self) -> Result<Vec<PoolView>, Unanswered> {
        self.ask(Query::Pools).await
    }

    /// Every job, with its reason.
    pub async fn jobs(&self) -> Result<Vec<JobView>, Unanswered> {
        self.ask(Query::Jobs).await
    }

    /// Every runner, with its reason.
    pub async fn runners(&self) -> Result<Vec<RunnerView>, Unanswered> {
        self.ask(Query::Runners).await
    }

    /// Everything at one moment.
    pub async fn snapshot(&self) -> Result<Snapshot, Unanswered> {
        self.ask(Query::Snapshot).await
    }

    /// The events after `after`, oldest first, at most `limit`; and the number of the last event.
    pub async fn events(&self, after: u64, limit: usize) -> Result<(Vec<EventView>, u64), Unanswered> {
        self.ask(|to| Query::Events(after, limit, to)).await
    }

    /// Everything that there is to say of one thing. None: the thing is unknown.
    pub async fn explain(&self, subject: Subject) -> Result<Option<Explanation>, Unanswered> {
        self.ask(|to| Query::Explain(subject, to)).await
    }

    /// Gives an order. The answer says what came of it, or why the core refuses it.
    pub async fn order(&self, order: Order) -> Result<Result<OrderAnswer, OrderRefusal>, Unanswered> {
        self.ask(|to| Query::Order(order, to)).await
    }

    /// The numbers for the metrics.
    pub async fn totals(&self) -> Result<Totals, Unanswered> {
        self.ask(Query::Totals).await
    }

    /// The versions of the runner program that the pools run, by list.
    pub async fn versions(&self) -> Result<BTreeSet<(ListId, String)>, Unanswered> {
        self.ask(Query::Versions).await
    }

    /// Whether the controller can do its work; if not, what is missing.
    pub async fn ready(&self) -> Result<Result<(), Unready>, Unanswered> {
        self.ask(Query::Ready).await
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let both = async {
            let query = query(answer);
            let lane = if query.is_urgent() { &self.urgent } else { &self.looks };
            lane.send(query).await.map_err(|_| Unanswered::Gone)?;
            answered.await.map_err(|_| Unanswered::Gone)
        };
        timeout(DEADLINE, both).await.unwrap_or(Err(Unanswered::Slow))
    }
}

/// Answers one question from `controller`. It does not matter if the asker has gone away meanwhile.
pub fn answer(controller: &mut Controller, query: Query, now: Time) {
    match query {
        Query::Pools(to) => drop(to.send(controller.seen().pools(now))),
        Query::Jobs(to) => drop(to.send(controller.seen().jobs(now))),
        Query::Runners(to) => drop(to.send(controller.seen().runners(now))),
        Query::Snapshot(to) => drop(to.send(controller.seen().snapshot(now))),
        Query::Events(after, limit, to) => {
            drop(to.send((controller.seen().events(after, limit), controller.seen().last_event())))
        }
        Query::Explain(subject, to) => drop(to.send(match subject {
            Subject::Job(id) => controller.seen().explain_job(JobId(id), now),
            Subject::Runner(id) => controller.seen().explain_runner(&id.into(), now),
            Subject::Pool(name) => controller.seen().explain_pool(&name.into(), now),
        })),
        // The operator was told that nobody answered. The order must not be carried out all the same, because it would not
        // be kept.
        Query::Order(_, to) if to.is_closed() => {}
        Query::Order(order, to) => drop(to.send(controller.order(&order, now))),
        Query::Totals(to) => drop(to.send(controller.seen().totals(now))),
        Query::Versions(to) => drop(to.send(controller.seen().versions_in_use())),
        Query::Ready(to) => drop(to.send(controller.ready())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_from_absence() {
        let (inspect, questions) = Inspect::new();
        assert_eq!(inspect.pools().await, Err(Unanswered::Slow));
        drop(questions);
        assert_eq!(inspect.pools().await, Err(Unanswered::Gone));
    }

    #[tokio::test]
    async fn answers_come_back() {
        let (inspect, mut questions) = Inspect::new();
        tokio::spawn(async move {
            while let Some(query) = questions.recv().await {
                if let Query::Ready(answer) = query {
                    let _ = answer.send(Err(Unready::NotSwept));
                }
            }
        });
        assert_eq!(inspect.ready().await, Ok(Err(Unready::NotSwept)));
        assert_eq!(inspect.totals().await, Err(Unanswered::Gone), "a dropped question gets this answer");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_waits_behind_nobody_who_looks() {
        let (inspect, mut questions) = Inspect::new();
        let crowd: Vec<_> = (0..200)
            .map(|_| {
                let inspect = inspect.clone();
                tokio::spawn(async move { inspect.jobs().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let order = tokio::spawn(async move { inspect.order(Order::Resume("linux".into())).await });
        while questions.urgent.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(questions.looks.len() >= WAITING, "the lane of those who look is full: {}", questions.looks.len());
        let Some(Query::Order(_, to)) = questions.recv().await else { panic!("the order is answered first") };
        to.send(Ok(OrderAnswer::NotPaused("linux".into()))).expect("somebody waits");
        assert_eq!(order.await.expect("ran"), Ok(Ok(OrderAnswer::NotPaused("linux".into()))));
        assert!(questions.urgent().is_none(), "a look is not urgent");
        assert!(matches!(questions.recv().await, Some(Query::Jobs(_))));
        drop(questions);
        for look in crowd {
            assert_eq!(look.await.expect("ran"), Err(Unanswered::Gone));
        }
    }
}
