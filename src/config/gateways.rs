//! `[gateways]`.

use std::path::PathBuf;

use super::{Config, section::section};

section! {
    /// Processes that hold the clients' connections, for more of them than one process may have
    /// open. See docs/gateways.md.
    pub struct Gateways {
        /// How many this process starts. They listen in its place; with 0 it listens itself.
        processes: u16 = 0,
        /// The socket at which this process is reached by gateways that something else starts (`meridian
        /// gateway`). Left out, only those of `processes` are served, at a socket in the data
        /// directory.
        socket: Option<PathBuf> = None,
        /// The address on which gateways listen, if it is not `listen`.
        listen: Option<String> = None,
    }
}

impl Config {
    /// Where gateways reach the region's process, if there are any.
    pub(crate) fn gateway_socket(&self) -> Option<PathBuf> {
        let section = &self.gateways;
        let default = || (section.processes > 0).then(|| self.data_dir.join("gateway.sock"));
        section.socket.clone().or_else(default)
    }

    /// The address on which gateways listen.
    pub(crate) fn gateway_listen(&self) -> &str {
        self.gateways.listen.as_deref().unwrap_or(&self.listen)
    }
}
