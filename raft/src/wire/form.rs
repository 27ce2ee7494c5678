//! Between the messages of `raft.proto` and openraft's types. Whatever a peer leaves out or garbles is an error, never a default.

use bytes::Bytes;
use kontiki_proto::raft as proto;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use proto::append_response::Result as AppendOutcome;
use proto::transfer_response::Result as TransferOutcome;
use tonic::Status;

use crate::envelope;
use crate::types::{Entry, LogId, Types, Vote, log_id, term_of};

pub(super) fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("the message has no {what}"))
}

pub(super) fn id_out(id: &LogId) -> proto::LogId {
    proto::LogId { term: term_of(id), index: id.index }
}

pub(super) fn id_in(id: proto::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(super) fn vote_out(vote: &Vote) -> proto::BallotVote {
    let leader = vote.leader_id();
    proto::BallotVote { term: leader.term, node_id: leader.voted_for, committed: vote.is_committed() }
}

pub(super) fn vote_in(vote: Option<proto::BallotVote>) -> Result<Vote, Status> {
    let vote = vote.ok_or_else(|| missing("vote"))?;
    Ok(match vote.committed {
        true => Vote::new_committed(vote.term, vote.node_id),
        false => Vote::new(vote.term, vote.node_id),
    })
}

pub(super) fn append_out(
    request: &AppendEntriesRequest<Types>,
    route: Option<proto::Route>,
) -> proto::AppendRequest {
    proto::AppendRequest {
        route,
        vote: Some(vote_out(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id_out),
        leader_commit: request.leader_commit.as_ref().map(id_out),
        entries: request.entries.iter().map(|entry| Bytes::from(envelope::seal_entry(entry))).collect(),
    }
}

pub(super) fn append_in(request: proto::AppendRequest) -> Result<AppendEntriesRequest<Types>, Status> {
    let entries: Result<Vec<Entry>, _> = request.entries.into_iter().map(envelope::open_entry).collect();
    let request: AppendEntriesRequest<Types> = AppendEntriesRequest {
        vote: vote_in(request.vote)?,
        prev_log_id: request.previous.map(id_in),
        leader_commit: request.leader_commit.map(id_in),
        entries: entries
            .map_err(|error| Status::data_loss(format!("a log entry arrived damaged: {error}")))?,
    };
    let first = request.prev_log_id.map_or(0, |id| id.index + 1);
    for (next, entry) in (first..).zip(&request.entries) {
        if entry.log_id.index != next {
            let text = format!("log entry {} came where {next} was due", entry.log_id.index);
            return Err(Status::invalid_argument(text));
        }
    }
    Ok(request)
}

pub(super) fn appended_out(result: StreamAppendResult<Types>) -> proto::AppendResponse {
    let outcome = match result {
        Ok(last) => AppendOutcome::Matched(proto::Matched { last: last.as_ref().map(id_out) }),
        Err(StreamAppendError::Conflict(id)) => AppendOutcome::Conflict(id_out(&id)),
        Err(StreamAppendError::HigherVote(vote)) => AppendOutcome::HigherVote(vote_out(&vote)),
    };
    proto::AppendResponse { result: Some(outcome) }
}

pub(super) fn appended_in(response: proto::AppendResponse) -> Result<StreamAppendResult<Types>, Status> {
    Ok(match response.result.ok_or_else(|| missing("result"))? {
        AppendOutcome::Matched(matched) => Ok(matched.last.map(id_in)),
        AppendOutcome::Conflict(id) => Err(StreamAppendError::Conflict(id_in(id))),
        AppendOutcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

pub(super) fn ballot_out(request: &VoteRequest<Types>, route: proto::Route) -> proto::VoteRequest {
    proto::VoteRequest {
        route: Some(route),
        vote: Some(vote_out(&request.vote)),
        last_log: request.last_log_id.as_ref().map(id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn ballot_in(request: proto::VoteRequest) -> Result<VoteRequest<Types>, Status> {
    let mut ballot = VoteRequest::new(vote_in(request.vote)?, request.last_log.map(id_in));
    ballot.leadership_transfer = request.leadership_transfer;
    Ok(ballot)
}

pub(super) fn voted_out(response: &VoteResponse<Types>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(id_out),
    }
}

pub(super) fn voted_in(response: proto::VoteResponse) -> Result<VoteResponse<Types>, Status> {
    let vote = vote_in(response.vote)?;
    Ok(VoteResponse::new(vote, response.last_log.map(id_in), response.granted))
}

pub(super) fn transfer_out(
    request: &TransferLeaderRequest<Types>,
    route: proto::Route,
) -> proto::TransferRequest {
    proto::TransferRequest {
        route: Some(route),
        from_leader: Some(vote_out(request.from_leader())),
        to: *request.to_node_id(),
        last_log: request.last_log_id().map(id_out),
    }
}

pub(super) fn transfer_in(request: proto::TransferRequest) -> Result<TransferLeaderRequest<Types>, Status> {
    let from = vote_in(request.from_leader)?;
    Ok(TransferLeaderRequest::new(from, request.to, request.last_log.map(id_in)))
}

pub(super) fn transferred_out(response: TransferLeaderResponse<Types>) -> proto::TransferResponse {
    let outcome = match response {
        Ok(()) => TransferOutcome::Accepted(proto::Accepted {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            let (expected, actual) = (Some(vote_out(&expected)), Some(vote_out(&actual)));
            TransferOutcome::VoteChanged(proto::VoteChanged { expected, actual })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            let (expected, actual) = (expected.as_ref().map(id_out), actual.as_ref().map(id_out));
            TransferOutcome::LogNotFlushed(proto::LogNotFlushed { expected, actual })
        }
    };
    proto::TransferResponse { result: Some(outcome) }
}

pub(super) fn transferred_in(
    response: proto::TransferResponse,
) -> Result<TransferLeaderResponse<Types>, Status> {
    Ok(match response.result.ok_or_else(|| missing("result"))? {
        TransferOutcome::Accepted(_) => Ok(()),
        TransferOutcome::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: vote_in(changed.expected)?,
            actual: vote_in(changed.actual)?,
        }),
        TransferOutcome::LogNotFlushed(state) => Err(TransferLeaderError::LogNotFlushed {
            expected: state.expected.map(id_in),
            actual: state.actual.map(id_in),
        }),
    })
}
