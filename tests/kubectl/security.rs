//! Security contexts, volumes and names, from kubectl to the container.

use std::os::unix::fs::MetadataExt;

use crate::scenario::Scenario;

fn pod(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{restartPolicy: Never, {spec}}}\n")
}

pub fn containers_have_the_bounds_that_they_ask_for(s: &Scenario) {
    let refused = |spec: &str| {
        let file = s.file("bad.yaml", &pod("bad", spec));
        s.refused(&["create", "-f", &file])
    };
    const IMAGE: &str = "name: c, image: 'kontiki.local/web:1'";
    let told = refused(&format!(
        "containers: [{{{IMAGE}, securityContext: {{privileged: true, allowPrivilegeEscalation: false}}}}]"
    ));
    assert!(
        told.contains("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
        "{told}"
    );
    let told = refused(&format!("securityContext: {{fsGroup: -1}}, containers: [{{{IMAGE}}}]"));
    assert!(told.contains("must be between 0 and 2147483647, inclusive"), "{told}");
    let told = refused(&format!("dnsPolicy: None, containers: [{{{IMAGE}}}]"));
    assert!(told.contains("must provide `dnsConfig` when `dnsPolicy` is None"), "{told}");

    // What a worker cannot do is told by the pod.
    let armor = "securityContext: {appArmorProfile: {type: RuntimeDefault}}";
    s.apply(&pod("armoured", &format!("{armor}, containers: [{{{IMAGE}}}]")));
    s.until(&["get", "pod", "armoured"], "CreateContainerConfigError");
    let state = s.json(&["get", "pod", "armoured"]);
    let waiting = &state["status"]["containerStatuses"][0]["state"]["waiting"];
    assert!(waiting["message"].as_str().unwrap().starts_with("Cannot enforce AppArmor"), "{waiting}");
    s.until(&["get", "events"], "Cannot enforce AppArmor");

    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("skipped: containers need root");
    }
    let script = "cat /proc/self/status; id -G; hostname; cat /etc/hosts /etc/resolv.conf; ls -ldn /memory /disk; \
                  ls -lnL /secret/word; cat /proc/mounts";
    s.kubectl(&["create", "secret", "generic", "key", "--from-literal=word=open"]);
    s.apply(&pod(
        "bound",
        &format!(
            "hostname: h, subdomain: d, setHostnameAsFQDN: true, dnsPolicy: None, dnsConfig: {{nameservers: [9.9.9.9], searches: \
             [a.example]}}, hostAliases: [{{ip: 1.2.3.4, hostnames: [alias.example]}}], securityContext: {{runAsUser: 1000, \
             fsGroup: 4711, supplementalGroups: [50], seccompProfile: {{type: RuntimeDefault}}}}, volumes: [{{name: m, emptyDir: \
             {{medium: Memory, sizeLimit: 1Mi}}}}, {{name: d, emptyDir: {{}}}}, {{name: s, secret: {{secretName: key, \
             defaultMode: 256}}}}], containers: [{{{IMAGE}, command: [sh, -c, '{script}'], volumeMounts: [{{name: m, mountPath: \
             /memory}}, {{name: d, mountPath: /disk, subPath: part}}, {{name: s, mountPath: /secret}}]}}]"
        ),
    ));
    s.succeeded("bound");
    let said = s.kubectl(&["logs", "bound"]);
    let host = format!("h.d.{}.svc.cluster.local", s.namespace);
    for line in [
        "Seccomp:\t2",
        "NoNewPrivs:\t0",
        "CapEff:\t0000000000000000",
        &host,
        &format!("127.0.0.1\t{host}\th"),
        "1.2.3.4\talias.example",
        "search a.example",
        "nameserver 9.9.9.9",
    ] {
        assert!(said.lines().any(|it| it == line), "{line} in {said}");
    }
    let groups = said.lines().find(|line| line.starts_with("Groups:")).unwrap();
    for group in ["50", "4711"] {
        assert!(groups.split_whitespace().any(|word| word == group), "{group} in {groups}");
    }
    for (path, mode) in [("/memory", "drwxrwsrwx"), ("/disk", "drwxrwsrwx"), ("/secret/word", "-r--r-----")] {
        let listed = said.lines().find(|line| line.ends_with(path)).unwrap();
        assert!(listed.starts_with(mode) && listed.contains(" 4711 "), "{listed}");
    }
    let memory = said.lines().find(|line| line.starts_with("tmpfs /memory")).unwrap();
    assert!(memory.contains("size=1024k"), "{memory}");

    // Who takes more of the disk than it said is sent away.
    s.apply(&pod(
        "greedy",
        &format!(
            "volumes: [{{name: d, emptyDir: {{sizeLimit: 1Mi}}}}], containers: [{{{IMAGE}, command: [sh, -c, 'dd if=/dev/zero \
             of=/disk/big bs=1024 count=4096; sleep 1000'], volumeMounts: [{{name: d, mountPath: /disk}}]}}]"
        ),
    ));
    s.until(&["get", "pod", "greedy", "-o", "jsonpath={.status.reason}"], "Evicted");
    let message = s.kubectl(&["get", "pod", "greedy", "-o", "jsonpath={.status.message}"]);
    assert_eq!(message.trim_end(), "Usage of EmptyDir volume \"d\" exceeds the limit \"1Mi\".");
}
