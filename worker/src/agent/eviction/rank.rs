//! Whose turn it is to go, and what is said of it.

use std::cmp::{Ordering, Reverse};

use super::super::pressure::{Shortage, Signal};
use super::survey::Taker;

/// Those first that are to go first: who takes more than he asked for before who does not, then the lower priority, then who
/// takes the most beyond what he asked for. Who is not known to take anything goes last. As the kubelet has it, but for
/// the last, whom it sends away first.
pub(super) fn order(pods: &mut [Taker], signal: Signal) {
    pods.sort_by(|a, b| compare(a, b, signal));
}

fn compare(a: &Taker, b: &Taker, signal: Signal) -> Ordering {
    let known = a.takes.is_none().cmp(&b.takes.is_none());
    let priority = a.pod.spec.priority.cmp(&b.pod.spec.priority);
    let excess = |pod: &Taker| i128::from(pod.takes.unwrap_or(0)) - i128::from(pod.asked);
    let most = Reverse(excess(a)).cmp(&Reverse(excess(b)));
    // Nobody asks for process ids.
    let beyond = match signal {
        Signal::Pids => Ordering::Equal,
        _ => (excess(a) <= 0).cmp(&(excess(b) <= 0)),
    };
    let uid = a.pod.metadata.uid.cmp(&b.pod.metadata.uid);
    known.then(beyond).then(priority).then(most).then(uid)
}

/// The kubelet's words.
pub(super) fn message(pod: &Taker, shortage: &Shortage) -> String {
    let resource = shortage.signal.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        shortage.threshold(),
        shortage.available()
    );
    if matches!(shortage.signal, Signal::Pids) || shortage.signal.is_of_inodes() {
        return text;
    }
    for share in pod.containers.iter().filter(|share| share.takes > share.asked) {
        text.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            share.name,
            super::super::pressure::quantity(share.takes),
            share.written
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::super::survey::Share;
    use super::*;
    use crate::pod::document::Pod;

    fn taker(uid: &str, priority: i64, takes: Option<u64>, asked: u64) -> Taker {
        let json = format!(r#"{{"metadata":{{"uid":"{uid}"}},"spec":{{"priority":{priority}}}}}"#);
        Taker { pod: Arc::new(Pod::parse(json.as_bytes()).unwrap()), takes, asked, containers: Vec::new() }
    }

    fn ordered(mut pods: Vec<Taker>, signal: Signal) -> Vec<String> {
        order(&mut pods, signal);
        pods.into_iter().map(|pod| pod.pod.metadata.uid.clone()).collect()
    }

    #[test]
    fn who_takes_more_than_he_asked_for_goes_first() {
        let pods = vec![
            taker("within", 0, Some(900), 1000),
            taker("unknown", 0, None, 0),
            taker("high", 10, Some(2000), 100),
            taker("much", 0, Some(500), 100),
            taker("more", 0, Some(700), 100),
            taker("exact", 0, Some(100), 100),
        ];
        let expected = ["more", "much", "high", "exact", "within", "unknown"];
        assert_eq!(ordered(pods, Signal::Memory), expected);
    }

    #[test]
    fn of_process_ids_priority_comes_first() {
        let pods =
            vec![taker("high", 1, Some(900), 0), taker("few", 0, Some(1), 0), taker("many", 0, Some(7), 0)];
        assert_eq!(ordered(pods, Signal::Pids), ["many", "few", "high"]);
    }

    #[test]
    fn the_kubelets_words() {
        let shortage: Shortage = Shortage::example("memory.available<100Mi", 81_512 << 10);
        let mut pod = taker("a", 0, Some(0), 0);
        let share = |name: &str, takes, asked, written: &str| Share {
            name: name.into(),
            takes,
            asked,
            written: written.into(),
        };
        pod.containers =
            vec![share("main", 200 << 20, 100 << 20, "100Mi"), share("small", 1 << 20, 2 << 20, "2Mi")];
        assert_eq!(
            message(&pod, &shortage),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 81512Ki. Container main was using \
             200Mi, request is 100Mi, has larger consumption of memory. "
        );
    }
}
