//! W3C trace context on the wire: how a trace goes on in another process.

use std::collections::HashMap;

use opentelemetry::{Context, propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// The current span's context, if traces are exported.
pub fn current() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Lets a span belong to the trace that a message carries; one without context, or a broken one, changes nothing.
pub fn follow(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(traceparent) = traceparent.filter(|t| !t.is_empty()) {
        let carrier = HashMap::from([(TRACEPARENT.to_string(), traceparent.to_string())]);
        let parent: Context = TraceContextPropagator::new().extract(&carrier);
        // A span that is not recorded takes no parent.
        let _ = span.set_parent(parent);
    }
    span
}
