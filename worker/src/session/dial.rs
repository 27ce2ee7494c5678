//! How a controller is reached.

use std::time::Duration;

use kontiki_pki::{DialOptions, Dialer};
use rustls_pki_types::ServerName;
use tonic::transport::Channel;

/// How a controller is reached.
pub trait Dial: Send + Sync + 'static {
    /// A fresh connection to `host:port`, which is given up if it takes longer than this to come about.
    fn channel(&self, address: &str, patience: Duration) -> Channel;

    /// The same for a stream of bytes, which has the connection for itself.
    fn bulk(&self, address: &str, patience: Duration) -> Channel {
        self.channel(address, patience)
    }
}

/// Between two questions of HTTP/2 whether the other end is there, and how long it may take to answer. A leader that is silent is noticed by its
/// session, long before; one that has too much to do answers late, and it must not have to welcome everybody anew for that.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// By TLS, with the worker's certificate, trusting the cluster's controllers only.
pub struct ControllerDial {
    dialer: Dialer,
    bulk: Dialer,
    name: ServerName<'static>,
}

impl ControllerDial {
    /// Dials whoever proves to be `name`.
    pub fn new(dialer: Dialer, name: ServerName<'static>) -> ControllerDial {
        ControllerDial { bulk: dialer.for_bulk(), dialer, name }
    }

    fn by(&self, dialer: &Dialer, address: &str, patience: Duration) -> Channel {
        let options = DialOptions {
            connect_timeout: patience,
            keepalive_interval: ASK_EVERY,
            keepalive_timeout: ANSWER_WITHIN,
        };
        dialer.channel(address, self.name.clone(), options)
    }
}

impl Dial for ControllerDial {
    fn channel(&self, address: &str, patience: Duration) -> Channel {
        self.by(&self.dialer, address, patience)
    }

    fn bulk(&self, address: &str, patience: Duration) -> Channel {
        self.by(&self.bulk, address, patience)
    }
}
