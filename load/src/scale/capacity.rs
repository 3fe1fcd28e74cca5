//! The capacity model: plain arithmetic over the system's figures, assumptions with names, and what
//! was measured.

use super::Measured;

/// What the system is drawn for. Rates are those of the peak.
pub(super) struct Demand {
    pub(super) daily_users: f64,
    pub(super) connections: f64,
    pub(super) messages: f64,
    pub(super) messages_a_day: f64,
    pub(super) heartbeats: f64,
}

pub(super) const SYSTEM: Demand = Demand {
    daily_users: 100e6,
    connections: 10e6,
    messages: 35e3,
    messages_a_day: 1e9,
    heartbeats: 3.3e6,
};

pub(super) const REGIONS: f64 = 20.0;

impl Demand {
    /// The same with everything that many times.
    pub(super) fn times(&self, share: f64) -> Self {
        Self {
            daily_users: self.daily_users * share,
            connections: self.connections * share,
            messages: self.messages * share,
            messages_a_day: self.messages_a_day * share,
            heartbeats: self.heartbeats * share,
        }
    }
}

/// What was not measured and had to be assumed; each is on the page.
pub(super) struct Assumed {
    /// Connected recipients of a message, in the mean.
    pub(super) recipients: f64,
    /// Other regions that have members in a message's room, in the mean.
    pub(super) other_regions: f64,
    /// Bytes of an event on the wire between regions, with its share of a transaction's frame.
    pub(super) event_wire: f64,
    /// Of a node's cores; the rest is for peaks, restarts and compaction.
    pub(super) utilisation: f64,
    /// Copies of each byte on disk.
    pub(super) copies: f64,
    pub(super) node: Node,
}

pub(super) struct Node {
    pub(super) cores: f64,
    pub(super) memory: f64,
    pub(super) disk: f64,
    /// Bytes a second.
    pub(super) network: f64,
}

pub(super) const ASSUMED: Assumed = Assumed {
    recipients: 10.0,
    other_regions: 1.0,
    event_wire: 1024.0,
    utilisation: 0.5,
    copies: 3.0,
    node: Node { cores: 16.0, memory: 64.0 * GIB, disk: 4e12, network: 1.25e9 },
};

pub(super) const GIB: f64 = (1_u64 << 30) as f64;
const DAYS: f64 = 365.0;

/// What a part of the system needs.
pub(super) struct Need {
    pub(super) cores_messages: f64,
    pub(super) cores_deliveries: f64,
    pub(super) cores_heartbeats: f64,
    pub(super) memory: f64,
    /// Bytes that a year adds, all copies.
    pub(super) disk_year: f64,
    /// Bytes a second to other regions.
    pub(super) cross_region: f64,
    /// Seconds of a core until everybody is back who was cut off at once.
    pub(super) return_seconds: f64,
}

impl Need {
    pub(super) fn of(demand: &Demand, measured: &Measured, assumed: &Assumed) -> Self {
        let cores = |rate: f64, microseconds: f64| rate * microseconds / 1e6;
        Self {
            // The event is taken in by each other region too, at about what it costs to send.
            cores_messages: cores(
                demand.messages * (1.0 + assumed.other_regions),
                measured.send_cpu,
            ),
            cores_deliveries: cores(demand.messages * assumed.recipients, measured.recipient_cpu),
            cores_heartbeats: cores(demand.heartbeats, measured.heartbeat_cpu),
            memory: demand.connections * measured.socket_memory,
            disk_year: demand.messages_a_day
                * DAYS
                * measured.event_disk
                * (1.0 + assumed.other_regions)
                * assumed.copies,
            cross_region: demand.messages * assumed.other_regions * assumed.event_wire,
            return_seconds: cores(demand.connections, measured.return_cpu),
        }
    }

    pub(super) fn cores(&self) -> f64 {
        self.cores_messages + self.cores_deliveries + self.cores_heartbeats
    }

    /// How many nodes each resource asks for, by name; the largest fails first.
    pub(super) fn nodes(&self, assumed: &Assumed) -> [(&'static str, f64); 4] {
        let node = &assumed.node;
        [
            ("CPU", self.cores() / (node.cores * assumed.utilisation)),
            ("memory of connections", self.memory / (node.memory * assumed.utilisation)),
            ("disk, a year's events", self.disk_year / node.disk),
            ("network to other regions", self.cross_region / (node.network * assumed.utilisation)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            send_cpu: 100.0,
            message_cpu: 300.0,
            recipient_cpu: 10.0,
            heartbeat_cpu: 2.0,
            return_cpu: 200.0,
            socket_memory: 2000.0,
            event_disk: 1000.0,
            flush_p50: 1.0,
            flush_p99: 2.0,
            delivery_p50: 2.0,
            delivery_p99: 4.0,
        }
    }

    #[test]
    fn twice_the_demand_needs_twice_as_much() {
        let one = Need::of(&SYSTEM, &measured(), &ASSUMED);
        let two = Need::of(&SYSTEM.times(2.0), &measured(), &ASSUMED);
        assert!((two.cores() / one.cores() - 2.0).abs() < 1e-9);
        assert!((two.disk_year / one.disk_year - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_arithmetic_is_that_of_an_envelope() {
        let need = Need::of(&SYSTEM, &measured(), &ASSUMED);
        // 35,000/s in two regions each, 100 us; 350,000 deliveries of 10 us; 3.3 M beats of 2 us.
        assert!((need.cores() - (7.0 + 3.5 + 6.6)).abs() < 1e-9, "{}", need.cores());
        assert!((need.memory - 20e9).abs() < 1.0);
    }
}
