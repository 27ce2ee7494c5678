//! What is not about objects: health, version, metrics, discovery, OpenAPI documents.

use std::borrow::Cow;

use http::{HeaderMap, Method, header};
use kontiki_actors::State;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    call::Call,
    negotiate::{Aggregated, Answer, Media, aggregated_discovery, negotiate},
    path::{Check, Health, Route},
    reply::{Answered, Reply},
};
use crate::{
    audit::Audit,
    discovery::{self, Resource},
    schema::openapi::{self, Form, ResourceDoc},
    status::Status,
    token::Issuer,
};

/// The version of Kubernetes whose API this is. Clients read the numbers; the rest tells what it really is.
pub const GIT_VERSION: &str = "v1.33.0+kontiki";

/// Answers a request.
pub(crate) async fn answer(call: Call, route: Route) -> Answered {
    if !matches!(call.method, Method::GET | Method::HEAD) {
        let message = "the server does not allow this method on the requested resource";
        return Err(Status::new(405, "MethodNotAllowed", message));
    }
    match route {
        Route::Health(health, check) => checked(&call, health, check).await,
        Route::Version => only_json(&call, &version()),
        Route::Metrics => Ok(Reply::text(200, metrics(&call))),
        Route::Core => match aggregated_discovery(&call.headers) {
            Some(form) => aggregated(&call, true, form).await,
            None => show(&call, &discovery::versions(&call.api.options.advertised)),
        },
        Route::Groups => match aggregated_discovery(&call.headers) {
            Some(form) => aggregated(&call, false, form).await,
            None => show(&call, &discovery::group_list(&resources(&call).await?)),
        },
        Route::Group(group) => {
            let resources = resources(&call).await?;
            show(&call, &discovery::group(&resources, &group).ok_or_else(Status::no_resource)?)
        }
        Route::Resources(group, version) => {
            let resources = resources(&call).await?;
            let list = discovery::resource_list(&resources, &group, &version);
            show(&call, &list.ok_or_else(Status::no_resource)?)
        }
        Route::TokenKeys => {
            let set = issuer(&call)?.key_set();
            Ok(Reply { content_type: "application/jwk-set+json", ..Reply::json(200, &set) })
        }
        Route::TokenIssuer => {
            Ok(Reply::json(200, &issuer(&call)?.configuration(&call.api.options.advertised)))
        }
        Route::OpenApiV2 => openapi_v2(&call).await,
        Route::OpenApiIndex => Ok(Reply::json_bytes(200, openapi::index(&documents(&call).await?))),
        Route::OpenApi(group, version) => document(&call, group, version).await,
        // Nobody is asked how it is to be said.
        Route::Root => Ok(Reply::json(200, &root(&resources(&call).await?))),
        Route::Objects(_) | Route::Review(_) | Route::Usage(_) => Err(Status::no_resource()),
    }
}

/// What the controller measures of itself, and the API of its requests.
fn metrics(call: &Call) -> String {
    const END: &str = "# EOF\n";
    let all = call.api.backend.metrics();
    let (all, end) = all.strip_suffix(END).map_or((all.as_str(), ""), |all| (all, END));
    let audit = call.api.options.audit.as_ref().map(Audit::metrics).unwrap_or_default();
    let users = call.api.options.authenticators.as_ref().map(|known| known.metrics()).unwrap_or_default();
    let accounts = call.api.options.issuer.as_ref().map(|issuer| issuer.metrics()).unwrap_or_default();
    format!("{all}{}{audit}{accounts}{users}{end}", call.api.flow.metrics())
}

/// What is served now. A definition counts at once, as its kind does: what others acknowledged is in it.
async fn resources(call: &Call) -> Result<Cow<'static, [Resource]>, Status> {
    Ok(discovery::served(&newest(call).await?))
}

/// The same, as documents are made from it.
async fn documents(call: &Call) -> Result<Vec<ResourceDoc>, Status> {
    Ok(discovery::documents(&newest(call).await?))
}

/// A view with every acknowledged write; while there is no majority, what is known here.
async fn newest(call: &Call) -> Result<State, Status> {
    match call.view().await {
        Ok(state) => Ok(state),
        Err(_) => call.own_view().await,
    }
}

fn issuer(call: &Call) -> Result<&Issuer, Status> {
    call.api.options.issuer.as_deref().ok_or_else(Status::no_resource)
}

fn show(call: &Call, value: &Value) -> Answered {
    let form = negotiate(&call.headers, Answer::Other)?;
    Reply::in_media(200, form.media, value.to_string().into_bytes())
}

/// What Kubernetes says in JSON and no other form.
fn only_json(call: &Call, value: &Value) -> Answered {
    const JSON: [&str; 3] = ["application/json", "application/*", "*/*"];
    let accepted = call.headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let accepted = accepted.flat_map(|value| value.split(',')).map(str::trim);
    let mut accepted = accepted.filter(|media| !media.is_empty()).peekable();
    let takes = |media: &str| JSON.contains(&media.split(';').next().unwrap_or(media).trim());
    if accepted.peek().is_none() || accepted.any(takes) {
        return Ok(Reply::json(200, value));
    }
    Err(Status::not_acceptable(JSON[0]))
}

