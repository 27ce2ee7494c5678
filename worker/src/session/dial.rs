//! How a controller is reached.

use std::time::Duration;

use kontiki_pki::{DialOptions, Dialer};
use rustls_pki_types::ServerName;
use tonic::transport::Channel;

/// How a controller is reached.
pub trait Dial: Send + Sync + 'static {
    /// A fresh connection to `host:port`.
    fn channel(&self, address: &str) -> Channel;
}

/// By TLS, with the worker's certificate, trusting the cluster's controllers only.
pub struct ControllerDial {
    dialer: Dialer,
    name: ServerName<'static>,
}

impl ControllerDial {
    /// Dials whoever proves to be `name`.
    pub fn new(dialer: Dialer, name: ServerName<'static>) -> ControllerDial {
        ControllerDial { dialer, name }
    }
}

impl Dial for ControllerDial {
    fn channel(&self, address: &str) -> Channel {
        let options = DialOptions {
            // Another controller is worth more than this one's patience.
            connect_timeout: Duration::from_millis(1000),
            ..DialOptions::default()
        };
        self.dialer.channel(address, self.name.clone(), options)
    }
}
