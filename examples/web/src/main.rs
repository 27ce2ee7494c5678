//! A tiny HTTP/1.1 server to play with in a cluster: it says who it is, tells whether it is well, and exits when told to,
//! by a request or by SIGTERM. One thread per request, at most [`MAX_REQUESTS`] at a time. Not for real traffic.

mod answer;
mod request;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::answer::Answer;
use crate::request::Request;

/// More at the same time are turned away.
const MAX_REQUESTS: usize = 256;
/// A request's head may be this big.
const MAX_HEAD: usize = 16 * 1024;
/// And take this long to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let port = match env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| format!("PORT must be a number up to 65535, not {text:?}"))?,
        Err(_) => 8080,
    };
    exit_on_signals().map_err(|e| format!("cannot handle signals: {e}"))?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|e| format!("cannot listen on port {port}: {e}"))?;
    let hostname = hostname();
    log(&format!("{hostname} listens on port {port}"));
    let running = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn the processor.
                log(&format!("cannot accept: {error}"));
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if running.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            running.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (hostname, done) = (hostname.clone(), running.clone());
        let started = thread::Builder::new().spawn(move || {
            // A client that went away is no concern of the others.
            let _ = serve(stream, &hostname);
            done.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = started {
            running.fetch_sub(1, Ordering::Relaxed);
            log(&format!("cannot start a thread: {error}"));
        }
    }
    Ok(())
}

/// The first process of a container gets no signal that it does not ask for: without this, SIGTERM would do nothing.
fn exit_on_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().spawn(move || {
        if signals.forever().next().is_some() {
            log("told to stop");
            exit(0);
        }
    })?;
    Ok(())
}

fn serve(mut stream: TcpStream, hostname: &str) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    let head = read_head(&mut stream)?;
    let request = Request::parse(&head);
    let answer = match &request {
        Some(request) => answer::to(request, hostname, env::vars_os()),
        None => Answer::text(400, "this is not an HTTP request\n"),
    };
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or(&[])).into_owned();
    log(&format!("{} {:?} {}", peer.ip(), line, answer.status));
    let bodyless = request.is_some_and(|request| request.method == "HEAD");
    let written = stream.write_all(&answer.bytes(bodyless)).and_then(|()| stream.flush());
    if let Some(code) = answer.exit {
        log(&format!("told to exit with {code}"));
        exit(code);
    }
    written
}

/// Reads up to the empty line that ends a request's head. Bodies are not read: nothing here takes one.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > MAX_HEAD {
            return Err(io::Error::other("the request is too slow or too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(head)
}

/// The pod's name as its environment says it, else the machine's.
fn hostname() -> String {
    let from_kernel = || fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = env::var("HOSTNAME").ok().or_else(from_kernel).unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

/// To stdout, whatever happens to it: a full disk behind the log must not stop the answers.
fn log(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
