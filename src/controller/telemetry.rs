//! Logs and traces. One trace follows a request from REST through the turn, the log and the fold, on every controller:
//! its W3C context travels in gRPC metadata and in the entry. Exported over OTLP when an endpoint is set.

use std::collections::HashMap;

use kontiki_actors::Entry;
use opentelemetry::{Context, propagation::TextMapPropagator, trace::{TraceContextExt, TracerProvider}};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use super::stage::Submit;

/// How a process logs and where it exports its traces.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// `info`, or directives as in `kontiki=debug,openraft=warn`.
    pub filter: String,
    /// One JSON object per line instead of text.
    pub json: bool,
    /// The OTLP endpoint (gRPC) that traces are exported to.
    pub otlp_endpoint: Option<String>,
    /// The process' name in traces.
    pub name: String,
}

/// Ends the export of traces when the process ends.
#[derive(Default)]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // What cannot be exported now is lost with the process.
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging and, if an endpoint is given, the export of traces. Needs a tokio runtime for the latter.
pub fn init(options: &LogOptions) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(&options.filter)?;
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let format = if options.json {
        format.json().flatten_event(true).boxed()
    } else {
        format.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(false).boxed()
    };
    let registry = tracing_subscriber::registry().with(format.with_filter(filter));
    let Some(endpoint) = &options.otlp_endpoint else {
        registry.init();
        return Ok(Guard::default());
    };
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_resource(Resource::builder().with_service_name(options.name.clone()).build())
        .build();
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("kontiki"))
        .with_filter(EnvFilter::try_new("kontiki=info,kontiki_api=info,kontiki_worker=info")?);
    registry.with(traces).init();
    Ok(Guard(Some(provider)))
}

/// The current span's W3C context, if traces are exported.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove("traceparent")
}

/// A W3C context as a parent for spans.
fn parent(traceparent: &str) -> Context {
    let carrier = HashMap::from([("traceparent".to_string(), traceparent.to_string())]);
    TraceContextPropagator::new().extract(&carrier)
}

/// Lets a span belong to a request's trace.
pub fn follow(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(traceparent) = traceparent {
        // A span that is not recorded takes no parent.
        let _ = span.set_parent(parent(traceparent));
    }
    span
}

/// The span of a turn.
pub fn turn_span(submit: &Submit) -> Span {
    follow(tracing::info_span!("turn"), submit.trace.as_deref())
}

/// The span of an entry's way through consensus.
pub fn propose_span(entry: &Entry) -> Span {
    let trace = entry.turns.iter().find_map(|t| t.trace.as_deref());
    follow(tracing::info_span!("consensus", turns = entry.turns.len()), trace)
}

/// The span of an entry's folding.
pub fn fold_span(entry: &Entry, index: u64) -> Span {
    let trace = entry.turns.iter().find_map(|t| t.trace.as_deref());
    follow(tracing::info_span!("fold", index, turns = entry.turns.len()), trace)
}
