use crate::scenario::Scenario;

pub fn follows_and_looks_back(s: &Scenario) {
    s.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: talker}\nspec:\n  restartPolicy: OnFailure\n  containers:\n  - name: c\n    \
         image: kontiki.local/web:1\n    command: [sh, -c, 'echo one; echo two; sleep 1; echo three']\n",
    );
    // Follows until the container ends.
    s.until(&["logs", "talker"], "one");
    assert_eq!(s.kubectl(&["logs", "-f", "talker"]), "one\ntwo\nthree\n");
    assert_eq!(s.kubectl(&["logs", "talker", "--tail=1"]), "three\n");
    s.succeeded("talker");
    let stamped = s.kubectl(&["logs", "talker", "--timestamps", "--tail=2"]);
    let words: Vec<(&str, &str)> = stamped.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(words.iter().map(|(_, word)| *word).collect::<Vec<_>>(), ["two", "three"], "{stamped}");
    let since = words[1].0;
    assert!(since > words[0].0 && since.ends_with('Z'), "{stamped}");
    // The server is asked by whole seconds, and there was one between the two.
    assert_eq!(s.kubectl(&["logs", "talker", "--since-time", since]), "three\n");
    assert_eq!(s.kubectl(&["logs", "talker", "--since-time=2099-01-01T00:00:00Z"]), "");
    assert_eq!(s.kubectl(&["logs", "talker", "--since=1h", "--limit-bytes=7"]), "one\ntwo");
    s.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: pair, labels: {of: two}}\nspec:\n  restartPolicy: Never\n  initContainers:\n  \
         - {name: first, image: 'kontiki.local/web:1', command: [echo, begun]}\n  containers:\n  \
         - {name: a, image: 'kontiki.local/web:1', command: [echo, hello]}\n  \
         - {name: b, image: 'kontiki.local/web:1', command: [echo, there]}\n",
    );
    s.succeeded("pair");
    // kubectl goes through a map of Go, whose order is any.
    let all = s.kubectl(&["logs", "pair", "--all-containers", "--prefix"]);
    let mut all: Vec<&str> = all.lines().collect();
    all.sort_unstable();
    assert_eq!(all, ["[pod/pair/a] hello", "[pod/pair/b] there", "[pod/pair/first] begun"]);
    assert_eq!(s.kubectl(&["logs", "-l", "of=two", "-c", "b"]), "there\n");
    s.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: faller}\nspec:\n  containers:\n  - name: c\n    image: kontiki.local/web:1\n    \
         command: [sh, -c, 'echo hello from a run; exit 1']\n",
    );
    s.until(&["get", "pod", "faller"], "CrashLoopBackOff");
    assert_eq!(s.kubectl(&["logs", "faller", "--previous"]), "hello from a run\n");
}

pub fn config_maps_and_secrets_reach_the_container(s: &Scenario) {
    s.kubectl(&["create", "configmap", "conf", "--from-literal=colour=blue", "--from-literal=data-1=one"]);
    s.kubectl(&["create", "service", "clusterip", "my-shop", "--tcp=8080"]);
    s.kubectl(&["create", "secret", "generic", "key", "--from-literal=word=open"]);
    s.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: reader}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    \
         image: kontiki.local/web:1\n    command: [sh, -c, 'echo $COLOUR $(cat /secret/word) $MY_SHOP_SERVICE_PORT; tr \"\\0\" \"\\n\" \
         < /proc/1/environ | grep data']\n    envFrom: [{configMapRef: {name: conf}}]\n    env:\n    - name: COLOUR\n      \
         valueFrom: {configMapKeyRef: {name: conf, key: colour}}\n    volumeMounts: [{name: v, mountPath: /secret}]\n  \
         volumes: [{name: v, secret: {secretName: key}}]\n",
    );
    s.succeeded("reader");
    // A shell hands on only what could be a variable of its own.
    assert_eq!(s.kubectl(&["logs", "reader"]), "blue open 8080\ndata-1=one\n");
}
