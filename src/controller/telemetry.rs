//! Logs and traces. One trace follows a request from REST through the turn, the log and the fold, on every controller:
//! its W3C context travels in gRPC metadata and in the entry. Exported over OTLP when an endpoint is set.

use kontiki_actors::Entry;
use kontiki_proto::trace::follow;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::Span;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How a process logs and where it exports its traces.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOptions {
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
pub(crate) struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // What cannot be exported now is lost with the process.
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging and, if an endpoint is given, the export of traces. Needs a tokio runtime for the latter.
pub(crate) fn init(options: &LogOptions) -> anyhow::Result<Guard> {
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

/// The span of a turn.
pub(crate) fn turn_span(trace: Option<&str>) -> Span {
    follow(tracing::info_span!("turn"), trace)
}

/// The span of an entry's way through consensus.
pub(crate) fn propose_span(entry: &Entry) -> Span {
    let trace = entry.turns.iter().find_map(|t| t.trace.as_deref());
    follow(tracing::info_span!("consensus", turns = entry.turns.len()), trace)
}

/// The span of an entry's folding.
pub(crate) fn fold_span(entry: &Entry, index: u64) -> Span {
    let trace = entry.turns.iter().find_map(|t| t.trace.as_deref());
    follow(tracing::info_span!("fold", index, turns = entry.turns.len()), trace)
}
