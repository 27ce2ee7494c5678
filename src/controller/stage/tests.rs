//! The desk on a consensus that is played: what is answered, when, in which order, and what a failure costs.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use kontiki_actors::{
    Change, Context, Decision, Document, Entry, Event, Foreseen, Input, Kind, Object, ObjectKey, Outcome,
    Rejection, Request, RequestId, State, decide, input::PodReport, scheduling::ToPlace,
    state::ANSWERED_LIMIT,
};
use kontiki_raft::ProposeError;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    Answer, Nature, StageError, Submit, WAITING_MAX,
    consensus::{Consensus, Settled},
    desk::{Desk, Task},
};

mod placing;

type Ended = oneshot::Sender<Result<(), ProposeError>>;

/// A consensus that commits what the test lets it commit.
#[derive(Default)]
struct Played {
    folded: Mutex<State>,
    proposed: Mutex<Vec<(Entry, Option<Ended>)>>,
    foreseen: Mutex<Vec<Foreseen>>,
    asked: Mutex<Vec<Ended>>,
    refuses: Mutex<Option<ProposeError>>,
}

impl Consensus for Arc<Played> {
    fn view(&self) -> State {
        self.folded.lock().clone()
    }

    fn forget(&self) {
        self.foreseen.lock().clear();
    }

    fn propose(&self, entry: Vec<u8>, foreseen: Foreseen, _term: u64) -> Result<Settled, ProposeError> {
        if let Some(error) = self.refuses.lock().clone() {
            return Err(error);
        }
        self.foreseen.lock().push(foreseen);
        let (ended, settled) = oneshot::channel();
        self.proposed.lock().push((Entry::decode(&entry).unwrap(), Some(ended)));
        Ok(settled.map(Result::unwrap).boxed())
    }

    fn confirm(&self, _term: u64) -> Settled {
        let (ended, settled) = oneshot::channel();
        self.asked.lock().push(ended);
        settled.map(Result::unwrap).boxed()
    }

    fn catch_up(&self, _term: u64) -> BoxFuture<'static, bool> {
        std::future::ready(true).boxed()
    }
}

/// Real actors, except that those called "poison" fail, reports only set a wake-up, and whoever is woken sleeps on.
fn actors(state: &State, input: &Input, context: Context) -> Decision {
    let mut state = state.clone();
    let poison = |name: &str| assert!(name != "poison", "poisoned");
    let changes: Vec<Change> = match input {
        Input::Api(request) => {
            poison(&request.key().name);
            return decide(&state, input, context);
        }
        Input::Place(keys) => {
            keys.iter().for_each(|key| poison(&key.name));
            return decide(&state, input, context);
        }
        Input::Reports(reports) => {
            reports.iter().for_each(|report| poison(&report.name));
            reports
                .iter()
                .map(|report| Change::Wake { key: key(&report.name), at_ms: Some(i64::MAX) })
                .collect()
        }
        Input::Wake(keys) => {
            keys.iter().for_each(|key| poison(&key.name));
            keys.iter().map(|key| Change::Wake { key: key.clone(), at_ms: None }).collect()
        }
        _ => Vec::new(),
    };
    let events = changes.iter().filter_map(|change| state.apply(change)).collect();
    Decision { changes, events, outcome: Outcome::Done, state, to_place: ToPlace::default() }
}

struct Play {
    consensus: Arc<Played>,
    desk: Desk,
    tasks: Vec<Task>,
}

impl Play {
    /// A leader of term 1.
    fn start() -> Play {
        let consensus = Arc::new(Played::default());
        // Its pods need an account.
        for (kind, namespace) in [(Kind::NAMESPACE, ""), (Kind::SERVICE_ACCOUNT, "default")] {
            let document = Document::from_value(json!({"metadata": {"name": "default"}}));
            let object = Object::new(ObjectKey::new(kind, namespace, "default"), 0, document);
            consensus.folded.lock().restore(object);
        }
        let desk = Desk::new(Arc::new(consensus.clone()), actors, Nature::default());
        let mut play = Play { consensus, desk, tasks: Vec::new() };
        play.enter(1);
        play
    }

    fn enter(&mut self, term: u64) {
        self.desk.enter(term, Input::Bootstrap(Vec::new()));
        self.run();
    }