/// Health: `ok`, or check by check what is wrong. `verbose` shows all checks, `exclude` leaves some out.
async fn checked(call: &Call, health: Health, only: Option<Check>) -> Answered {
    let excluded: Vec<&str> = call.query.all("exclude").filter(|name| !name.is_empty()).collect();
    let checks = only.as_ref().map_or(health.checks(), std::slice::from_ref);
    let (mut lines, mut failed) = (String::new(), false);
    for check in checks {
        let name = check.name();
        if only.is_none() && excluded.contains(&name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match run(call, *check).await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                failed = true;
                lines.push_str(&format!("[-]{name} failed: {why}\n"));
            }
        }
    }
    let known = |name: &str| health.checks().iter().any(|check| check.name() == name);
    let unknown: Vec<String> =
        excluded.iter().filter(|name| !known(name)).map(|name| format!("{name:?}")).collect();
    if only.is_none() && !unknown.is_empty() {
        let names = unknown.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if failed {
        return Ok(Reply::text(503, format!("{lines}check failed\n")));
    }
    if call.query.switch("verbose") {
        return Ok(Reply::text(200, format!("{lines}check passed\n")));
    }
    Ok(Reply::text(200, "ok"))
}

async fn run(call: &Call, check: Check) -> Result<(), String> {
    match check {
        Check::Ping => Ok(()),
        Check::Quorum => call.api.backend.ready().await,
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// As Kubernetes names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn root(resources: &[Resource]) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in discovery::groups(resources) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let others = [
        "/.well-known/openid-configuration",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    paths.extend(others.iter().map(|path| (*path).to_owned()));
    json!({"paths": paths})
}

/// Aggregated discovery: its media type is repeated, else clients take it for the older form. Its tag is that of its JSON, in all forms.
async fn aggregated(call: &Call, core: bool, Aggregated { version, media }: Aggregated) -> Answered {
    let body = discovery::aggregated(&resources(call).await?, core, version).to_string();
    let tag = format!("\"{}\"", hex(&Sha256::digest(body.as_bytes())));
    let known = call.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut reply = if known == Some(tag.as_str()) {
        Reply::json_bytes(304, "")
    } else {
        Reply::in_media(200, media, body.into_bytes())?
    };
    reply.content_type = match (media, version) {
        (Media::Json, "v2") => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        (Media::Json, _) => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        (Media::Yaml, "v2") => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        (Media::Yaml, _) => "application/yaml;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        (Media::Protobuf, "v2") => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
        (Media::Protobuf, _) => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        }
    };
    Ok(reply.header(header::ETAG, &tag).header(header::VARY, "Accept"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The names of the older document as protobuf: the one that clients ask by, which is no valid media type, and the one that is.
const OPENAPI_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// Which form of the older document a client accepts.
fn v2_form(headers: &HeaderMap) -> Result<Form, Status> {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT).into_iter().filter_map(|v| v.to_str().ok()) {
        for asked in value.split(',').map(|asked| asked.split(';').next().unwrap_or(asked).trim()) {
            any = true;
            match asked {
                "application/json" | "application/*" | "*/*" => return Ok(Form::Json),
                asked if OPENAPI_V2.contains(&asked) => return Ok(Form::Protobuf),
                _ => {}
            }
        }
    }
    if any {
        return Err(Status::not_acceptable(&format!("application/json, {}", OPENAPI_V2.join(", "))));
    }
    Ok(Form::Json)
}

/// The older document, of everything at once: kubectl before 1.27 insists on it as protobuf, other tools read it as JSON.
async fn openapi_v2(call: &Call) -> Answered {
    let form = v2_form(&call.headers)?;
    let (content_type, mark) = match form {
        Form::Json => ("application/json", "J"),
        Form::Protobuf => (OPENAPI_V2[1], "P"),
    };
    let resources = documents(call).await?;
    let tag = format!("\"{}{mark}\"", openapi::hash_v2(&resources));
    let known = call.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut reply = if known == Some(tag.as_str()) {
        Reply::json_bytes(304, "")
    } else {
        // It takes some tens of megabytes while it is made, also when its client has gone.
        let place = call.api.presenters.clone().acquire_owned().await.map_err(Status::internal)?;
        let build = tokio::task::spawn_blocking(move || {
            let _place = place;
            openapi::document_v2(&resources, form)
        });
        Reply::json_bytes(200, build.await.map_err(Status::internal)?.bytes)
    };
    reply.content_type = content_type;
    Ok(reply.header(header::ETAG, &tag).header(header::VARY, "Accept"))
}

/// An OpenAPI document: big and slow to build, so not on a thread that serves others.
async fn document(call: &Call, group: String, version: String) -> Answered {
    let resources = documents(call).await?;
    // It goes on when its client has gone, and so holds its place itself.
    let place = call.api.presenters.clone().acquire_owned().await.map_err(Status::internal)?;
    let build = tokio::task::spawn_blocking(move || {
        let _place = place;
        openapi::document(&resources, &group, &version)
    });
    let document = build.await.map_err(Status::internal)?.ok_or_else(Status::no_resource)?;
    let tag = format!("\"{}\"", document.hash);
    let mut reply = Reply::json_bytes(200, document.bytes).header(header::ETAG, &tag);
    if call.query.text("hash") == Some(document.hash.as_str()) {
        // The URL names the content, so it never changes.
        reply = reply.header(header::CACHE_CONTROL, "public, immutable, max-age=31536000");
    }
    Ok(reply)
}
