//! The agent inside another process, which has the streams of its clients and decides about its life.

use std::{fmt, io, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{server::Agent, session};
use crate::{
    enforcer::{EnforceError, Enforcer},
    links::LinkError,
    protocol::Configure,
};

/// One agent. Clones are the same agent.
#[derive(Clone)]
pub struct Host {
    agent: Arc<Agent>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// An agent that serves no run yet. `open` makes the enforcer when a client has told it the run.
    pub fn new(
        open: impl Fn(&Configure) -> Result<Box<dyn Enforcer>, EnforceError> + Send + Sync + 'static,
    ) -> Self {
        #[cfg(feature = "sabotage")]
        let open = {
            let sabotage = super::sabotage::Sabotage::from_environment();
            move |configure: &Configure| Ok(super::sabotage::wrap(open(configure)?, sabotage))
        };
        Self {
            agent: Arc::new(Agent::new(Box::new(open))),
        }
    }

    /// Serves one client, as [`protocol`](crate::protocol) says, until its stream ends in either direction. Dropping the
    /// future ends the session.
    ///
    /// # Errors
    /// When the stream broke, or the client sent what is no request. Other clients do not notice.
    pub fn attend(
        &self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        session::serve(Arc::clone(&self.agent), reader, writer)
    }

    /// Undoes all cuts and makes sure that nothing is left; nothing to undo is no failure.
    ///
    /// # Errors
    /// When something is left in the kernel.
    pub fn clear(&self) -> Result<(), LinkError> {
        self.agent.clear()
    }
}
