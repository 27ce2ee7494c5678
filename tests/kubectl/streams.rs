//! Streams into pods: exec, cp and port-forward, through any controller.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use kontiki_chaos_tests::{eventually, kubectl_path};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::scenario::Scenario;

const BOX: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: box}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  \
                   - {name: c, image: 'kontiki.local/web:1', command: [sleep, '100000'], imagePullPolicy: IfNotPresent}\n  \
                   - {name: web, image: 'kontiki.local/web:1', imagePullPolicy: IfNotPresent}\n";

/// kubectl in the scenario's namespace.
pub fn command(s: &Scenario, args: &[&str]) -> Command {
    let mut command = Command::new(kubectl_path());
    command.args(["-n", &s.namespace]).args(args).env("KUBECONFIG", s.cluster.kubeconfig());
    command.env("KUBECACHEDIR", s.cluster.dir().join("kubectl-cache"));
    command
}

/// The same with an input, which is given while the output is read.
fn given(s: &Scenario, args: &[&str], input: &[u8]) -> Output {
    fed(command(s, args), input)
}

fn fed(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn the_box(s: &Scenario) {
    s.apply(BOX);
    s.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]);
}

/// Bytes without a pattern that a pipe, a frame or a line could have.
fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub fn exec_as_in_a_shell(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    the_box(s);
    let ran = given(s, &["exec", "box", "-c", "c", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], b"");
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(7), "out\n"), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("err\n"), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("command terminated with exit code 7"), "{}", text(&ran.stderr));

    // Without -i there is no input; with it the end of the input is seen.
    assert_eq!(s.kubectl(&["exec", "box", "-c", "c", "--", "cat"]), "");
    let sent = bytes(10 << 20);
    let back = given(s, &["exec", "-i", "box", "-c", "c", "--", "cat"], &sent);
    assert!(back.status.success(), "{}", text(&back.stderr));
    assert!(back.stdout == sent, "{} of {} bytes came back", back.stdout.len(), sent.len());
    // Who stops reading early ends in order, and loses no output.
    let head = given(s, &["exec", "-i", "box", "-c", "c", "--", "sh", "-c", "head -c 5; exit 3"], &sent);
    assert_eq!((head.status.code(), &*head.stdout), (Some(3), &sent[..5]), "{}", text(&head.stderr));

    // Every controller serves it, whoever leads.
    let status = s.cluster.status().unwrap();
    let controllers = status["controllers"].as_array().unwrap();
    assert_eq!(controllers.len(), 3);
    for controller in controllers {
        let server = format!("--server=https://{}", controller["address"].as_str().unwrap());
        let said = s.kubectl(&[&server, "exec", "box", "-c", "c", "--", "echo", "through", &server]);
        assert_eq!(said, format!("through {server}\n"));
    }
}

/// kubectl before 1.30 has SPDY only, which newer ones can be told to speak.
pub fn older_clients_are_served(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    the_box(s);
    let mut exec =
        command(s, &["exec", "-i", "box", "-c", "c", "--", "sh", "-c", "cat; echo err >&2; exit 4"]);
    exec.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
    let sent = bytes(1 << 20);
    let ran = fed(exec, &sent);
    assert_eq!(ran.status.code(), Some(4), "{}", text(&ran.stderr));
    assert!(ran.stdout == sent && text(&ran.stderr).contains("err\n"), "{}", text(&ran.stderr));
}

pub fn exec_refuses_in_the_words_of_kubernetes(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    the_box(s);
    let missing = s.refused(&["exec", "box", "-c", "c", "--", "no-such-program"]);
    assert!(missing.contains("executable file not found in $PATH"), "{missing}");
    let container = s.refused(&["exec", "box", "-c", "nope", "--", "true"]);
    assert!(container.contains("container nope is not valid for pod box"), "{container}");
    let pod = s.refused(&["exec", "nowhere", "--", "true"]);
    assert!(pod.contains("pods \"nowhere\" not found"), "{pod}");
    let other = s.refused(&["exec", "box", "-c", "c", "--as", "jane", "--", "true"]);
    assert!(other.contains("cannot get resource \"pods\"") || other.contains("\"pods/exec\""), "{other}");

    s.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: half}\nspec:\n  restartPolicy: Never\n  containers:\n  - {name: done, \
         image: 'kontiki.local/web:1', command: ['true'], imagePullPolicy: IfNotPresent}\n  - {name: stays, image: \
         'kontiki.local/web:1', command: [sleep, '1000'], imagePullPolicy: IfNotPresent}\n",
    );
    s.until(&["get", "pod", "half", "-o", "jsonpath={.status.containerStatuses[*].state}"], "Completed");
    let ended = s.refused(&["exec", "half", "-c", "done", "--", "true"]);
    assert!(ended.contains("container not found (\"done\")"), "{ended}");
}

/// kubectl at a terminal of its own.
pub struct Terminal {
    near: File,
    pub child: Child,
    pub shown: String,
}

impl Terminal {
    pub fn open(mut command: Command, columns: u16, rows: u16) -> Terminal {
        let near = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::unlockpt(&near).unwrap();
        let far = rustix::pty::ioctl_tiocgptpeer(&near, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&near, size).unwrap();
        let again = || Stdio::from(far.try_clone().unwrap());
        let child = command.stdin(again()).stdout(again()).stderr(again()).spawn().unwrap();
        Terminal { near: near.into(), child, shown: String::new() }
    }

