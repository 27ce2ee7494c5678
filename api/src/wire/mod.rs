//! Bytes of the Kubernetes API's wire formats, turned into JSON values, and JSON answers turned into them. JSON itself is read in
//! [`crate::schema::reader`].

pub mod encoding;
pub mod protobuf;
mod reading;
mod scalars;
