#!/usr/bin/env python3
"""Holds a cluster to the OpenAPI documents that it serves, by schemathesis.

    run.py --kontiki target/release/kontiki [--out DIR] [--examples N] [--operations N] [--seed N] [--only REGEX]
    run.py --kubeconfig FILE ...

The first starts a cluster of its own below --out, and stops it at the end. The second uses one that is there and needs not
outlive this: objects named `example` are made, changed and deleted in it.

First one object of each kind is made, and whatever can be read is: each list, each object of it, its subresources. Then each
operation of each document is asked with generated requests: with those that keep to the document, and those that do not. What is
said of answers is in answers.py, how requests are made that reach something in requests.py. Ends with 1 if an answer was wrong.

The same seed asks the same operations the same. Answers may still differ, since a cluster has a life of its own.
"""

import argparse
import base64
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

import hypothesis
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import GenerationMode

import answers
import examples
import making

# How many objects of a list are read one by one.
READ = 30
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class Server:
    """A cluster, as its kubeconfig says."""

    def __init__(self, kubeconfig, keep):
        config = yaml.safe_load(pathlib.Path(kubeconfig).read_text())
        context = next(item["context"] for item in config["contexts"] if item["name"] == config["current-context"])
        cluster = next(item["cluster"] for item in config["clusters"] if item["name"] == context["cluster"])
        user = next(item["user"] for item in config["users"] if item["name"] == context["user"])
        keep = pathlib.Path(keep)

        def file(of, name):
            if name in of:
                return str(pathlib.Path(kubeconfig).parent / of[name])
            path = keep / name
            path.touch(mode=0o600)
            path.write_bytes(base64.b64decode(of[f"{name}-data"]))
            return str(path)

        self.url = cluster["server"]
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = file(cluster, "certificate-authority")
        self.session.cert = (file(user, "client-certificate"), file(user, "client-key"))

    def get(self, path):
        response = self.session.get(f"{self.url}{path}", timeout=60)
        response.raise_for_status()
        return response.json()

    def schemas(self):
        """Each document that the index names, by its path there."""
        return {path: load(self.get(at["serverRelativeURL"])) for path, at in sorted(self.get("/openapi/v3")["paths"].items())}


def load(document):
    """A document as schemathesis has it. A time that never was is null in Kubernetes, whose documents do not say so (`eventTime` of
    events, `lastProbeTime` of conditions, `creationTimestamp` of templates): that is the one thing in which answers may differ."""
    for name in ("Time", "MicroTime"):
        time = document["components"]["schemas"].get(f"io.k8s.apimachinery.pkg.apis.meta.v1.{name}")
        if time is not None:
            time["nullable"] = True
    return schemathesis.openapi.from_dict(document)


class Operation:
    """What a document says of a method of a path."""

    def __init__(self, schema, path, method):
        self.schema, self.path, self.method = schema, path, method
        self.raw = schema.raw_schema["paths"][path][method.lower()]
        self.kind = self.raw.get("x-kubernetes-group-version-kind", {})
        self.action = self.raw.get("x-kubernetes-action", "")
        self.label = f"{method} {path}"

    @property
    def asked(self):
        return self.schema[self.path][self.method]

    def sibling(self, method):
        """Another method of the same path, if there is one."""
        known = method.lower() in self.schema.raw_schema["paths"][self.path]
        return Operation(self.schema, self.path, method) if known else None


def operations(schema):
    for path, item in schema.raw_schema["paths"].items():
        for method in METHODS:
            if method.lower() in item:
                yield Operation(schema, path, method)


class Tally:
    """What came of the requests, by document."""

    def __init__(self):
        self.rows, self.failures = {}, {}
        self.row = None

    def of(self, document):
        empty = {"operations": 0, "requests": 0, "2xx": 0, "4xx": 0, "5xx": 0, "wrong": 0}
        self.row = self.rows.setdefault(document, empty)

    def count(self, status):
        self.row["requests"] += 1
        group = f"{status // 100}xx"
        self.row[group] = self.row.get(group, 0) + 1

    def wrong(self, operation, what, told):
        self.row["wrong"] += 1
        known = self.failures.setdefault((operation.label, what), [0, told])
        known[0] += 1

    def text(self):
        kinds = ["operations", "requests", "2xx", "4xx", "5xx", "wrong"]
        total = {kind: sum(row[kind] for row in self.rows.values()) for kind in kinds}
        lines = ["| document | " + " | ".join(kinds) + " |", "|---|" + "---|" * len(kinds)]
        for name, row in [*self.rows.items(), ("all", total)]:
            lines.append(f"| {name} | " + " | ".join(str(row[kind]) for kind in kinds) + " |")
        for (label, what), (count, told) in sorted(self.failures.items()):
            lines += ["", f"## {label}: {what}, {count} times", told]
        return "\n".join(lines) + "\n"


def ask(server, tally, operation, case):
    """Sends a request and looks at the answer."""
    making.bound(case)
    try:
        response = case.call(base_url=server.url, session=server.session, verify=server.session.verify, timeout=30)
    except (requests.RequestException, schemathesis.errors.InternalError) as error:
        tally.count(0)
        tally.wrong(operation, "no answer", f"{type(error).__name__}: {error}"[:2000])
        return None
    tally.count(response.status_code)
    for what, told in answers.wrong(operation, case, response):
        tally.wrong(operation, what, f"{told[:3000]}\n{case.as_curl_command()[:3000]}")
    return response


