//! Bytes of the Kubernetes API's wire formats, turned into JSON values. JSON itself is read in
//! [`crate::schema::reader`]; answers are always JSON, so nothing here encodes.

pub mod protobuf;
mod reading;
mod scalars;