    pub fn types(&mut self, keys: &str) {
        self.near.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until it shows something.
    pub fn shows(&mut self, what: &str) {
        let mut buffer = [0; 4096];
        while !self.shown.contains(what) {
            // The end is an error: nobody holds the other side any more.
            let count = self.near.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "{what:?} was not shown, but {:?}", self.shown);
            self.shown.push_str(&text(&buffer[..count]));
        }
    }
}

pub fn exec_in_a_terminal(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    the_box(s);
    let mut shell = Terminal::open(command(s, &["exec", "-it", "box", "-c", "c", "--", "sh"]), 101, 37);
    shell.types("tty; echo a$((1+1))\n");
    shell.shows("/dev/pts/");
    shell.shows("a2\r\n");
    // The size arrives beside the keys.
    shell.types("until stty size | grep '37 101'; do sleep 0.1; done\n");
    shell.shows("37 101\r\n");
    let size = Winsize { ws_col: 90, ws_row: 20, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&shell.near, size).unwrap();
    // What changes a terminal's size tells those at it; it is not kubectl's controlling one here.
    let pid = rustix::process::Pid::from_child(&shell.child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    shell.types("until stty size | grep '20 90'; do sleep 0.1; done\n");
    shell.shows("20 90\r\n");
    // Whoever runs in front says that it does before it is interrupted: a key that comes earlier would be the shell's.
    shell.types("sh -c 'trap \"echo in$((1+1))terrupted; exit\" INT; echo re$((1+1))ady; while :; do sleep 0.1; done'\n");
    shell.shows("re2ady\r\n");
    shell.types("\u{3}");
    shell.shows("in2terrupted\r\n");
    shell.types("exit 5\n");
    assert_eq!(shell.child.wait().unwrap().code(), Some(5), "{}", shell.shown);
}

pub fn copies_both_ways(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    the_box(s);
    let sent = bytes(3 << 20);
    let there = s.file("there", "");
    std::fs::write(&there, &sent).unwrap();
    s.kubectl(&["cp", &there, "box:/tmp/copied", "-c", "c"]);
    let back = s.file("back", "");
    s.kubectl(&["cp", "box:/tmp/copied", &back, "-c", "c"]);
    assert!(std::fs::read(&back).unwrap() == sent);
}

pub fn forwards_ports(s: &Scenario) {
    if !s.knows(31) {
        return;
    }
    the_box(s);
    let mut forward = command(s, &["port-forward", "pod/box", ":8080", ":9"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut local = |to: &str| {
        let line = lines.find(|line| line.contains("127.0.0.1:") && line.ends_with(to)).unwrap();
        line.trim_start_matches("Forwarding from ").split(' ').next().unwrap().to_owned()
    };
    let (web, closed) = (local("-> 8080"), local("-> 9"));
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&web).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/healthz").starts_with("HTTP/1.1 200"));
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| ask("/"))).collect();
        assert!(asking.into_iter().all(|answer| answer.join().unwrap().starts_with("HTTP/1.1 200")));
    });
    // A port where nobody listens says so.
    let mut nobody = TcpStream::connect(&closed).unwrap();
    assert_eq!(nobody.read(&mut [0; 1]).unwrap_or(0), 0);
    let mut said = BufReader::new(forward.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("connection refused")));
    forward.kill().ok();
    forward.wait().unwrap();
}

pub fn attaches(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    let image = ["--image=kontiki.local/web:1", "--image-pull-policy=IfNotPresent", "--restart=Never"];
    let run = ["run", "once", "-i", "--rm", "--quiet"];
    let script = ["--command", "--", "sh", "-c", "read word; echo got $word; cat; echo over"];
    let ran = given(s, &[&run[..], &image[..], &script[..]].concat(), b"hello\nand more\n");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "got hello\nand more\nover\n", "{}", text(&ran.stderr));

    let run = ["run", "shell", "-it", "--command=true"];
    let mut shell = Terminal::open(command(s, &[&run[..], &image[..], &["--", "sh"]].concat()), 80, 24);
    s.until(&["get", "pod", "shell", "-o", "jsonpath={.status.phase}"], "Running");
    shell.types("echo a$((1+1)); tty\n");
    shell.shows("a2\r\n");
    shell.shows("/dev/pts/");
    shell.types("exit 6\n");
    assert_eq!(shell.child.wait().unwrap().code(), Some(6), "{}", shell.shown);
}

/// A client that goes away takes what hangs on it along: a command that writes finds nobody there.
pub fn who_goes_away_leaves_nothing_behind(s: &Scenario) {
    if !s.knows(30) {
        return;
    }
    the_box(s);
    let mut client = command(s, &["exec", "-i", "box", "-c", "c", "--", "sh", "-c", "echo up; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    client.stdout.take().unwrap().read_exact(&mut up).unwrap();
    assert!(s.kubectl(&["exec", "box", "-c", "c", "--", "ps"]).contains("cat"));
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("the end of the command", || {
        let left = s.cluster.kubectl(&["-n", &s.namespace, "exec", "box", "-c", "c", "--", "ps"]);
        let left = left.map_err(|error| error.to_string())?;
        if left.contains("cat") { Err(left) } else { Ok(()) }
    });
}
