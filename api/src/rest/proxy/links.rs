//! Links of a pod to itself lead through the proxy: those in the header `Location`, and those in pages.
//!
//! Source: Kubernetes' `apimachinery/pkg/util/proxy/transport.go`. Other than there, a page is rewritten as it comes, and only the values of
//! links are: all else stays byte for byte.

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};

/// A longer tag is left as it is.
const TAG: usize = 8 << 10;

/// How a pod's links are told from others, and where they lead.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// The path of the proxy, without a slash at its end.
    pub(super) prefix: String,
    /// Whom the pod was asked as: links to that keep their host.
    pub(super) asked: String,
    /// What else the pod is called.
    pub(super) pod: Vec<String>,
}

impl Links {
    /// Where a link leads; none if it stays as it is.
    pub(super) fn through(&self, link: &str) -> Option<String> {
        let after_scheme = match link.split_once("://") {
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => scheme.len() + 3,
            _ if link.starts_with("//") => 2,
            _ => 0,
        };
        let end = match after_scheme {
            0 => 0,
            start => link[start..].find(['/', '?', '#']).map_or(link.len(), |at| start + at),
        };
        let (host, path) = (&link[after_scheme..end], &link[end..]);
        if !path.starts_with('/') {
            return None;
        }
        let there = path.strip_prefix(self.prefix.as_str());
        let there = there.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
        let prefix = if there { "" } else { self.prefix.as_str() };
        let same = after_scheme == 0 || host == self.asked;
        if same {
            return (!there).then(|| format!("{}{prefix}{path}", &link[..end]));
        }
        self.pod.iter().any(|name| name == host).then(|| format!("{prefix}{path}"))
    }

    /// A page with its links through the proxy.
    pub(super) fn in_page<E>(
        self,
        page: impl futures_util::Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Body
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let page = Box::pin(page);
        let rewriting = stream::unfold(Some((page, Page::new(self))), |state| async move {
            let (mut page, mut rewriter) = state?;
            match page.next().await {
                Some(Ok(bytes)) => Some((Ok(rewriter.more(&bytes)), Some((page, rewriter)))),
                Some(Err(error)) => Some((Err(error), None)),
                None => Some((Ok(rewriter.rest()), None)),
            }
        });
        Body::from_stream(rewriting.filter(|piece| {
            let empty = piece.as_ref().is_ok_and(Bytes::is_empty);
            std::future::ready(!empty)
        }))
    }
}

/// A page of HTML while it comes.
struct Page {
    links: Links,
    inside: Inside,
    /// What cannot be judged yet.
    held: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Inside {
    Text,
    Comment,
    /// An element whose content is no HTML.
    Raw(&'static str),
}

/// Elements whose content is no HTML.
const RAW: [&str; 8] = ["iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"];

/// The attributes of an element that are links.
fn links_of(element: &[u8]) -> &'static [&'static str] {
    match element {
        b"a" | b"area" | b"base" | b"link" => &["href"],
        b"applet" => &["codebase"],
        b"audio" | b"embed" | b"script" | b"source" => &["src"],
        b"blockquote" | b"del" | b"ins" | b"q" => &["cite"],
        b"body" => &["background"],
        b"button" => &["formaction"],
        b"command" => &["icon"],
        b"form" => &["action"],
        b"frame" | b"iframe" => &["longdesc", "src"],
        b"head" => &["profile"],
        b"html" => &["manifest"],
        b"img" => &["longdesc", "src", "usemap"],
        b"input" => &["src", "usemap", "formaction"],
        b"object" => &["classid", "codebase", "data", "usemap"],
        b"video" => &["poster", "src"],
        _ => &[],
    }
}

impl Page {
    fn new(links: Links) -> Page {
        Page { links, inside: Inside::Text, held: Vec::new() }
    }

