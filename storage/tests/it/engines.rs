//! Every engine passes the conformance suite.

use std::path::PathBuf;

use storage::{Config, EngineKind};

fn memory_config(_path: PathBuf) -> Config {
    Config::memory()
}

fn fjall_config(path: PathBuf) -> Config {
    on_disk(EngineKind::Fjall, path)
}

fn sled_config(path: PathBuf) -> Config {
    on_disk(EngineKind::Sled, path)
}

/// Tests run on whatever disk there is.
fn on_disk(engine: EngineKind, path: PathBuf) -> Config {
    Config { ballast_bytes: 0, low_water_bytes: 0, ..Config::at(engine, path) }
}

storage::conformance!(forgetful memory, memory_config);
storage::conformance!(fjall, fjall_config);
storage::conformance!(sled, sled_config);
