//! What a user gets with unmodified kubectl: every command of the README's promise, on real processes. One cluster for
//! all scenarios, each in a namespace of its own; they run one after another.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod scenario;

mod apply;
mod autoscale;
mod containerd;
mod create;
mod custom;
mod daemons;
mod debug;
mod edit;
mod get;
mod identity;
#[path = "../../api/tests/api/issuer.rs"]
mod issuer;
mod jobs;
mod logs;
mod nodes;
mod proxy;
mod refuse;
mod roles;
mod rollout;
mod security;
mod stateful;
mod streams;
mod top;
mod users;
mod webhooks;

use kontiki_chaos_tests::{Cluster, Plan, example_image};
use scenario::Scenario;

type Run = fn(&Scenario);

#[test]
fn kubectl_drives_the_cluster() {
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let users = users::Users::start();
    let plan = Plan { image, environment: users.environment(), ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) };
    let cluster = Cluster::start(plan).unwrap();
    let scenarios: &[(&str, Run)] = &[
        ("get", get::tables_formats_and_selectors),
        ("watch", get::watches),
        ("about", get::about_the_cluster),
        ("create", create::every_kind_of_create),
        ("kinds", create::kinds_that_are_only_stored),
        ("dry-run", create::dry_runs_change_nothing),
        ("edit", edit::patches_labels_and_annotations),
        ("apply", apply::applies_to_the_server),
        ("migrate", apply::takes_over_from_client_side_apply),
        ("custom", custom::a_definition_and_its_objects),
        ("rollout", rollout::rolls_out_and_back),
        ("scale", rollout::scales_and_restarts),
        ("daemons", daemons::run_on_every_node),
        ("jobs", jobs::run_to_their_end),
        ("cron", jobs::are_started_by_the_clock),
        ("stateful", stateful::identities_stay),
        ("broken", rollout::says_what_is_wrong_with_a_pod),
        ("logs", logs::follows_and_looks_back),
        ("exec", streams::exec_as_in_a_shell),
        ("exec-spdy", streams::older_clients_are_served),
        ("exec-refuses", streams::exec_refuses_in_the_words_of_kubernetes),
        ("terminal", streams::exec_in_a_terminal),
        ("cp", streams::copies_both_ways),
        ("port-forward", streams::forwards_ports),
        ("proxy", proxy::hands_requests_on),
        ("attach", streams::attaches),
        ("debug", debug::looks_into_a_pod_that_runs),
        ("debug-profiles", debug::profiles_say_what_it_may),
        ("debug-copies", debug::looks_into_a_copy_and_into_a_node),
        ("gone", streams::who_goes_away_leaves_nothing_behind),
        ("config", logs::config_maps_and_secrets_reach_the_container),
        ("refuse", refuse::bad_input_gets_a_status),
        ("security", security::containers_have_the_bounds_that_they_ask_for),
        ("identity", identity::acts_as_somebody_else),
        ("roles", roles::roles_say_who_may_do_what),
        ("escalation", roles::nobody_gives_more_than_he_has),
        ("tokens", roles::tokens_of_service_accounts),
        ("webhooks", webhooks::have_a_say_in_controllers_pods),
        ("top", top::what_pods_and_nodes_use),
        ("autoscale", autoscale::pods_that_work_much_become_more),
        ("nodes", nodes::cordon_drain_and_taint),
        ("drain", nodes::kontiki_drains_a_worker),
        ("delete", create::namespaces_go_with_everything_in_them),
    ];
    play(&cluster, scenarios);
    if wanted("users") {
        eprintln!("scenario users");
        users::of_an_issuer_elsewhere(&Scenario::begin(&cluster, "users"), &users);
    }
}

#[test]
fn kubectl_sees_no_difference_on_containerd() {
    kontiki_pki::install_crypto();
    let Some(containerd) = containerd::start() else { return };
    let cluster = containerd::cluster(&containerd);
    let scenarios: &[(&str, Run)] = &[
        ("logs", logs::follows_and_looks_back),
        ("exec-spdy", streams::older_clients_are_served),
        ("exec-refuses", streams::exec_refuses_in_the_words_of_kubernetes),
        ("terminal", streams::exec_in_a_terminal),
        ("cp", streams::copies_both_ways),
        ("port-forward", streams::forwards_ports),
        ("attach", streams::attaches),
        ("debug", debug::looks_into_a_pod_that_runs),
        ("debug-profiles", debug::profiles_say_what_it_may),
        ("config", logs::config_maps_and_secrets_reach_the_container),
        ("security", security::containers_have_the_bounds_that_they_ask_for),
    ];
    play(&cluster, scenarios);
    for (name, _) in scenarios {
        cluster
            .kubectl(&["delete", "namespace", &format!("test-{name}"), "--ignore-not-found", "--wait=false"])
            .unwrap();
    }
    cluster.kubectl(&["delete", "pods", "--all", "--all-namespaces", "--now", "--wait=false"]).unwrap();
    containerd::containers_outlive_the_agent(&Scenario::begin(&cluster, "agent"), &containerd);
}

/// Whether a scenario is to be played: all are, or some by their names, for whoever works on one.
fn wanted(name: &str) -> bool {
    let only = std::env::var("KONTIKI_SCENARIOS").unwrap_or_default();
    only.is_empty() || only.split(',').any(|other| other == name)
}

fn play(cluster: &Cluster, scenarios: &[(&str, Run)]) {
    for (name, run) in scenarios.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("scenario {name}");
        run(&Scenario::begin(cluster, name));
    }
}
