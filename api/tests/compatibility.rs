//! docs/kubernetes-compatibility.md: written from what is served, and checked to be what is served.
//! `UPDATE=1 cargo test -p kontiki-api --test compatibility` writes it.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, path::Path};

use kontiki_actors::{Kind, kind};
use kontiki_api::{
    discovery::{self, Resource},
    resource::{Behaviour, Strategy},
};

const INTRODUCTION: &str = "# Which kinds of Kubernetes are served

Written by a test from what the API serves (`UPDATE=1 cargo test -p kontiki-api --test compatibility`); what else is missing is in
[roadmap.md](roadmap.md). The types are those of Kubernetes 1.33.

*full*: what Kubernetes does with them happens, as far as the roadmap does not say otherwise, or there is nothing to be done but to keep
them. *partly*: most of it happens, and what is said there is missing. *data only*: they are stored, defaulted, validated, printed, selected
and watched as in Kubernetes, and what is said there is missing. Each write of one of both answers with that as a warning. All verbs:
create, delete, deletecollection, get, list, patch, update, watch.
";

fn documented() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str(
        "\n## Stored\n\n| kind | version | verbs | subresources | behaviour |\n|---|---|---|---|---|\n",
    );
    let (mut full, mut partly, mut data) = (0, 0, 0);
    let mut asked = String::new();
    for resource in discovery::resources() {
        let other_form = |(kind, group, version): &&(Kind, &str, &str)| {
            (*group, *version, kind.info().plural) == (resource.group, &*resource.version, resource.plural)
        };
        if let Some((kind, ..)) = kind::ALSO.iter().find(other_form) {
            let below: Vec<&str> = resource.subresources.iter().map(|s| s.name).collect();
            let same = format!("the same objects as of {}", kind.api_version());
            let row = [resource.kind.to_owned(), version(resource), "all".into(), below.join(", "), same];
            writeln!(out, "| {} |", row.join(" | ")).unwrap();
            continue;
        }
        let Some(kind) = Kind::by_resource(resource.group, &resource.version, resource.plural) else {
            let row = [resource.kind.to_owned(), version(resource), resource.verbs.join(", ")];
            writeln!(asked, "| {} |", row.join(" | ")).unwrap();
            continue;
        };
        let below: Vec<&str> = resource.subresources.iter().map(|s| s.name).collect();
        let behaviour = match Strategy::of(kind).behaviour {
            Behaviour::Full => {
                full += 1;
                "full".to_owned()
            }
            Behaviour::Partly(missing) => {
                partly += 1;
                format!("partly: {missing}")
            }
            Behaviour::Data(missing) => {
                data += 1;
                format!("data only: {missing}")
            }
        };
        let verbs = if resource.verbs.len() == 8 { "all".to_owned() } else { resource.verbs.join(", ") };
        let row = [resource.kind.to_owned(), version(resource), verbs, below.join(", "), behaviour];
        writeln!(out, "| {} |", row.join(" | ")).unwrap();
    }
    let all = full + partly + data;
    writeln!(out, "\n{all} kinds: {full} full, {partly} partly, {data} as data only.").unwrap();
    out.push_str("\n## Answered and not stored\n\n| kind | version | verbs |\n|---|---|---|\n");
    out + &asked
}

fn version(resource: &Resource) -> String {
    if resource.group.is_empty() {
        return resource.version.to_string();
    }
    format!("{}/{}", resource.group, resource.version)
}

#[test]
fn the_table_of_kinds_is_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubernetes-compatibility.md");
    let now = documented();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "{} is stale: run this test with UPDATE=1", path.display());
}
