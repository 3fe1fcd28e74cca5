//! What happens by the clock, for all sockets in one place: none of them has a timer.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::link::Link;

const SECOND: Duration = Duration::from_secs(1);
/// While a link runs out it is looked at more often.
const LEAVING: Duration = Duration::from_millis(20);

/// Each second: pings those whose turn it is, gives up those whose time is over, tells the core
/// who was there.
pub(crate) async fn run(link: &Link) {
    let mut interval = interval(SECOND);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once.
    interval.tick().await;
    loop {
        interval.tick().await;
        let second = link.next_second();
        for socket in link.to_be_pinged(second) {
            socket.ping();
        }
        give_up_overdue(link);
        link.tell_beats();
    }
}

/// Waits for the last socket of a link that has ended.
pub(crate) async fn run_out(link: &Link) {
    let mut interval = interval(LEAVING);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks: u32 = 0;
    while link.count() > 0 {
        interval.tick().await;
        ticks += 1;
        if ticks.is_multiple_of(50) {
            link.next_second();
            give_up_overdue(link);
        }
    }
}

fn give_up_overdue(link: &Link) {
    for number in link.overdue() {
        if let Some(socket) = link.socket(number) {
            socket.give_up();
        }
    }
}
