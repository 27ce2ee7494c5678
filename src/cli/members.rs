//! `kontiki members ...`: who votes, who leads.

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use kontiki_proto::cluster::{
    AddMemberRequest, Empty, Member, MemberList, PromoteRequest, RemoveRequest, TransferLeaderRequest,
};
use serde_json::json;

use super::access::{Access, AccessArgs, Client};
use super::say::say_text;
use super::{Output, block_on, print_json, table};

/// `kontiki members ...`
#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// List the controllers.
    List(Common),
    /// Make a running controller known to the others, as a learner: it receives the log and has no vote.
    Add(AddArgs),
    /// Give a learner that has caught up a vote.
    Promote(Named),
    /// Take a controller out of the cluster. If it leads, it hands over first.
    Remove(Named),
    /// Hand leadership to another voter.
    TransferLeader(Transfer),
}

/// What all of them take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    access: AccessArgs,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Arguments of `kontiki members add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its id, as its certificate says.
    #[arg(long)]
    id: u64,
    /// Its name.
    #[arg(long)]
    name: String,
    /// host:port where the others reach it.
    #[arg(long)]
    address: String,
    /// Its failure domain.
    #[arg(long, default_value = "")]
    zone: String,
    #[command(flatten)]
    common: Common,
}

/// Arguments that name one controller.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The controller's name or id.
    controller: String,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `kontiki members transfer-leader`.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    /// The name or id of the voter to lead [default: the one that is furthest in the log].
    controller: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn members(command: MembersCommand) -> anyhow::Result<()> {
    block_on(async {
        match command {
            MembersCommand::List(common) => {
                let list = list(&Access::find(&common.access)?).await?;
                print(&list, common.output)
            }
            MembersCommand::Add(args) => {
                let AddArgs { id, name, address, zone, common } = args;
                let request = AddMemberRequest {
                    member: Some(Member { id, name, zone, address, ..Member::default() }),
                };
                let access = Access::find(&common.access)?;
                let call = |mut client: Client| {
                    let request = request.clone();
                    async move { client.add_member(request).await }
                };
                print(&access.call(call).await?, common.output)
            }
            MembersCommand::Promote(args) => {
                let access = Access::find(&args.common.access)?;
                let id = find(&list(&access).await?, &args.controller)?;
                let call = |mut client: Client| async move { client.promote(PromoteRequest { id }).await };
                print(&access.call(call).await?, args.common.output)
            }
            MembersCommand::Remove(args) => {
                let access = Access::find(&args.common.access)?;
                let id = find(&list(&access).await?, &args.controller)?;
                let call = |mut client: Client| async move { client.remove(RemoveRequest { id }).await };
                print(&access.call(call).await?, args.common.output)
            }
            MembersCommand::TransferLeader(args) => {
                let access = Access::find(&args.common.access)?;
                let before = list(&access).await?;
                let id = args.controller.as_deref().map(|name| find(&before, name)).transpose()?;
                let call = |mut client: Client| async move {
                    client.transfer_leader(TransferLeaderRequest { id }).await
                };
                let leader_id = Some(access.call(call).await?.leader_id);
                print(&MemberList { leader_id, ..before }, args.common.output)
            }
        }
    })
}

async fn list(access: &Access) -> anyhow::Result<MemberList> {
    access.call(|mut client| async move { client.members(Empty {}).await }).await
}

/// The id of a controller that is named by its name or id.
fn find(list: &MemberList, wanted: &str) -> anyhow::Result<u64> {
    let by_name: Vec<&Member> = list.members.iter().filter(|m| m.name == wanted).collect();
    if let [one] = by_name[..] {
        return Ok(one.id);
    }
    if by_name.len() > 1 {
        bail!("several controllers are named {wanted:?}: give the id");
    }
    let id = wanted.parse().ok().filter(|id| list.members.iter().any(|m| m.id == *id));
    id.ok_or_else(|| {
        let known: Vec<String> = list.members.iter().map(|m| format!("{} ({})", m.name, m.id)).collect();
        anyhow!("no controller {wanted:?} in this cluster; there are: {}", known.join(", "))
    })
}

fn print(list: &MemberList, output: Output) -> anyhow::Result<()> {
    let role = |member: &Member| match (list.leader_id == Some(member.id), member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    match output {
        Output::Json => {
            let member = |m: &Member| {
                json!({ "id": m.id, "name": m.name, "zone": m.zone, "address": m.address, "voter": m.voter,
                        "role": role(m) })
            };
            let members: Vec<_> = list.members.iter().map(member).collect();
            print_json(&json!({ "members": members, "leaderId": list.leader_id }))
        }
        Output::Table => {
            let mut table = table::table(&["ID", "NAME", "ZONE", "ROLE", "ADDRESS"]);
            for m in &list.members {
                table.add_row([m.id.to_string().as_str(), &m.name, &m.zone, role(m), &m.address]);
            }
            say_text(&table::text(&mut table));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_controller_is_named_by_name_or_id() {
        let member = |id, name: &str| Member { id, name: name.into(), ..Member::default() };
        let list =
            MemberList { members: vec![member(1, "c1"), member(4, "2"), member(2, "c2")], leader_id: None };
        assert_eq!(find(&list, "c1").unwrap(), 1);
        // A name comes before an id.
        assert_eq!(find(&list, "2").unwrap(), 4);
        assert_eq!(find(&list, "4").unwrap(), 4);
        assert!(find(&list, "c9").unwrap_err().to_string().contains("there are: c1 (1), 2 (4), c2 (2)"));
    }
}