def make(server, tally, schemas):
    """Makes the example of each kind. One that is refused is worth nothing, and so is reported."""
    server.session.post(f"{server.url}/api/v1/namespaces", json={"metadata": {"name": examples.NAMESPACE}}, timeout=60)
    for document, schema in schemas.items():
        tally.of(document)
        for operation in operations(schema):
            kind = making.kept(operation)
            if kind is not None:
                response = making.make(server, operation, kind)
                if response.status_code not in (200, 201, 409):
                    tally.wrong(operation, "the example is refused", response.text[:2000])


def read(server, tally, schema):
    """Reads all that can be."""
    for operation in operations(schema):
        one = f"{operation.path}/{{name}}"
        if operation.action != "list" or "get" not in schema.raw_schema["paths"].get(one, {}):
            continue
        everywhere = re.sub(r"/namespaces/\{namespace\}", "", operation.path)
        listing = Operation(schema, everywhere, "GET")
        listed = ask(server, tally, listing, listing.asked.Case(query={"limit": "500"}))
        below = [path for path in schema.raw_schema["paths"] if path.startswith(f"{one}/") and path.count("{") == one.count("{")]
        readable = [path for path in [one, *below] if making.readable(path) and "get" in schema.raw_schema["paths"][path]]
        for item in (listed.json().get("items") or [])[:READ] if listed is not None and listed.status_code == 200 else []:
            at = {key: item["metadata"][key] for key in ("name", "namespace") if key in item["metadata"]}
            for path in readable:
                reading = Operation(schema, path, "GET")
                ask(server, tally, reading, reading.asked.Case(path_parameters=at))


def older(server, tally, schemas):
    """The document in its older form tells of the same operations and the same codes."""
    tally.of("openapi/v2")
    told = {(path, method): set(operation["responses"]) for path, item in server.get("/openapi/v2")["paths"].items()
            for method, operation in item.items() if method != "parameters"}
    newer = {(operation.path, operation.method.lower()): operation for schema in schemas.values() for operation in operations(schema)}
    for (path, method), operation in newer.items():
        if told.pop((path, method), None) != set(operation.raw["responses"]):
            tally.wrong(operation, "v2 does not tell of it as v3 does", "")
    for path, method in told:
        tally.wrong(operation, "v2 tells of more", f"{method.upper()} {path}")


def generate(server, tally, operation, count, seed):
    """Asks an operation `count` times with what keeps to its document, and as often with what does not."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        # What a patch changes is generated as the whole object would be.
        whole = operation.sibling("PUT") if operation.method == "PATCH" else None
        strategy = {
            "case": operation.asked.as_strategy(generation_mode=mode),
            "whole": whole.asked.as_strategy(generation_mode=mode) if whole is not None and mode.is_positive else st.none(),
            "dice": st.integers(0, 2**32 - 1),
        }

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate],
                             suppress_health_check=list(HealthCheck))
        @hypothesis.given(**strategy)
        def test(case, whole, dice):
            making.aim(operation, case, random.Random(dice), mode.is_positive, whole and whole.body)
            ask(server, tally, operation, case)

        try:
            test()
        except hypothesis.errors.Unsatisfiable:
            # There is nothing that does not keep to this document.
            pass


def hold(server, options):
    """Holds a cluster to its documents; tells what came of it."""
    tally, began = Tally(), time.monotonic()
    first = server.schemas()
    make(server, tally, first)
    # With the example of a definition, there is a document more.
    schemas = server.schemas()
    make(server, tally, {document: schema for document, schema in schemas.items() if document not in first})
    for document, schema in schemas.items():
        tally.of(document)
        read(server, tally, schema)
    older(server, tally, schemas)
    print(f"read after {time.monotonic() - began:.0f} s", flush=True)
    chosen = [(document, operation) for document, schema in schemas.items() for operation in operations(schema)
              if re.search(options.only, operation.label)]
    order = random.Random(options.seed)
    order.shuffle(chosen)
    for document, operation in chosen[:options.operations]:
        tally.of(document)
        tally.row["operations"] += 1
        if options.verbose:
            print(f"{time.monotonic() - began:.1f} s: {operation.label}", flush=True)
        making.restore(server, operation)
        generate(server, tally, operation, options.examples, options.seed)
    tally.rows = dict(sorted(tally.rows.items()))
    text = tally.text()
    print(text, flush=True)
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.md").write_text(text)
    return not tally.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--kontiki", type=pathlib.Path, help="the binary, to start a cluster of its own")
    where.add_argument("--kubeconfig", type=pathlib.Path, help="of a cluster that is there")
    parser.add_argument("--out", type=pathlib.Path, help="where the cluster and report.md go")
    parser.add_argument("--examples", type=int, default=10, help="requests to each operation that keep to the document, and that do not")
    parser.add_argument("--operations", type=int, help="so many operations of all, chosen by the seed")
    parser.add_argument("--only", default="", metavar="REGEX", help="operations whose METHOD and path match")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="tell each operation when its turn comes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as keep:
        if options.kubeconfig is not None:
            sys.exit(0 if hold(Server(options.kubeconfig, keep), options) else 1)
        kontiki = options.kontiki.resolve()
        data = (options.out or pathlib.Path(keep)).resolve() / "cluster"
        subprocess.run([kontiki, "up", "--data-dir", data, "--detach", "--port", "0", "--controllers", "1", "--workers", "1"], check=True)
        try:
            good = hold(Server(data / "kubeconfig", keep), options)
        finally:
            subprocess.run([kontiki, "down", "--data-dir", data], check=False)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
