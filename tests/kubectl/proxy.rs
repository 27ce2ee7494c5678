//! Requests that are handed on to pods and Services, through any controller.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::scenario::Scenario;
use crate::streams::command;

pub fn hands_requests_on(s: &Scenario) {
    s.web();
    s.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=http"]);
    let pod = s.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    let base = format!("/api/v1/namespaces/{}", s.namespace);
    let hello = format!("hello from {pod}\n");
    // The port by number, by name, and the first; a path that is missing is found by the redirect.
    for named in [":8080/proxy/", ":http/proxy/", "/proxy/", ":8080/proxy", "/proxy?x=y"] {
        assert_eq!(s.kubectl(&["get", "--raw", &format!("{base}/pods/{pod}{named}")]), hello, "{named}");
    }
    let status = s.cluster.status().unwrap();
    for controller in status["controllers"].as_array().unwrap() {
        let server = format!("--server=https://{}", controller["address"].as_str().unwrap());
        let url = format!("{base}/pods/http:{pod}:8080/proxy/healthz?a=b");
        assert_eq!(s.kubectl(&[&server, "get", "--raw", &url]), "ok\n");
        let said = s.kubectl(&[&server, "get", "--raw", &format!("{base}/services/web:80/proxy/")]);
        assert!(said.starts_with("hello from web-"), "{said}");
    }

    let refused = |path: &str| s.refused(&["get", "--raw", &format!("{base}/{path}")]);
    let closed = refused(&format!("pods/{pod}:9/proxy/"));
    assert!(
        closed.contains("error trying to reach service: ") && closed.contains("connection refused"),
        "{closed}"
    );
    let tls = refused(&format!("pods/https:{pod}:8080/proxy/"));
    assert!(tls.contains("error trying to reach service: tls: "), "{tls}");
    let nobody = refused("services/web:81/proxy/");
    assert!(nobody.contains("no service port 81 found for service \"web\""), "{nobody}");
    let jane = s.refused(&["get", "--as", "jane", "--raw", &format!("{base}/pods/{pod}/proxy/")]);
    assert!(jane.contains("cannot get resource \"pods/proxy\""), "{jane}");

    // As browsers do it.
    let mut proxy = command(s, &["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let local = line.trim().rsplit(' ').next().unwrap();
    let ask = |method: &str, path: &str| {
        let mut stream = TcpStream::connect(local).unwrap();
        write!(stream, "{method} {base}/{path} HTTP/1.1\r\nHost: {local}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("GET", &format!("pods/{pod}:8080/proxy/"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&hello), "{answer}");
    let moved = ask("GET", "services/web:80/proxy").to_ascii_lowercase();
    assert!(moved.starts_with("http/1.1 301"), "{moved}");
    assert!(moved.contains(&format!("\nlocation: {base}/services/web:80/proxy/\r\n")), "{moved}");
    // The pod's own answer, whatever it is.
    let own = ask("DELETE", &format!("pods/{pod}:8080/proxy/x"));
    assert!(own.starts_with("HTTP/1.1 405") && own.contains("only GET and HEAD are served"), "{own}");
    proxy.kill().ok();
    proxy.wait().unwrap();
}
