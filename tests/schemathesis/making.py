"""How requests are made that reach something: what is generated alone is refused for its name, long before anything is done with it."""

import copy

import schemathesis

import examples

schemathesis.serializer.alias(["application/apply-patch+yaml"], "application/yaml")

# A request to these is never meant: a webhook or a share of no seats keeps all others out, and a quota refuses what is to be tried.
DRY = {"admissionregistration.k8s.io", "apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io"}
DRY_KINDS = {"v1/ResourceQuota", "v1/LimitRange", "v1/Namespace"}
# What a query may say beyond what is generated: texts that mean something.
WORDS = {
    "dryRun": ["All"],
    "fieldManager": [examples.NAME],
    "fieldSelector": [f"metadata.name={examples.NAME}", f"metadata.namespace!={examples.NAMESPACE}"],
    "fieldValidation": ["Ignore", "Strict", "Warn"],
    "labelSelector": ["app", "!app", "app=example", "app notin (example, b)"],
    "limit": ["1", "2"],
    "pretty": ["true"],
    "propagationPolicy": ["Background", "Foreground", "Orphan"],
    "resourceVersion": ["0", "1"],
    "resourceVersionMatch": ["Exact", "NotOlderThan"],
    "sendInitialEvents": ["true"],
}
# Of three requests two say what means something.
AIMED = 2 / 3
CONNECTS = ("/attach", "/exec", "/portforward", "/proxy", "/proxy/{path}")


def readable(path):
    """Whether a GET of it has an answer that ends."""
    return not path.endswith((*CONNECTS, "/log"))


def kept(operation):
    """The kind whose objects are created by this operation and stay; none for what is asked or ordered by a POST."""
    collection = operation.method == "POST" and operation.path.endswith("}") is False and "{name}" not in operation.path
    return operation.kind if collection and operation.sibling("GET") else None


def at(kind):
    return {"namespace": examples.NAMESPACE, "name": examples.name_of(examples.key(kind))}


def make(server, operation, kind):
    """Makes the example of a kind, where it is made."""
    path = operation.path.format(**at(kind))
    return server.session.post(f"{server.url}{path}", json=examples.example(kind), timeout=60)


def restore(server, operation):
    """What earlier requests deleted is there again for those that are about it."""
    base = operation.path.split("/{name}")[0]
    for path in [base]:
        if "post" in operation.schema.raw_schema["paths"].get(path, {}):
            collection = type(operation)(operation.schema, path, "POST")
            if kept(collection) is not None:
                make(server, collection, collection.kind)


def aim(operation, case, dice, keeps, whole=None):
    """Turns some of a generated request to what is there. `keeps` if it keeps to its document; `whole` is the object that a patch is
    made of."""
    for name, value in at(owner(operation)).items():
        if name in case.path_parameters and dice.random() < AIMED + 0.2:
            case.path_parameters[name] = value
    for name, values in WORDS.items():
        if name in (case.query or {}) and dice.random() < AIMED:
            case.query[name] = dice.choice(values)
    if keeps and case.query:
        # Of many parameters together, one is wrong most of the time.
        for name in list(case.query):
            if dice.random() < AIMED:
                del case.query[name]
    if keeps and operation.method in ("POST", "PUT", "PATCH") and (example := examples.example(operation.kind)):
        generated = whole if operation.method == "PATCH" else case.body
        if isinstance(generated, dict):
            case.body = body(case.media_type, example, generated, dice)
            if case.media_type == "application/apply-patch+yaml":
                case.query = {**(case.query or {}), "fieldManager": dice.choice(["one", "two"])}
    if operation.method != "GET" and dry(operation):
        case.query = {**(case.query or {}), "dryRun": "All"}


def owner(operation):
    """The kind of the objects that a path names, also where it goes on below them."""
    base = operation.path.split("/{name}")[0]
    item = operation.schema.raw_schema["paths"].get(base, operation.schema.raw_schema["paths"][operation.path])
    for method in item.values():
        if isinstance(method, dict) and "x-kubernetes-group-version-kind" in method:
            return method["x-kubernetes-group-version-kind"]
    return operation.kind


def dry(operation):
    kind = owner(operation)
    wide = operation.action == "deletecollection" and "{namespace}" not in operation.path
    return wide or kind["group"] in DRY or examples.key(kind) in DRY_KINDS


def body(media, example, generated, dice):
    """A body with a bit of what was generated in what is valid, or as it was generated but for its name."""
    changes = bit(example, generated, dice)
    if media == "application/json-patch+json":
        parts = [{"op": dice.choice(["add", "replace", "test"]), "path": "/" + "/".join(map(escaped, path)), "value": value}
                 for path, value in changes]
        return [*parts, *({"op": "remove", "path": part["path"]} for part in parts[:dice.randrange(2)])]
    if media in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
        patch = {}
        for path, value in changes:
            put(patch, path, dice.choice([value, value, None]))
        return patch
    whole = dice.random() < 0.2
    made = {**copy.deepcopy(generated), "apiVersion": example["apiVersion"], "kind": example["kind"]} if whole else copy.deepcopy(example)
    if whole:
        metadata = made.get("metadata") if isinstance(made.get("metadata"), dict) else {}
        made["metadata"] = {**metadata, "name": example["metadata"]["name"]}
        made["metadata"].pop("namespace", None)
    else:
        for path, value in changes:
            put(made, path, value)
    return made


def bit(example, generated, dice):
    """Up to two (path, value) of a generated object: whole fields, or fields within those that the example has, too."""
    found = []
    for _ in range(dice.choice([0, 1, 1, 2])):
        path, here, there = [], example, generated
        while isinstance(there, dict) and there:
            names = sorted(name for name in there if path or name not in ("apiVersion", "kind"))
            if path == ["metadata"]:
                names = [name for name in names if name not in ("name", "namespace")]
            if not names:
                break
            name = dice.choice(names)
            path, there = [*path, name], there[name]
            here = here.get(name) if isinstance(here, dict) else None
            if not isinstance(here, dict) or dice.random() < 0.2:
                break
        if path and path != ["metadata"]:
            found.append((path, there))
    return found


def put(into, path, value):
    *way, last = path
    for name in way:
        if not isinstance(into.get(name), dict):
            into[name] = {}
        into = into[name]
    into[last] = value


def escaped(name):
    return name.replace("~", "~0").replace("/", "~1")


def bound(case):
    """No request lasts: watches end, and logs are not followed."""
    query = case.query
    if not query:
        return
    if switched(query.get("follow")):
        query["follow"] = "false"
    if switched(query.get("watch")):
        query["timeoutSeconds"] = "1"


def switched(value):
    return value is not None and str(value).lower() not in ("", "0", "false")