    /// Does what the actor does, until nothing moves any more.
    fn run(&mut self) {
        loop {
            self.tasks.extend(self.desk.pump());
            let moves = self.tasks.iter_mut().enumerate().find_map(|(at, task)| {
                let done = match task {
                    Task::Settles(_, settled) => settled.now_or_never().map(Err),
                    Task::CatchesUp(_, caught_up) => caught_up.now_or_never().map(Ok),
                };
                done.map(|done| (at, done))
            });
            let Some((at, done)) = moves else { return };
            match (self.tasks.remove(at), done) {
                (Task::Settles(id, _), Err(result)) => self.desk.settled(id, result),
                (Task::CatchesUp(term, _), Ok(done)) => self.desk.caught_up(term, done),
                _ => unreachable!("each task ends in its own way"),
            }
        }
    }

    fn put(&mut self, input: Input, request: Option<&str>) -> oneshot::Receiver<Answer> {
        self.put_for(None, input, request)
    }

    /// Submits what is meant for the leader of a term.
    fn put_for(
        &mut self,
        term: Option<u64>,
        input: Input,
        request: Option<&str>,
    ) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let request = request.map(Into::into);
        self.desk.submit(Submit { input, request, term, trace: None, reply: Some(reply) });
        answer
    }

    /// Submits and lets the desk go on.
    fn submit(&mut self, input: Input, request: Option<&str>) -> oneshot::Receiver<Answer> {
        let answer = self.put(input, request);
        self.run();
        answer
    }

    /// An entry is committed and folded.
    fn commit(&mut self, at: usize) {
        let (entry, ended) = {
            let mut proposed = self.consensus.proposed.lock();
            (proposed[at].0.clone(), proposed[at].1.take().unwrap())
        };
        let bytes = entry.encode().unwrap();
        let mut folded = self.consensus.folded.lock();
        let before = folded.clone();
        let told = folded.fold(&entry, &bytes);
        // What was foreseen of it is what came, as long as it was not forgotten.
        let foreseen =
            self.consensus.foreseen.lock().iter().find(|f| f.state.chain() == folded.chain()).cloned();
        if let Some(foreseen) = foreseen {
            let adopted = before.clone().adopt(&entry, folded.chain(), foreseen.clone());
            let revisions = |events: &[Event]| events.iter().map(|e| e.revision).collect::<Vec<_>>();
            assert_eq!(revisions(&adopted.events), revisions(&told.events));
            assert_eq!(adopted.forgotten, told.forgotten);
            assert_eq!(foreseen.state.revision(), folded.revision());
        }
        drop(folded);
        ended.send(Ok(())).unwrap();
        self.run();
    }

    fn fail(&mut self, at: usize, error: ProposeError) {
        let ended = self.consensus.proposed.lock()[at].1.take().unwrap();
        ended.send(Err(error)).unwrap();
        self.run();
    }

    /// A majority says that this controller leads.
    fn confirm(&mut self) {
        let ended = self.consensus.asked.lock().remove(0);
        ended.send(Ok(())).unwrap();
        self.run();
    }

    fn entries(&self) -> usize {
        self.consensus.proposed.lock().len()
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::CONFIG_MAP, "default", name)
}

fn create(name: &str) -> Input {
    let document =
        Document::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "data": {"a": "1"}}));
    Input::Api(Request::Create { key: key(name), generate_name: None, document, dry_run: false })
}

fn report(name: &str) -> PodReport {
    PodReport {
        node: "n".into(),
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        status: Default::default(),
        gone: false,
        events: Vec::new(),
    }
}

