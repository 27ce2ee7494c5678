//! What a worker says is given to the stage until it is decided. A leader whose majority is late for a moment refuses, begins again and
//! goes on in the same term: sessions that ended for that would all come back at once, with a handshake each, and take the processor from
//! the very consensus that they wait for.

use std::time::Duration;

use actix::Addr;
use kontiki_actors::{Input, Outcome};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::controller::stage::{Answer, Stage, StageError, Submit};

/// Before it is tried again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// After so long without a decision the worker may as well look for another leader.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of it. To be dropped when this controller leads no more: only as the leader of that term it may decide this, for the next
/// leader may have heard newer words meanwhile.
pub(super) async fn insist(
    stage: &Addr<Stage>,
    term: u64,
    input: Input,
    trace: Option<String>,
) -> Result<Outcome, StageError> {
    again(|| once(stage, term, input.clone(), trace.clone())).await
}

async fn once(stage: &Addr<Stage>, term: u64, input: Input, trace: Option<String>) -> Answer {
    let (reply, answer) = oneshot::channel();
    let submit = Submit { input, request: None, term: Some(term), trace, reply: Some(reply) };
    if stage.try_send(submit).is_err() {
        return Err(StageError::Overloaded);
    }
    answer.await.unwrap_or(Err(StageError::Unknown))
}

async fn again<F: Future<Output = Answer>>(mut attempt: impl FnMut() -> F) -> Answer {
    let (began, mut pause) = (Instant::now(), PAUSE);
    loop {
        match attempt().await {
            // What a worker says can be said twice: the newest word of a pod and of the node counts.
            Err(
                StageError::NotLeader
                | StageError::Unknown
                | StageError::Overloaded
                | StageError::StorageFull(_),
            ) if began.elapsed() + pause < PATIENCE => {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MOST);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_waited_for_and_a_refusal_for_good_is_not() {
        let passing = [StageError::NotLeader, StageError::Unknown, StageError::Overloaded];
        let mut answers: Vec<Answer> = vec![Ok(Outcome::Done)];
        answers.extend(passing.iter().cloned().map(Err));
        assert_eq!(
            again(|| std::future::ready(answers.pop().expect("not asked again"))).await,
            Ok(Outcome::Done)
        );

        let mut asked = 0;
        let defect = StageError::Defect("it fails".into());
        let answer = again(|| {
            asked += 1;
            std::future::ready(Err(defect.clone()))
        });
        assert_eq!(answer.await, Err(defect.clone()));
        assert_eq!(asked, 1);

        let began = Instant::now();
        assert_eq!(
            again(|| std::future::ready(Err(StageError::NotLeader))).await,
            Err(StageError::NotLeader)
        );
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
}
