//! A node as a discrete-event simulation: cores that serve one queue, a disk that flushes one batch
//! at a time with everything that waits in it, and arrivals at random moments.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};

/// Rates a second, times in microseconds.
pub(super) struct Node {
    pub(super) cores: usize,
    pub(super) messages: f64,
    pub(super) heartbeats: f64,
    pub(super) recipients: u32,
    pub(super) send_cpu: f64,
    pub(super) recipient_cpu: f64,
    pub(super) heartbeat_cpu: f64,
    pub(super) flush_p50: f64,
    pub(super) flush_p99: f64,
    /// Of CPU that something else takes, such as a load generator on the same machine; it queues as
    /// the node's own does, once for a message and once for each recipient.
    pub(super) beside_cpu: f64,
}

pub(super) struct Outcome {
    /// Milliseconds from the moment a message was due until a recipient has it.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Of all cores.
    pub(super) utilisation: f64,
    pub(super) flushes: f64,
    pub(super) deliveries: u64,
}

/// What runs on a core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// Of the message that was due then.
    Send {
        due: u64,
    },
    Deliver {
        due: u64,
    },
    Heartbeat,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Message,
    Heartbeat,
    Finished(Job),
    Flushed,
}

struct Simulation<'a> {
    node: &'a Node,
    random: StdRng,
    now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    sequence: u64,
    idle_cores: usize,
    queue: VecDeque<Job>,
    /// Submitted, and waiting for the disk; those that the disk is at.
    waiting: Vec<u64>,
    flushing: Vec<u64>,
    latencies: Vec<u64>,
    busy: f64,
    flushes: u64,
}

/// Runs the node for that many seconds of its own time.
pub(super) fn run(node: &Node, seconds: f64, seed: u64) -> Outcome {
    let mut simulation = Simulation {
        node,
        random: StdRng::seed_from_u64(seed),
        now: 0,
        agenda: BinaryHeap::new(),
        sequence: 0,
        idle_cores: node.cores,
        queue: VecDeque::new(),
        waiting: Vec::new(),
        flushing: Vec::new(),
        latencies: Vec::new(),
        busy: 0.0,
        flushes: 0,
    };
    simulation.arrive(node.messages, Happening::Message);
    simulation.arrive(node.heartbeats, Happening::Heartbeat);
    let end = (seconds * 1e6) as u64;
    while let Some(Reverse((at, _, happening))) = simulation.agenda.pop() {
        if at > end {
            break;
        }
        simulation.now = at;
        simulation.happen(happening);
    }
    simulation.outcome(seconds)
}

