//! Metrics of a server, served by its operations API.

use super::Server;
use crate::web::operations::Prometheus;

impl Server {
    /// Serves these metrics in the operations API.
    #[must_use]
    pub fn metrics(self, recorded: Prometheus) -> Self {
        self.data(recorded)
    }
}
