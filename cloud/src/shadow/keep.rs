//! Writes down what a shadow sees: a part for each minute. A message leaves the queue once its line is kept.

use muster_operations::record::{PartName, pack};
use muster_operations::shadow::ShadowLine;
use muster_reconciler::time::Time;

use super::queue::OwnQueue;
use crate::record::RecordPlace;

/// Keeps the lines of one process.
#[derive(Debug)]
pub struct ShadowKeeper {
    place: RecordPlace,
    queue: Option<OwnQueue>,
    next: PartName,
    lines: Vec<u8>,
    receipts: Vec<String>,
}

impl ShadowKeeper {
    /// The record of a process that begins now.
    pub fn new(place: RecordPlace, queue: Option<OwnQueue>, cluster: &str, process: &str, now: Time) -> ShadowKeeper {
        let next = PartName { cluster: cluster.to_owned(), at: now, process: process.to_owned(), number: 0, begins: true };
        ShadowKeeper { place, queue, next, lines: Vec::new(), receipts: Vec::new() }
    }

    /// Takes in a line, and the receipt of the message that it came with.
    pub fn add(&mut self, line: &ShadowLine, receipt: Option<String>) {
        self.lines.extend_from_slice(line.write().as_bytes());
        self.lines.push(b'\n');
        self.receipts.extend(receipt);
    }

    /// Keeps the lines so far. Lines that cannot be kept stay, and their messages come back to the queue meanwhile.
    ///
    /// # Errors
    /// When the place does not take them.
    pub async fn keep(&mut self, now: Time) -> anyhow::Result<()> {
        if !self.lines.is_empty() {
            let lines = self.lines.clone();
            let packed = tokio::task::spawn_blocking(move || pack(&lines)).await?;
            self.place.write(&self.next, packed).await?;
            self.lines.clear();
            self.next = PartName { at: now, number: self.next.number + 1, begins: false, ..self.next.clone() };
        }
        let receipts = std::mem::take(&mut self.receipts);
        if let Some(queue) = self.queue.as_ref().filter(|_| !receipts.is_empty()) {
            queue.delete(&receipts).await;
        }
        Ok(())
    }
}