fn open(answer: &mut oneshot::Receiver<Answer>) -> bool {
    matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

fn revision(mut answer: oneshot::Receiver<Answer>) -> u64 {
    match answer.try_recv().unwrap().unwrap() {
        Outcome::Object { revision, .. } => revision,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_answered_before_it_is_committed_nor_before_what_it_was_decided_on() {
    let mut play = Play::start();
    let mut a = play.submit(create("a"), None);
    let mut b = play.submit(create("b"), None);
    let mut again = play.submit(create("a"), None);
    assert_eq!(play.entries(), 2);
    assert!(open(&mut a) && open(&mut b) && open(&mut again));
    // The majority's word comes before the entries: the refusal was decided on an entry that is not committed yet.
    play.confirm();
    play.commit(1);
    assert!(open(&mut a) && open(&mut b) && open(&mut again));
    play.commit(0);
    assert!(revision(a) < revision(b));
    assert!(matches!(again.try_recv().unwrap(), Ok(Outcome::Rejected(Rejection::AlreadyExists(_)))));
}

#[test]
fn what_is_forgotten_for_answers_is_foreseen() {
    let mut play = Play::start();
    {
        let mut folded = play.consensus.folded.lock();
        (0..ANSWERED_LIMIT)
            .for_each(|n| drop(folded.remember(&RequestId::from(format!("old-{n}")), &Outcome::Done)));
    }
    play.desk.leave();
    play.enter(2);
    let (a, b) = (play.submit(create("a"), Some("a")), play.submit(create("b"), Some("b")));
    let foreseen: Vec<_> = play.consensus.foreseen.lock().iter().flat_map(|f| f.forgotten.clone()).collect();
    assert_eq!(foreseen, ["old-0", "old-1"].map(RequestId::from));
    // Compared there with what folding tells.
    play.commit(0);
    play.commit(1);
    assert!(revision(a) < revision(b));
}

#[test]
fn a_refusal_is_not_told_before_a_majority_says_that_this_one_still_leads() {
    let mut play = Play::start();
    let a = play.submit(create("a"), None);
    play.commit(0);
    revision(a);
    let mut again = play.submit(create("a"), None);
    assert!(open(&mut again));
    let ended = play.consensus.asked.lock().remove(0);
    ended.send(Err(ProposeError::NotLeader { leader: None })).unwrap();
    play.run();
    assert_eq!(again.try_recv().unwrap(), Err(StageError::NotLeader));
}

#[test]
fn after_a_failure_it_begins_again_from_what_is_committed() {
    let mut play = Play::start();
    let mut lost = play.submit(create("a"), None);
    let mut based = play.submit(create("a"), None);
    play.fail(0, ProposeError::Unknown);
    assert_eq!(lost.try_recv().unwrap(), Err(StageError::Unknown));
    assert!(open(&mut based));
    let mut waits = play.submit(create("c"), None);
    play.confirm();
    assert_eq!(
        based.try_recv().unwrap(),
        Err(StageError::NotLeader),
        "it was decided on what never came true"
    );
    assert!(open(&mut waits));
    let a = play.submit(create("a"), None);
    play.commit(1);
    play.commit(2);
    let folded = play.consensus.folded.lock().revision();
    assert!(revision(waits) < revision(a));
    assert_eq!(folded, play.consensus.view().get(&key("a")).unwrap().revision);
}

#[test]
fn what_is_refused_at_once_is_taken_back_and_costs_nobody_else() {
    let mut play = Play::start();
    let mut before = play.submit(create("a"), None);
    *play.consensus.refuses.lock() = Some(ProposeError::StorageFull);
    let mut refused = play.submit(create("b"), None);
    assert!(matches!(refused.try_recv().unwrap(), Err(StageError::StorageFull(_))));
    *play.consensus.refuses.lock() = None;
    let after = play.submit(create("b"), None);
    assert!(open(&mut before));
    play.commit(0);
    play.commit(1);
    assert_eq!(revision(before) + 1, revision(after), "no gap where the refused one was");
}

#[test]
fn a_retry_is_answered_and_not_done_twice() {
    let mut play = Play::start();
    let first = play.submit(create("a"), Some("r"));
    // While the first attempt is on its way.
    let second = play.submit(create("a"), Some("r"));
    assert_eq!(play.entries(), 1);
    play.commit(0);
    play.confirm();
    let done = revision(first);
    assert_eq!(revision(second), done);
    // With the next leader, which only knows what is folded.
    play.desk.leave();
    play.enter(2);
    let third = play.submit(create("a"), Some("r"));
    play.confirm();
    assert_eq!(revision(third), done);
    assert_eq!(play.entries(), 1);
}

fn delete(name: &str) -> Input {
    Input::Api(Request::Delete { key: key(name), options: Default::default(), dry_run: false })
}

/// The first attempt of a delete is held up on its way while the second is refused and its caller creates the object.
#[test]
fn an_attempt_that_comes_after_its_request_was_refused_does_nothing() {
    let mut play = Play::start();
    let mut second = play.submit(delete("a"), Some("d"));
    play.confirm();
    let refused = second.try_recv().unwrap();
    assert!(matches!(refused, Ok(Outcome::Rejected(Rejection::NotFound(_)))));
    let made = play.submit(create("a"), None);
    play.commit(0);
    revision(made);
    let mut first = play.submit(delete("a"), Some("d"));
    play.confirm();
    assert_eq!(first.try_recv().unwrap(), refused);
    assert_eq!(play.entries(), 1);
    assert!(play.consensus.view().get(&key("a")).is_some());
}

#[test]
fn nor_does_one_that_comes_while_the_refusal_is_on_its_way() {
    let mut play = Play::start();
    let mut second = play.submit(delete("a"), Some("d"));
    let made = play.submit(create("a"), None);
    let mut first = play.submit(delete("a"), Some("d"));
    play.confirm();
    play.commit(0);
    play.confirm();
    revision(made);
    let refused = second.try_recv().unwrap();
    assert!(matches!(refused, Ok(Outcome::Rejected(Rejection::NotFound(_)))));
    assert_eq!(first.try_recv().unwrap(), refused);
    assert_eq!(play.entries(), 1);
}

#[test]
fn a_refusal_that_was_decided_on_what_never_came_true_is_forgotten() {
    let mut play = Play::start();
    let lost = play.submit(create("a"), None);
    let mut refused = play.submit(create("a"), Some("r"));
    play.fail(0, ProposeError::Unknown);
    play.confirm();
    assert_eq!(refused.try_recv().unwrap(), Err(StageError::NotLeader));
    drop(lost);
    let again = play.submit(create("a"), Some("r"));
    play.commit(1);
    revision(again);
}

#[test]
fn a_refusal_whose_entry_is_refused_is_forgotten() {
    let mut play = Play::start();
    let made = play.submit(create("a"), None);
    play.commit(0);
    revision(made);
    *play.consensus.refuses.lock() = Some(ProposeError::StorageFull);
    let mut other = play.put(create("b"), None);
    let mut refused = play.put(create("a"), Some("r"));
    play.run();
    for answer in [&mut other, &mut refused] {
        assert!(matches!(answer.try_recv().unwrap(), Err(StageError::StorageFull(_))));
    }
    *play.consensus.refuses.lock() = None;
    let gone = play.submit(delete("a"), None);
    play.commit(1);
    drop(gone);
    let again = play.submit(create("a"), Some("r"));
    play.commit(2);
    revision(again);
}

#[test]
fn an_attempt_that_was_meant_for_another_term_is_not_taken() {
    let mut play = Play::start();
    play.desk.leave();
    play.enter(3);
    let mut old = play.put_for(Some(1), create("a"), Some("r"));
    assert_eq!(old.try_recv().unwrap(), Err(StageError::NotLeader));
    let new = play.put_for(Some(3), create("a"), Some("r"));
    play.run();
    play.commit(0);
    revision(new);
}

#[test]
fn a_dry_run_is_not_remembered() {
    let mut play = Play::start();
    let Input::Api(Request::Create { key, generate_name, document, .. }) = create("a") else {
        unreachable!()
    };
    let dry = Input::Api(Request::Create { key, generate_name, document, dry_run: true });
    for _ in 0..2 {
        let mut answer = play.submit(dry.clone(), Some("r"));
        play.confirm();
        let outcome = answer.try_recv().unwrap().unwrap();
        assert!(matches!(outcome, Outcome::Object { document: Some(_), .. }), "{outcome:?}");
    }
}

#[test]
fn who_leaves_answers_everybody() {
    let mut play = Play::start();
    let flying = play.submit(create("a"), None);
    let mut waiting = play.put(create("b"), None);
    play.desk.leave();
    assert_eq!(waiting.try_recv().unwrap(), Err(StageError::NotLeader));
    let mut late = play.submit(create("c"), None);
    assert_eq!(late.try_recv().unwrap(), Err(StageError::NotLeader));
    play.commit(0);
    revision(flying);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_begun() {
    let mut play = Play::start();
    drop(play.put(create("a"), None));
    play.run();
    assert_eq!(play.entries(), 0);
}

#[test]
fn who_leads_the_same_term_again_waits_for_what_is_on_its_way() {
    let mut play = Play::start();
    let flying = play.submit(create("a"), None);
    play.desk.leave();
    play.enter(1);
    let mut next = play.submit(create("b"), None);
    assert_eq!(play.entries(), 1, "the folded state lacks the first entry");
    play.commit(0);
    assert!(open(&mut next));
    play.commit(1);
    assert_eq!(revision(flying) + 1, revision(next));
}

#[test]
fn reports_that_wait_are_one_turn() {
    let mut play = Play::start();
    let mut answers: Vec<_> = ["a", "b", "c"].map(|n| play.put(Input::Reports(vec![report(n)]), None)).into();
    play.run();
    assert_eq!(play.consensus.proposed.lock()[0].0.turns.len(), 1);
    play.commit(0);
    for answer in &mut answers {
        assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Done));
    }
}

#[test]
fn a_report_that_names_itself_at_length_goes_without_the_writes_of_clients() {
    let mut play = Play::start();
    let written = play.put(create("a"), None);
    let _reported = play.put(Input::Reports(vec![report(&"x".repeat(2 << 20))]), None);
    play.run();
    let turns: Vec<usize> =
        play.consensus.proposed.lock().iter().map(|(entry, _)| entry.turns.len()).collect();
    assert_eq!(turns, [1, 1]);
    play.commit(0);
    revision(written);
}

#[test]
fn the_queue_is_bounded() {
    let mut play = Play::start();
    let waiting: Vec<_> = (0..WAITING_MAX).map(|_| play.put(Input::Verdicts(Vec::new()), None)).collect();
    let mut one_more = play.put(Input::Verdicts(Vec::new()), None);
    assert_eq!(one_more.try_recv().unwrap(), Err(StageError::Overloaded));
    assert!(play.put(create("a"), None).try_recv().is_err(), "a client has a line of its own");
    drop(waiting);
}

#[test]
fn a_defect_costs_the_input_that_it_fails_on() {
    let mut play = Play::start();
    let mut failed = play.put(create("poison"), None);
    let fine = play.put(create("a"), None);
    play.run();
    assert!(matches!(failed.try_recv().unwrap(), Err(StageError::Defect(_))));
    play.commit(0);
    revision(fine);
    // Within a list only the part that it fails on: or the worker would send its reports again, for ever.
    let mut list = play.submit(Input::Reports(vec![report("x"), report("poison"), report("y")]), None);
    play.commit(1);
    assert_eq!(list.try_recv().unwrap(), Ok(Outcome::Done));
    let changed: Vec<_> =
        play.consensus.proposed.lock()[1].0.turns.iter().map(|t| t.changes[0].key().cloned()).collect();
    assert_eq!(changed, [Some(key("x")), Some(key("y"))]);
}

#[test]
fn an_actor_that_fails_when_it_is_woken_is_woken_later() {
    let mut play = Play::start();
    play.desk.leave();
    for name in ["poison", "a"] {
        play.consensus.folded.lock().restore_wake(&key(name), 1);
    }
    play.enter(2);
    play.desk.ring();
    play.run();
    play.commit(0);
    let folded = play.consensus.view();
    assert_eq!(folded.wake_of(&key("a")), None);
    assert!(folded.wake_of(&key("poison")).unwrap() > 1);
    let (_, delay) = play.desk.next_ring().unwrap();
    assert!(delay > std::time::Duration::from_secs(30), "{delay:?}");
}

#[test]
fn wake_ups_do_not_pile_up_while_nothing_gets_through() {
    let mut play = Play::start();
    play.desk.leave();
    play.consensus.folded.lock().restore_wake(&key("a"), 1);
    play.enter(2);
    // As many entries on their way as there may be, and none arrives.
    let answers: Vec<_> = (0..20).map(|n| play.submit(create(&format!("x{n}")), None)).collect();
    assert!(play.desk.next_ring().is_some());
    play.desk.ring();
    play.run();
    assert_eq!(play.desk.next_ring(), None, "one waits, no further one is due");
    let mut at = 0;
    while at < play.entries() {
        play.commit(at);
        at += 1;
    }
    assert_eq!(play.consensus.view().wake_of(&key("a")), None);
    for answer in answers {
        revision(answer);
    }
}

#[tokio::test(start_paused = true)]
async fn where_entries_take_long_fewer_are_on_their_way() {
    let mut play = Play::start();
    for n in 0..5 {
        drop(play.submit(create(&format!("early-{n}")), None));
    }
    assert_eq!(play.entries(), 5);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let answer = play.submit(create("late"), None);
    assert_eq!(play.entries(), 5, "it waits for its turn");
    for n in 0..3 {
        play.commit(n);
    }
    assert_eq!(play.entries(), 6, "there is room again");
    for n in 3..6 {
        play.commit(n);
    }
    assert!(answer.await.unwrap().is_ok());
}
