//! A region that ends in good order leaves its directory to the next one.

use meridian::{Config, Parts, Region};
use stdx::{ManualClock, Rng};
use storage::{EngineKind, Store};

use crate::server::START_MS;

/// While anything still holds the store, its engine does not write out what makes the next start
/// quick, and the directory stays locked.
#[tokio::test]
async fn nothing_holds_the_store_of_a_region_that_was_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let stored = storage::Config::at(EngineKind::Fjall, directory.path().join("store"));
    let config = Config::parse("server_name = \"x.test\"\n").expect("the configuration is valid");
    for start in 1..=2 {
        let store = Store::open(&stored, start).unwrap_or_else(|error| panic!("{start}: {error}"));
        let (clock, rng) = (ManualClock::new(START_MS), Rng::from_seed(start));
        let region = Region::build(&config, Parts { store, clock, rng }, None).await;
        region.expect("the region starts").close().await;
    }
}
