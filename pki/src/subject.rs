//! Whom a certificate is for, and how that is written into it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType,
};

use crate::{Error, names};

/// Whom a certificate is for. It decides everything in the certificate; a signing request gives only the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One of the controllers.
    Controller {
        /// Its id in the consensus.
        id: u64,
        /// Its name.
        name: String,
        /// IP addresses and DNS names by which people and `kubectl` reach it.
        addresses: Vec<String>,
    },
    /// A machine that runs pods. Its certificate carries no address: nothing dials a worker by address, and an address
    /// in it would let a stolen worker key play the API server for `kubectl`.
    Worker {
        /// The node's name.
        name: String,
    },
    /// A person or a program that uses the API.
    User {
        /// The user name.
        name: String,
        /// The groups that it is in.
        groups: Vec<String>,
    },
}

impl Subject {
    /// The certificate's content for this subject, but for its validity and serial number.
    pub(crate) fn params(&self, cluster: &str) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::default();
        let (common_name, organization, uri) = match self {
            Subject::Controller { id, name, addresses } => {
                names::check_name("controller name", name)?;
                params.subject_alt_names = controller_names(cluster, *id, addresses)?;
                let uri = format!("kontiki://{cluster}/controller/{id}/{}", names::escape(name));
                (format!("system:controller:{name}"), Some("system:controllers"), uri)
            }
            Subject::Worker { name } => {
                names::check_name("node name", name)?;
                params.subject_alt_names = vec![dns(&names::worker(cluster, name))?];
                let uri = format!("kontiki://{cluster}/worker/{}", names::escape(name));
                (format!("system:node:{name}"), Some("system:nodes"), uri)
            }
            Subject::User { name, groups } => {
                names::check_text("user name", name)?;
                for group in groups {
                    names::check_text("group", group)?;
                }
                let uri = format!("kontiki://{cluster}/user/{}", names::escape(name));
                (name.clone(), groups.first().map(String::as_str), uri)
            }
        };
        params.subject_alt_names.push(SanType::URI(ia5(&uri)?));
        // The certificate library writes one organization; more groups follow as URIs.
        for group in self.groups().iter().skip(1) {
            let uri = format!("kontiki://{cluster}/group/{}", names::escape(group));
            params.subject_alt_names.push(SanType::URI(ia5(&uri)?));
        }
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !matches!(self, Subject::User { .. }) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn groups(&self) -> &[String] {
        match self {
            Subject::User { groups, .. } => groups,
            _ => &[],
        }
    }
}

fn controller_names(cluster: &str, id: u64, addresses: &[String]) -> Result<Vec<SanType>, Error> {
    let mut sans = vec![
        dns(&names::controller(cluster, id))?,
        dns(&names::any_controller(cluster))?,
        dns("localhost")?,
        dns("kubernetes.default.svc")?,
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    for address in addresses {
        let san = match address.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => {
                names::check_name("controller address", address)?;
                dns(address)?
            }
        };
        if !sans.contains(&san) {
            sans.push(san);
        }
    }
    Ok(sans)
}

fn dns(name: &str) -> Result<SanType, Error> {
    Ok(SanType::DnsName(ia5(name)?))
}

fn ia5(text: &str) -> Result<rcgen::string::Ia5String, Error> {
    rcgen::string::Ia5String::try_from(text)
        .map_err(|source| Error::Signing { action: "write a name into a certificate", source })
}
