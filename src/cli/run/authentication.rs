//! Which issuers' tokens are believed: by a file, or by the flags that kube-apiserver has for one issuer.

use std::path::PathBuf;

use anyhow::{Context, bail};
use kontiki_api::oidc::{Configuration, Flags};

use super::{controller::ControllerSettings, settings};
use crate::controller::authentication::AuthenticationFile;

/// What is configured, and the file that it stands in, if it stands in one; none if nothing is.
pub(super) type Authentication = Option<(Configuration, Option<AuthenticationFile>)>;

/// Reads what settings say. What cannot be used ends the start: it would be refused later, when somebody wants to get in.
pub(super) fn read(settings: &ControllerSettings) -> anyhow::Result<Authentication> {
    let flags = flags(settings)?;
    match (&settings.authentication_config, flags) {
        (Some(_), Some(_)) => bail!(
            "--authentication-config and --oidc-* both say whose tokens are believed: write the issuer of the flags into the file"
        ),
        (Some(path), None) => from_file(path.clone()).map(Some),
        (None, Some(flags)) => {
            let configuration = Configuration::of_flags(flags).context("the flags --oidc-*")?;
            Ok(Some((configuration, None)))
        }
        (None, None) => Ok(None),
    }
}

fn from_file(path: PathBuf) -> anyhow::Result<(Configuration, Option<AuthenticationFile>)> {
    let unusable = format!("the authentication configuration {}", path.display());
    let file = AuthenticationFile::read(path).with_context(|| unusable.clone())?;
    let configuration = Configuration::read(&file.text).context(unusable)?;
    Ok((configuration, Some(file)))
}

/// What the flags say; none if there are none.
fn flags(settings: &ControllerSettings) -> anyhow::Result<Option<Flags>> {
    let (issuer_url, client_id) = (settings.oidc_issuer_url.clone(), settings.oidc_client_id.clone());
    let others = [
        settings.oidc_username_claim.is_some(),
        settings.oidc_username_prefix.is_some(),
        settings.oidc_groups_claim.is_some(),
        settings.oidc_groups_prefix.is_some(),
        settings.oidc_ca_file.is_some(),
        settings.oidc_required_claim.is_some(),
    ];
    let (issuer_url, client_id) = match (issuer_url, client_id) {
        (Some(url), Some(client)) => (url, client),
        (None, None) if !others.contains(&true) => return Ok(None),
        _ => bail!("--oidc-issuer-url and --oidc-client-id are needed as soon as any --oidc-* is given"),
    };
    let authority = match &settings.oidc_ca_file {
        Some(file) => {
            Some(settings::text(file).with_context(|| format!("--oidc-ca-file {}", file.display()))?)
        }
        None => None,
    };
    let required = settings.oidc_required_claim.iter().flatten();
    let required_claims = required.map(|pair| match pair.split_once('=') {
        Some((claim, value)) if !claim.is_empty() => Ok((claim.to_owned(), value.to_owned())),
        _ => bail!("--oidc-required-claim {pair:?} is not of the form CLAIM=VALUE"),
    });
    Ok(Some(Flags {
        issuer_url,
        client_id,
        username_claim: settings.oidc_username_claim.clone(),
        username_prefix: settings.oidc_username_prefix.clone(),
        groups_claim: settings.oidc_groups_claim.clone(),
        groups_prefix: settings.oidc_groups_prefix.clone(),
        authority,
        required_claims: required_claims.collect::<anyhow::Result<_>>()?,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(yaml: &str) -> ControllerSettings {
        settings::parse_for_test(yaml)
    }

    fn refused(yaml: &str) -> String {
        format!("{:#}", read(&settings(yaml)).err().unwrap())
    }

    #[test]
    fn nothing_one_or_the_other() {
        assert!(read(&settings("")).unwrap().is_none());
        let flags =
            "oidc-issuer-url: https://a\noidc-client-id: b\noidc-required-claim: [hd=example.com, x=a=b]\n";
        let (configuration, file) = read(&settings(flags)).unwrap().unwrap();
        assert_eq!(configuration.issuers().collect::<Vec<_>>(), ["https://a"]);
        assert!(file.is_none());
        for (yaml, why) in [
            ("oidc-issuer-url: https://a", "--oidc-issuer-url and --oidc-client-id are needed"),
            ("oidc-groups-claim: groups", "--oidc-issuer-url and --oidc-client-id are needed"),
            (&format!("{flags}authentication-config: /a"), "write the issuer of the flags into the file"),
            (
                "authentication-config: /nowhere/a.yaml",
                "the authentication configuration /nowhere/a.yaml: No such file",
            ),
            ("oidc-issuer-url: http://a\noidc-client-id: b", "URL scheme must be https"),
            (
                &format!("{flags}oidc-ca-file: /nowhere/ca.pem"),
                "--oidc-ca-file /nowhere/ca.pem: No such file",
            ),
            (
                "oidc-issuer-url: https://a\noidc-client-id: b\noidc-required-claim: [x]",
                "\"x\" is not of the form CLAIM=VALUE",
            ),
        ] {
            assert!(refused(yaml).contains(why), "{} instead of {why}", refused(yaml));
        }
    }

    #[test]
    fn a_file_is_said_to_be_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, "apiVersion: v1\nkind: Config\n").unwrap();
        let said = refused(&format!("authentication-config: {}", path.display()));
        assert!(
            said.contains("a.yaml: it is a Config of v1") && said.contains("AuthenticationConfiguration"),
            "{said}"
        );
    }
}
