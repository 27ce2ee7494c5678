//! What a user gets with unmodified kubectl: every command of the README's promise, on real processes. One cluster for
//! all scenarios, each in a namespace of its own; they run one after another.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod scenario;

mod create;
mod edit;
mod get;
mod identity;
mod logs;
mod nodes;
mod refuse;
mod rollout;

use kontiki_chaos_tests::{Cluster, Plan, example_image};
use scenario::Scenario;

type Run = fn(&Scenario);

#[test]
fn kubectl_drives_the_cluster() {
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    let scenarios: &[(&str, Run)] = &[
        ("get", get::tables_formats_and_selectors),
        ("watch", get::watches),
        ("about", get::about_the_cluster),
        ("create", create::every_kind_of_create),
        ("kinds", create::kinds_that_are_only_stored),
        ("dry-run", create::dry_runs_change_nothing),
        ("edit", edit::patches_labels_and_annotations),
        ("rollout", rollout::rolls_out_and_back),
        ("scale", rollout::scales_and_restarts),
        ("broken", rollout::says_what_is_wrong_with_a_pod),
        ("logs", logs::follows_and_looks_back),
        ("config", logs::config_maps_and_secrets_reach_the_container),
        ("refuse", refuse::bad_input_gets_a_status),
        ("identity", identity::acts_as_somebody_else),
        ("nodes", nodes::cordon_drain_and_taint),
        ("delete", create::namespaces_go_with_everything_in_them),
    ];
    for (name, run) in scenarios {
        eprintln!("scenario {name}");
        run(&Scenario::begin(&cluster, name));
    }
}