    /// What can be said of the page after some more of it.
    fn more(&mut self, bytes: &[u8]) -> Bytes {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(held.len() + self.links.prefix.len());
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            match self.step(rest, &mut out) {
                Some(count) => rest = &rest[count..],
                None if rest.len() > TAG => {
                    // No tag of a page that people read.
                    out.push(rest[0]);
                    rest = &rest[1..];
                }
                None => break,
            }
        }
        self.held = rest.to_vec();
        out.into()
    }

    /// What is left at the end.
    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }

    /// Judges what the page goes on with; how many bytes, or none if there must be more of them.
    fn step(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        match self.inside {
            Inside::Text => self.text(rest, out),
            Inside::Comment => self.until(rest, b"-->", out),
            Inside::Raw(name) => self.until(rest, format!("</{name}").as_bytes(), out),
        }
    }

    fn until(&mut self, rest: &[u8], end: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let found = rest.windows(end.len()).position(|window| window.eq_ignore_ascii_case(end));
        let count = match found {
            Some(at) => {
                self.inside = Inside::Text;
                at + end.len()
            }
            // The end may have begun.
            None => rest.len().checked_sub(end.len() - 1).filter(|count| *count > 0)?,
        };
        out.extend_from_slice(&rest[..count]);
        Some(count)
    }

    fn text(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let plain = rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len());
        if plain > 0 {
            out.extend_from_slice(&rest[..plain]);
            return Some(plain);
        }
        const COMMENT: &[u8] = b"<!--";
        if rest.starts_with(COMMENT) {
            self.inside = Inside::Comment;
            // `<!-->` is a whole one.
            out.extend_from_slice(b"<!");
            return Some(2);
        }
        if COMMENT.starts_with(rest) {
            return None;
        }
        if rest[1].is_ascii_alphabetic() {
            return self.tag(rest, out);
        }
        out.push(b'<');
        Some(1)
    }

    /// A tag that opens an element.
    fn tag(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let space = |byte: u8| byte.is_ascii_whitespace();
        let skip = |at: &mut usize, of: &dyn Fn(u8) -> bool| -> Option<()> {
            while of(*rest.get(*at)?) {
                *at += 1;
            }
            Some(())
        };
        let mut at = 1;
        skip(&mut at, &|byte| !space(byte) && !matches!(byte, b'/' | b'>'))?;
        let element = rest[1..at].to_ascii_lowercase();
        let wanted = links_of(&element);
        let mut changed = Vec::new();
        loop {
            skip(&mut at, &|byte| space(byte) || byte == b'/')?;
            if rest[at] == b'>' {
                break;
            }
            let begin = at;
            at += 1;
            skip(&mut at, &|byte| !space(byte) && !matches!(byte, b'/' | b'>' | b'='))?;
            let attribute = &rest[begin..at];
            skip(&mut at, &space)?;
            if rest[at] != b'=' {
                continue;
            }
            at += 1;
            skip(&mut at, &space)?;
            let value = match rest[at] {
                quote @ (b'"' | b'\'') => {
                    at += 1;
                    let begin = at;
                    skip(&mut at, &|byte| byte != quote)?;
                    at += 1;
                    begin..at - 1
                }
                _ => {
                    let begin = at;
                    skip(&mut at, &|byte| !space(byte) && byte != b'>')?;
                    begin..at
                }
            };
            if wanted.iter().any(|name| attribute.eq_ignore_ascii_case(name.as_bytes())) {
                let link = std::str::from_utf8(&rest[value.clone()]).ok();
                changed.extend(link.and_then(|link| self.links.through(link)).map(|link| (value, link)));
            }
        }
        at += 1;
        let mut done = 0;
        for (value, link) in changed {
            out.extend_from_slice(&rest[done..value.start]);
            out.extend_from_slice(link.as_bytes());
            done = value.end;
        }
        out.extend_from_slice(&rest[done..at]);
        let raw = RAW.into_iter().find(|name| name.as_bytes() == element);
        self.inside = raw.map_or(Inside::Text, Inside::Raw);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn links() -> Links {
        Links {
            prefix: "/p/proxy".into(),
            asked: "api:6443".into(),
            pod: vec!["10.0.0.1:80".into(), "10.0.0.1".into()],
        }
    }

    #[test]
    fn links_of_the_pod_to_itself_lead_through_the_proxy() {
        for (link, through) in [
            ("/", Some("/p/proxy/")),
            ("/x/?y=//z#f", Some("/p/proxy/x/?y=//z#f")),
            ("http://10.0.0.1:80/x", Some("/p/proxy/x")),
            ("https://10.0.0.1/x", Some("/p/proxy/x")),
            ("//10.0.0.1/x", Some("/p/proxy/x")),
            ("https://api:6443/x", Some("https://api:6443/p/proxy/x")),
            // It knows the way already.
            ("/p/proxy", None),
            ("/p/proxy/x", None),
            ("https://api:6443/p/proxy?x", None),
            ("http://10.0.0.1/p/proxy/x", Some("/p/proxy/x")),
            ("/p/proxying", Some("/p/proxy/p/proxying")),
            // Others, and what a browser finds by itself.
            ("http://other/x", None),
            ("http://me@10.0.0.1/x", None),
            ("//other/x", None),
            ("http://10.0.0.1:80", None),
            ("x/y", None),
            ("../x", None),
            ("?x", None),
            ("#f", None),
            ("", None),
            ("data:text/plain,://10.0.0.1/x", None),
            ("mailto:a@b", None),
        ] {
            assert_eq!(links().through(link).as_deref(), through, "{link}");
        }
    }

    const PAGE: &str = "<!DOCTYPE html><HTML manifest=/m><!-- <a href=\"/no\"> --><!--><a href='/1' title=\"<a href='/no'>\" >a < b</a>\n\
         <A\nHREF = /2>x</A><img alt=/no src='http://10.0.0.1/3'/><script src=\"/4\">\"<a href='/no'>\"</SCRIPT><a href=/5></a>\
         <b href=\"/no\"><a href=\"x\"><a href><a href=><a =/no href=\"/6?a&amp;b\"><form action=\"//other/\"><a hr";
    const REWRITTEN: &str = "<!DOCTYPE html><HTML manifest=/p/proxy/m><!-- <a href=\"/no\"> --><!--><a href='/p/proxy/1' title=\"<a \
         href='/no'>\" >a < b</a>\n<A\nHREF = /p/proxy/2>x</A><img alt=/no src='/p/proxy/3'/><script src=\"/p/proxy/4\">\"<a \
         href='/no'>\"</SCRIPT><a href=/p/proxy/5></a><b href=\"/no\"><a href=\"x\"><a href><a href=><a =/no \
         href=\"/p/proxy/6?a&amp;b\"><form action=\"//other/\"><a hr";

    #[test]
    fn pages_keep_all_but_the_links_however_they_come() {
        for size in [1, 2, 3, 5, 7, 11, PAGE.len()] {
            let mut page = Page::new(links());
            let mut out = Vec::new();
            for chunk in PAGE.as_bytes().chunks(size) {
                out.extend_from_slice(&page.more(chunk));
            }
            out.extend_from_slice(&page.rest());
            assert_eq!(String::from_utf8(out).unwrap(), REWRITTEN, "by {size}");
        }
    }

    #[test]
    fn what_never_ends_is_not_waited_for() {
        let mut page = Page::new(links());
        let long = format!("<a title=\"{}\" href=/x>", "y".repeat(10 * TAG));
        let mut out = Vec::new();
        for chunk in long.as_bytes().chunks(1000) {
            out.extend_from_slice(&page.more(chunk));
            assert!(page.held.len() <= TAG, "{}", page.held.len());
        }
        out.extend_from_slice(&page.rest());
        assert_eq!(String::from_utf8(out).unwrap(), long);
    }
}