impl Simulation<'_> {
    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Message => {
                self.arrive(self.node.messages, Happening::Message);
                self.submit(Job::Send { due: self.now });
            }
            Happening::Heartbeat => {
                self.arrive(self.node.heartbeats, Happening::Heartbeat);
                self.submit(Job::Heartbeat);
            }
            Happening::Finished(job) => {
                self.idle_cores += 1;
                self.finished(job);
                if let Some(next) = self.queue.pop_front() {
                    self.start(next);
                }
            }
            Happening::Flushed => {
                for due in std::mem::take(&mut self.flushing) {
                    for _ in 0..self.node.recipients {
                        self.submit(Job::Deliver { due });
                    }
                }
                self.flush();
            }
        }
    }

    fn finished(&mut self, job: Job) {
        match job {
            Job::Send { due } => {
                self.waiting.push(due);
                if self.flushing.is_empty() {
                    self.flush();
                }
            }
            Job::Deliver { due } => self.latencies.push(self.now - due),
            Job::Heartbeat => {}
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        std::mem::swap(&mut self.waiting, &mut self.flushing);
        self.flushes += 1;
        let took = self.flush_time();
        self.schedule(took, Happening::Flushed);
    }

    /// Log-normal, as latencies of disks are, through the two measured points.
    fn flush_time(&mut self) -> f64 {
        /// The 99th percentile of the standard normal distribution.
        const NINETY_NINTH: f64 = 2.326;
        let (median, spread) =
            (self.node.flush_p50, (self.node.flush_p99 / self.node.flush_p50).ln() / NINETY_NINTH);
        // Box and Muller's way to a normal number.
        let (first, second) = (self.uniform(), self.uniform());
        let normal = (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos();
        median * (spread * normal).exp()
    }

    fn submit(&mut self, job: Job) {
        if self.idle_cores > 0 {
            self.start(job);
        } else {
            self.queue.push_back(job);
        }
    }

    fn start(&mut self, job: Job) {
        self.idle_cores -= 1;
        let took = match job {
            Job::Send { .. } => self.node.send_cpu + self.node.beside_cpu,
            Job::Deliver { .. } => self.node.recipient_cpu + self.node.beside_cpu,
            Job::Heartbeat => self.node.heartbeat_cpu,
        };
        self.busy += took;
        self.schedule(took, Happening::Finished(job));
    }

    /// The next of arrivals that do not know of each other.
    fn arrive(&mut self, rate: f64, happening: Happening) {
        if rate > 0.0 {
            let after = -self.uniform().ln() / rate * 1e6;
            self.schedule(after, happening);
        }
    }

    fn schedule(&mut self, after: f64, happening: Happening) {
        self.sequence += 1;
        let at = self.now + after.round().max(1.0) as u64;
        self.agenda.push(Reverse((at, self.sequence, happening)));
    }

    /// Above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        1.0 - uniform_of(&mut self.random)
    }

    fn outcome(mut self, seconds: f64) -> Outcome {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index).map_or(f64::NAN, |latency| *latency as f64 / 1000.0)
        };
        Outcome {
            p50: at(0.5),
            p99: at(0.99),
            utilisation: self.busy / (seconds * 1e6 * self.node.cores as f64),
            flushes: self.flushes as f64 / seconds,
            deliveries: self.latencies.len() as u64,
        }
    }
}

fn uniform_of(random: &mut impl Rng) -> f64 {
    random.random()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            cores: 2,
            messages: 100.0,
            heartbeats: 1000.0,
            recipients: 2,
            send_cpu: 100.0,
            recipient_cpu: 10.0,
            heartbeat_cpu: 2.0,
            flush_p50: 1000.0,
            flush_p99: 1000.0,
            beside_cpu: 0.0,
        }
    }

    #[test]
    fn a_quiet_node_takes_what_its_parts_take() {
        let outcome = run(&node(), 60.0, 7);
        // Both recipients at once, since there are two cores; half of the messages wait for a flush
        // that has begun only where another is under way, which at 100/s is one in ten.
        assert!((1.11..1.3).contains(&outcome.p50), "{}", outcome.p50);
        let expected = (100.0 * 120.0 + 1000.0 * 2.0) / 2e6;
        assert!((outcome.utilisation / expected - 1.0).abs() < 0.05, "{}", outcome.utilisation);
        assert!((10_000..14_000).contains(&outcome.deliveries), "{}", outcome.deliveries);
    }

    #[test]
    fn a_busy_disk_is_shared() {
        let outcome = run(&Node { messages: 5000.0, ..node() }, 20.0, 7);
        assert!(outcome.flushes < 1001.0, "{}", outcome.flushes);
        assert!(outcome.p50 < 3.0, "{}", outcome.p50);
    }

    #[test]
    fn beyond_its_cores_it_falls_behind() {
        let outcome = run(&Node { messages: 30_000.0, ..node() }, 5.0, 7);
        assert!(outcome.p99 > 500.0, "{}", outcome.p99);
    }

    #[test]
    fn a_seed_is_a_history() {
        let (one, other) = (run(&node(), 10.0, 7), run(&node(), 10.0, 7));
        assert_eq!((one.deliveries, one.p99.to_bits()), (other.deliveries, other.p99.to_bits()));
        assert_ne!(one.deliveries, run(&node(), 10.0, 8).deliveries);
    }
}
