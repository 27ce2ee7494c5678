//! Pods get their places in the entry that brings them, whatever happens to it.

use std::time::Duration;

use bytes::Bytes;
use kontiki_actors::{
    input::{Life, NodeHello, Verdict},
    scheduling::PLAN_LIMIT,
};
use tokio::time::Instant;

use super::{super::placing::Placing, *};

fn pod_key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::POD, "default", name)
}

fn pod(name: &str) -> Input {
    let document = Document::from_value(json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}));
    Input::Api(Request::Create { key: pod_key(name), generate_name: None, document, dry_run: false })
}

/// A leader of term 2 with one node that has room for so many pods, and these pods without a place.
fn with_node(room: usize, pods: &[&str]) -> Play {
    let mut play = Play::start();
    play.desk.leave();
    let state = waiting(&play.consensus.view(), room, pods);
    *play.consensus.folded.lock() = state;
    play.enter(2);
    play
}

/// The state with one node more that has room for so many pods, and these pods without a place.
fn waiting(state: &State, room: usize, pods: &[&str]) -> State {
    let status = json!({"allocatable": {"cpu": "64", "memory": "64Gi", "pods": room.to_string()}});
    let hello = NodeHello { name: "n".into(), labels: Vec::new(), status: Bytes::from(status.to_string()) };
    let ready = Verdict { node: "n".into(), life: Life::Ready, reason: String::new() };
    let mut inputs = vec![Input::NodeHello(Box::new(hello)), Input::Verdicts(vec![ready])];
    inputs.extend(pods.iter().copied().map(pod));
    let mut state = state.clone();
    for (seed, input) in inputs.iter().enumerate() {
        state = decide(&state, input, Context::new(1, seed as u64)).state;
    }
    state
}

fn node_of(play: &Play, name: &str) -> Option<String> {
    let folded = play.consensus.view();
    folded.get(&pod_key(name)).and_then(|pod| pod.pod()?.node.as_ref().map(ToString::to_string))
}

fn commit_all(play: &mut Play) {
    let mut at = 0;
    while at < play.entries() {
        if play.consensus.proposed.lock()[at].1.is_some() {
            play.commit(at);
        }
        at += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_and_its_place_are_one_entry() {
    let mut play = with_node(10, &[]);
    let answer = play.submit(pod("a"), None);
    assert_eq!((play.entries(), play.consensus.proposed.lock()[0].0.turns.len()), (1, 2));
    play.commit(0);
    revision(answer);
    assert_eq!(node_of(&play, "a").as_deref(), Some("n"));
}

/// Many that come at once are planned at once.
#[tokio::test(start_paused = true)]
async fn the_pods_of_an_entry_are_placed_by_one_turn() {
    let mut play = with_node(100, &[]);
    let answers: Vec<_> = (0..20).map(|n| play.put(pod(&format!("p{n}")), None)).collect();
    play.run();
    assert_eq!((play.entries(), play.consensus.proposed.lock()[0].0.turns.len()), (1, 21));
    play.commit(0);
    answers.into_iter().for_each(|answer| assert!(revision(answer) > 0));
    assert!((0..20).all(|n| node_of(&play, &format!("p{n}")).is_some()));
}

#[tokio::test(start_paused = true)]
async fn more_than_one_plan_takes_goes_on_in_the_next_entries() {
    let mut play = with_node(5000, &[]);
    let pods = 1200;
    let answers: Vec<_> = (0..pods).map(|n| play.put(pod(&format!("p{n}")), None)).collect();
    play.run();
    commit_all(&mut play);
    answers.into_iter().for_each(|answer| assert!(revision(answer) > 0));
    assert!((0..pods).all(|n| node_of(&play, &format!("p{n}")).is_some()));
    assert_eq!(play.consensus.view().unplaced().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_places_whom_the_one_before_left() {
    let mut play = with_node(10, &["a", "b"]);
    commit_all(&mut play);
    assert!(["a", "b"].iter().all(|name| node_of(&play, name).is_some()));
}

#[tokio::test(start_paused = true)]
async fn pods_of_an_entry_that_was_lost_are_placed_by_what_comes_true() {
    let mut play = with_node(10, &[]);
    let (_a, _b) = (play.submit(pod("a"), None), play.submit(pod("b"), None));
    assert_eq!(play.entries(), 2);
    // The first is committed, the second is not; the desk begins again.
    play.commit(0);
    play.fail(1, ProposeError::Unknown);
    let again = play.submit(pod("c"), None);
    commit_all(&mut play);
    revision(again);
    assert_eq!((node_of(&play, "a"), node_of(&play, "b")), (Some("n".into()), None));
    assert_eq!(node_of(&play, "c").as_deref(), Some("n"));
}

/// While nothing gets through, pods are not planned again and again, and then they are.
#[tokio::test(start_paused = true)]
async fn pods_rest_while_entries_are_refused() {
    let mut play = with_node(10, &["a"]);
    assert_eq!(play.entries(), 1, "placed at once");
    play.desk.leave();
    play.fail(0, ProposeError::StorageFull);
    *play.consensus.refuses.lock() = Some(ProposeError::StorageFull);
    play.enter(3);
    assert!(play.desk.pump().is_empty(), "nothing to do for now");
    let (_, delay) = play.desk.next_ring().unwrap();
    assert!(!delay.is_zero());
    *play.consensus.refuses.lock() = None;
    tokio::time::advance(delay).await;
    play.desk.ring();
    play.run();
    play.commit(1);
    assert_eq!(node_of(&play, "a").as_deref(), Some("n"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_placing_fails_keeps_none_of_the_others_waiting() {
    let mut play = with_node(10, &["poison", "a", "b"]);
    commit_all(&mut play);
    assert!(["a", "b"].iter().all(|name| node_of(&play, name).is_some()));
    assert_eq!(node_of(&play, "poison"), None);
    assert!(play.consensus.view().wake_of(&pod_key("poison")).is_some(), "it is tried again");
}

/// The price of a plan is paid by other work before the next one, unless that is worth it at once.
#[tokio::test(start_paused = true)]
async fn planning_takes_a_part_of_the_time_only_unless_many_wait() {
    let names: Vec<String> = (0..PLAN_LIMIT).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let state = waiting(&Play::start().consensus.view(), 10, &names);
    let some = |names: &[&str]| ToPlace { pods: names.iter().copied().map(pod_key).collect(), all: false };
    let (mut placing, cost) = (Placing::default(), Duration::from_millis(2));
    assert_eq!(placing.due(Instant::now()), None);
    placing.add(&state, &some(&names[..1]));
    assert!(placing.next(&state, Instant::now()).is_some(), "the first is placed at once");
    placing.took(cost, Instant::now());

    placing.add(&state, &some(&names[1..2]));
    let due = placing.due(Instant::now()).unwrap();
    assert!(due > Instant::now() + cost && placing.next(&state, Instant::now()).is_none());
    tokio::time::advance(due - Instant::now()).await;
    assert!(placing.next(&state, Instant::now()).is_some());
    placing.took(cost, Instant::now());

    placing.add(&state, &some(&names));
    assert_eq!(placing.due(Instant::now()), Some(Instant::now()));
    assert!(
        matches!(placing.next(&state, Instant::now()), Some(Input::Place(pods)) if pods.len() == PLAN_LIMIT)
    );
}
