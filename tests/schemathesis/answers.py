"""What every answer must be.

Of schemathesis' checks these apply:

- not_a_server_error: no answer is a 5xx, but a 503 of a proxy that has nobody to hand a request on to;
- response_schema_conformance, content_type_conformance: what the document says of the status;
- status_code_conformance: documents name the codes of success, 401, and `default`, a Status, for every refusal. Kubernetes' own say
  nothing of refusals. Since `default` alone would let any code pass, there is a table here: a code of success must be named itself,
  and a refusal must be one of Kubernetes' codes, with the reason that goes with it.

These do not:

- negative_data_rejection, positive_data_acceptance: as in Kubernetes, unknown parameters of a query are ignored and unknown fields
  dropped with a warning, and much that a schema cannot say is refused;
- ignored_auth: the documents name no credentials: a path that is open to everybody is so by a role;
- response_headers_conformance, use_after_free, ensure_resource_availability: the documents name no headers and no links.

A watch is checked frame by frame: each is an event, and its object is what a GET of it would have answered.
"""

import json

from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

import making

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# The reasons that Kubernetes gives with a code.
REASONS = {
    400: {"BadRequest"},
    401: {"Unauthorized"},
    403: {"Forbidden"},
    404: {"NotFound"},
    405: {"MethodNotAllowed"},
    406: {"NotAcceptable"},
    409: {"AlreadyExists", "Conflict"},
    410: {"Expired", "Gone"},
    413: {"RequestEntityTooLarge"},
    415: {"UnsupportedMediaType"},
    422: {"Invalid"},
    429: {"TooManyRequests"},
}
EVENTS = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"}


def wrong(operation, case, response):
    """What is wrong with an answer: (in a word, in full) of each thing."""
    status = response.status_code
    # There is nothing in an answer to a HEAD. Only proxies are asked so, and whoever is behind them.
    if operation.method == "HEAD" and (status < 500 or status == 503):
        return []
    if status == 503 and operation.action == "connect" and operation.path.endswith(making.CONNECTS):
        return list(refusal(response, {503: {"ServiceUnavailable"}}))
    if making.switched((case.query or {}).get("watch")) and status == 200 and not is_list(response):
        return list(frames(operation, response))
    found = list(checked(case, response))
    if status < 400 and str(status) not in operation.raw["responses"]:
        found.append(("undocumented status", f"{status} {response.text}"))
    if 400 <= status < 500:
        found += refusal(response, REASONS)
    return found


def is_list(response):
    """Whether it is no watch, after all: `watch` was no word for that."""
    try:
        return "items" in json.loads(response.text)
    except ValueError:
        return False


def checked(case, response):
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            yield failure.title, f"{failure.message}\n{response.status_code} {response.text}"


def refusal(response, reasons):
    status = response.status_code
    try:
        told = json.loads(response.text)
    except ValueError:
        told = {}
    if status not in reasons:
        yield "a code that Kubernetes has not", f"{status} {response.text}"
    elif told.get("kind") != "Status" or told.get("status") != "Failure" or told.get("code") != status:
        yield "a refusal that is no Status", f"{status} {response.text}"
    elif told.get("reason") not in reasons[status]:
        yield "a reason of another code", f"{status} {response.text}"


def frames(operation, response):
    one = operation.path if "{name}" in operation.path else None
    for path in (f"{operation.path}/{{name}}", operation.path.rpartition("/")[0] + "/namespaces/{namespace}/" +
                 operation.path.rpartition("/")[2] + "/{name}"):
        if one is None and "get" in operation.schema.raw_schema["paths"].get(path, {}):
            one = path
    # Not by splitlines(): texts may have what that takes for the end of a line, too.
    for line in filter(None, response.text.split("\n")):
        try:
            event = json.loads(line)
        except ValueError:
            yield "a frame that is no JSON", line
            continue
        if not isinstance(event, dict) or event.get("type") not in EVENTS or not isinstance(event.get("object"), dict):
            yield "a frame that is no event", line
        elif event["type"] == "ERROR":
            if event["object"].get("kind") != "Status":
                yield "an error that is no Status", line
        elif event["type"] != "BOOKMARK" and one is not None:
            yield from as_read(operation, one, event["object"], response)


def as_read(operation, path, shown, response):
    """Checks the object of a frame as the answer of a GET."""
    answer = Response(200, {"content-type": ["application/json"]}, json.dumps(shown).encode(), response.request, 0, verify=True)
    reading = operation.schema[path]["GET"]
    yield from checked(reading.Case(path_parameters={"name": "x", "namespace": "x"}), answer)
