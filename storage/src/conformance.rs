//! The suite that every engine passes: what the contract promises, checked from outside.
//!
//! Each check takes the configuration of an empty place and panics with what it found. An engine
//! runs all of them with [`conformance!`](crate::conformance!).

pub mod commits;
pub mod consuming;
pub mod following;
pub mod opening;
pub mod rows;

use serde::{Deserialize, Serialize};

use crate::{
    batch::Batch,
    log::Fact,
    record::{First, Versioned},
    store::{Config, Store},
    table::Table,
};

/// Defines a module with one test per check. `conformance!(fjall, configure)` takes a function from
/// a path to a [`Config`].
///
/// The caller has `tokio` and `tempfile` among its dependencies. Put `forgetful` before the name of
/// an engine whose data ends with the process.
#[macro_export]
macro_rules! conformance {
    (forgetful $engine:ident, $config:ident) => {
        mod $engine {
            use super::$config;

            $crate::conformance!(@rows $config);
            $crate::conformance!(@commits $config);
            $crate::conformance!(@following $config);
        }
    };
    ($engine:ident, $config:ident) => {
        mod $engine {
            use super::$config;

            $crate::conformance!(@rows $config);
            $crate::conformance!(@commits $config);
            $crate::conformance!(@following $config);
            $crate::conformance!(@consuming $config);
            $crate::conformance!(@opening $config);
        }
    };
    (@rows $config:ident) => {
        $crate::conformance!(@tests rows $config;
            a_row_is_read_back
            ranges_are_what_they_say
            the_order_is_the_logical_order
            random_histories_match_a_model
            large_values_are_whole
            keys_may_hold_anything
            a_key_that_is_too_long_is_refused
            a_table_may_have_one_row
            partitions_do_not_mix
        );
    };
    (@commits $config:ident) => {
        $crate::conformance!(@tests commits $config;
            a_batch_is_applied_whole
            the_last_write_of_a_row_wins
            a_batch_whose_condition_fails_leaves_nothing
            one_of_many_wins
            conditions_see_earlier_batches
            the_latest_row_is_seen_before_its_flush
            a_barrier_waits_for_what_was_submitted
            a_snapshot_does_not_change
            a_closed_store_refuses_writes_and_reads_on
        );
    };
    (@following $config:ident) => {
        $crate::conformance!(@tests following $config;
            positions_are_consecutive
            a_follower_sees_each_fact_once
            a_slow_follower_misses_nothing
            a_follower_starts_anywhere
            followers_end_with_the_store
            nothing_is_shown_before_it_is_durable
        );
    };
    (@consuming $config:ident) => {
        $crate::conformance!(@tests consuming $config;
            a_consumer_goes_on_where_it_was
            a_consumer_that_only_began_misses_nothing
            a_consumer_that_only_reads_comes_on
            nobody_waits_for_who_is_not_there
            the_log_is_pruned_as_it_is_followed
            what_everybody_is_past_is_pruned
        );
    };
    (@opening $config:ident) => {
        $crate::conformance!(@tests opening $config;
            everything_is_there_after_reopening
            a_position_is_never_given_out_twice
            a_pruned_log_keeps_its_position
            a_directory_in_use_is_refused
            an_unknown_schema_is_refused
            another_engine_is_refused
            missing_data_is_noticed
            destroyed_files_are_an_error
            a_moved_store_is_the_same
            files_move_with_their_store
            a_damaged_dump_is_refused
            a_restore_needs_an_empty_place
            verification_reads_every_row
        );
    };
    (@tests $module:ident $config:ident; $($check:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let place = ::tempfile::tempdir().expect("a temporary directory");
            $crate::conformance::$module::$check($config(place.path().join("store"))).await;
        }
    )*};
}

/// A table with every kind of key component.
pub struct Things;

impl Table for Things {
    const NAME: &'static str = "conformance_things";
    type Partition = String;
    type Sort = (u64, Vec<u8>);
    type Value = Thing;
}

/// A table whose submitted rows can be read before they are durable.
pub struct Heads;

impl Table for Heads {
    const NAME: &'static str = "conformance_heads";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = Thing;
}

/// A table of a single row.
pub struct Single;

impl Table for Single {
    const NAME: &'static str = "conformance_single";
    type Partition = ();
    type Sort = ();
    type Value = Thing;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    pub text: String,
}

impl Versioned for Thing {
    const VERSION: u8 = 1;
    type Previous = First;
}

fn thing(text: impl Into<String>) -> Thing {
    Thing { text: text.into() }
}

fn fact(subject: &str) -> Fact {
    Fact { stream: 250, subject: subject.into(), payload: bytes::Bytes::from_static(b"payload") }
}

fn open(config: &Config) -> Store {
    Store::open(config, 1).expect("an empty place can be opened")
}

async fn put(store: &Store, partition: &str, sort: (u64, &[u8]), text: &str) {
    let mut batch = Batch::new();
    batch.put::<Things>(partition, sort, &thing(text));
    store.commit(batch).await.expect("the batch is applied");
}
