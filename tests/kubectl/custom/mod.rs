//! Custom resources by kubectl: as whoever installs and uses an operator does it.

use crate::scenario::Scenario;

const DEFINITION: &str = include_str!("certificates.yaml");

fn certificate(more: &str) -> String {
    format!(
        "apiVersion: tls.example.io/v1\nkind: Certificate\nmetadata: {{name: web}}\nspec:\n  secretName: web-tls\n  \
         issuerRef: {{name: ca}}\n{more}"
    )
}

pub fn a_definition_and_its_objects(s: &Scenario) {
    // Before that it knows only an alpha form of what is used here.
    if !s.knows(27) {
        return;
    }
    assert_eq!(
        s.apply(DEFINITION),
        "customresourcedefinition.apiextensions.k8s.io/certificates.tls.example.io created\n"
    );
    assert!(s.apply(DEFINITION).ends_with("unchanged\n"));
    s.kubectl(&["wait", "--for=condition=Established", "crd/certificates.tls.example.io", "--timeout=10s"]);
    let resources = s.kubectl(&["api-resources", "--api-group=tls.example.io"]);
    assert!(
        resources.contains("certificates   cert,certs   tls.example.io/v1   true         Certificate"),
        "{resources}"
    );

    let file = s.file("certificate.yaml", &certificate("  dnsNames: [a.example.io, b.example.io]\n"));
    assert_eq!(s.kubectl(&["apply", "-f", &file]), "certificate.tls.example.io/web created\n");
    assert_eq!(s.kubectl(&["apply", "-f", &file]), "certificate.tls.example.io/web unchanged\n");
    assert_eq!(s.kubectl(&["diff", "-f", &file]), "");
    let stored = s.json(&["get", "cert", "web"]);
    assert_eq!(stored["spec"]["copies"], 1);
    assert_eq!(stored["spec"]["issuerRef"]["kind"], "Issuer");
    printed(s);
    explained(s);
    changed(s);
    refused(s);
    ended(s);
}

fn printed(s: &Scenario) {
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}],"copies":1}}"#;
    s.kubectl(&["patch", "certificate", "web", "--subresource=status", "--type=merge", "-p", ready]);
    s.kubectl(&["wait", "--for=condition=Ready", "certificate/web", "--timeout=10s"]);
    let table = s.kubectl(&["get", "certificates"]);
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["NAME", "READY", "SECRET", "AGE"], "{table}");
    assert_eq!(lines.next().unwrap()[..3], ["web", "True", "web-tls"], "{table}");
    let wide = s.kubectl(&["get", "certs", "-o", "wide"]);
    assert!(wide.starts_with("NAME") && wide.contains("ISSUER"), "{wide}");
    assert!(s.kubectl(&["get", "all"]).contains("certificate.tls.example.io/web"));
    let selected = |secret: &str| {
        s.kubectl(&["get", "cert", "-o", "name", "--field-selector", &format!("spec.secretName={secret}")])
    };
    assert_eq!(selected("web-tls"), "certificate.tls.example.io/web\n");
    assert_eq!(selected("other"), "");
    assert!(s.kubectl(&["describe", "cert", "web"]).contains("Secret Name:"));
}

fn explained(s: &Scenario) {
    let field = s.kubectl(&["explain", "certificate.spec.secretName"]);
    assert!(field.contains("FIELD: secretName <string>"), "{field}");
    assert!(field.contains("Name of the Secret that the certificate is kept in."), "{field}");
    let whole = s.kubectl(&["explain", "cert", "--recursive"]);
    for line in
        ["GROUP:      tls.example.io", "issuerRef\t<Object> -required-", "enum: Issuer, ClusterIssuer"]
    {
        assert!(whole.contains(line), "{line} in {whole}");
    }
}

fn changed(s: &Scenario) {
    let at = |path: &str| s.kubectl(&["get", "cert", "web", "-o", &format!("jsonpath={{{path}}}")]);
    assert_eq!(at(".metadata.generation"), "1");
    s.kubectl(&["patch", "cert", "web", "--type=merge", "-p", r#"{"spec":{"duration":"2160h"}}"#]);
    s.kubectl(&[
        "patch",
        "cert",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/spec/renewBefore","value":"10%"}]"#,
    ]);
    assert_eq!((at(".spec.duration"), at(".metadata.generation")), ("2160h".into(), "3".into()));
    let strategic = s.refused(&["patch", "cert", "web", "--type=strategic", "-p", "{}"]);
    assert!(strategic.contains("application/merge-patch+json"), "{strategic}");
    s.kubectl(&["label", "cert", "web", "team=web"]);
    s.kubectl(&["scale", "cert", "web", "--replicas=3"]);
    assert_eq!((at(".spec.copies"), at(".metadata.generation")), ("3".into(), "4".into()));

    let applied = |manager: &str, more: &str| {
        let file = s.file("applied.yaml", &certificate(more));
        let manager = format!("--field-manager={manager}");
        s.cluster
            .kubectl_output(&["-n", &s.namespace, "apply", "--server-side", &manager, "-f", &file])
            .unwrap()
    };
    assert!(applied("stores", "  keystores: [{name: java, format: JKS}]\n").status.success());
    assert!(applied("others", "  keystores: [{name: windows, format: PKCS12}]\n").status.success());
    assert_eq!(at(".spec.keystores[*].name"), "java windows");
    let conflict = applied("others", "  keystores: [{name: java, format: PKCS12}]\n");
    let said = String::from_utf8(conflict.stderr).unwrap();
    assert!(said.contains("conflict with \"stores\": .spec.keystores[name=\"java\"].format"), "{said}");
}

fn refused(s: &Scenario) {
    let refused = |more: &str| {
        let file = s.file("wrong.yaml", &certificate(more));
        s.refused(&["apply", "-f", &file])
    };
    let wrong = refused("  copies: many\n  duration: soon\n");
    for line in [
        "The Certificate \"web\" is invalid",
        "spec.copies: Invalid value: \"string\": spec.copies in body must be of type integer: \"string\"",
        "spec.duration: Invalid value: \"soon\": spec.duration in body must be of type duration: \"soon\"",
    ] {
        assert!(wrong.contains(line), "{line} in {wrong}");
    }
    let unknown = refused("  secretNam: x\n");
    assert!(unknown.contains("strict decoding error: unknown field \"spec.secretNam\""), "{unknown}");
    let broken =
        s.file("broken.yaml", &DEFINITION.replace("minimum: 0, default: 1", "minimum: 2, default: 1"));
    let said = s.refused(&["apply", "-f", &broken]);
    assert!(said.contains("properties[copies].default: Invalid value: 1"), "{said}");
}

fn ended(s: &Scenario) {
    s.kubectl(&["delete", "crd", "certificates.tls.example.io", "--timeout=30s"]);
    // As kubectl remembers what is served, or asks again.
    let gone = s.refused(&["get", "certificates"]);
    let words = [
        "the server doesn't have a resource type \"certificates\"",
        "the server could not find the requested resource",
    ];
    assert!(words.iter().any(|words| gone.contains(words)), "{gone}");
}
