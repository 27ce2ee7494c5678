//! The frame of the timeline: time goes to the right, lanes go down. Everything is plain SVG text, coloured by the page's style.

use std::fmt::Write;

/// Where lanes begin, after their names.
pub(super) const LEFT: f64 = 118.0;
/// The whole width.
pub(super) const WIDTH: f64 = 1000.0;
const RIGHT: f64 = 10.0;

/// A chart that grows downwards.
pub(super) struct Chart {
    end_ns: u64,
    pub(super) y: f64,
    body: String,
    marks: Vec<(u64, &'static str, String)>,
}

/// Text that may stand in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A time for people: `12.345 s`.
pub(super) fn seconds(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

/// A length for people.
pub(super) fn length(ns: u64) -> String {
    match ns {
        0 => "no time".into(),
        1..10_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

impl Chart {
    pub(super) fn new(end_ns: u64) -> Chart {
        Chart { end_ns: end_ns.max(1), y: 30.0, body: String::new(), marks: Vec::new() }
    }

    /// The place of a time.
    pub(super) fn x(&self, ns: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (ns.min(self.end_ns) as f64 / self.end_ns as f64)
    }

    /// A heading of a group of lanes.
    pub(super) fn heading(&mut self, text: &str) {
        self.y += 18.0;
        let _ = write!(self.body, "<text class=\"h\" x=\"0\" y=\"{:.1}\">{}</text>", self.y, escape(text));
        self.y += 8.0;
    }

    /// The name of a lane of this height, and its ground.
    pub(super) fn lane(&mut self, name: &str, height: f64) {
        let (y, width) = (self.y, WIDTH - LEFT - RIGHT);
        let _ = write!(
            self.body,
            "<rect class=\"lane\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width}\" height=\"{height:.1}\"/>\
             <text class=\"n\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 7.0,
            y + height.min(16.0) / 2.0 + 3.5,
            escape(name)
        );
    }

    /// A bar in the present lane, with its words if they fit in it.
    pub(super) fn bar(
        &mut self,
        from: u64,
        to: u64,
        top: f64,
        height: f64,
        class: &str,
        words: &str,
        title: &str,
    ) {
        let x = self.x(from);
        let width = (self.x(to) - x).max(2.0);
        let y = self.y + top;
        let _ = write!(
            self.body,
            "<g class=\"{class}\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"2\"/>",
            escape(title)
        );
        if width > words.chars().count() as f64 * 5.6 + 6.0 && height >= 11.0 {
            let _ = write!(
                self.body,
                "<text class=\"b\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 4.0,
                y + height / 2.0 + 3.5,
                escape(words)
            );
        }
        self.body.push_str("</g>");
    }

    /// Anything else.
    pub(super) fn push(&mut self, svg: &str) {
        self.body.push_str(svg);
    }

    /// A line through all lanes.
    pub(super) fn mark(&mut self, at: u64, class: &'static str, words: &str) {
        self.marks.push((at, class, words.into()));
    }

    /// The whole chart.
    pub(super) fn finish(self) -> String {
        let height = self.y + 14.0;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"timeline of the run\">"
        );
        let total_s = self.end_ns as f64 / 1e9;
        let step =
            [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]
                .into_iter()
                .find(|step| total_s / step <= 12.0)
                .unwrap_or(7200.0);
        let mut at = 0.0;
        while at <= total_s {
            let x = self.x((at * 1e9) as u64);
            let label = if step < 1.0 { format!("{at:.1} s") } else { format!("{at:.0} s") };
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"20\" y2=\"{height:.0}\"/>\
                 <text class=\"t\" x=\"{x:.1}\" y=\"13\">{label}</text>"
            );
            at += step;
        }
        svg.push_str(&self.body);
        for (n, (at, class, words)) in self.marks.iter().enumerate() {
            let x = self.x(*at);
            let side = if x > WIDTH * 0.8 { ("end", -4.0) } else { ("start", 4.0) };
            let _ = write!(
                svg,
                "<g class=\"{class}\"><title>{0} at {1}</title><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"18\" \
                 y2=\"{height:.0}\"/><text text-anchor=\"{2}\" x=\"{3:.1}\" y=\"{4:.0}\">{0}</text></g>",
                escape(words),
                seconds(*at),
                side.0,
                x + side.1,
                // Labels of lines close to each other do not meet.
                29.0 + 12.0 * n as f64
            );
        }
        svg.push_str("</svg>");
        svg
    }
}
