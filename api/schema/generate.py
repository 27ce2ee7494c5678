#!/usr/bin/env python3
# Generates kubernetes.schema and descriptions.gz, the tables that drive decoding, checking, patching and OpenAPI.
#
# Run it only to move to another Kubernetes version; the build does not. It reads three published sources, all under the
# Apache License 2.0, Copyright The Kubernetes Authors:
#   * the Go modules k8s.io/{api,apimachinery,apiextensions-apiserver,kube-aggregator} at one version (`go mod download`):
#     field names, order, types, protobuf numbers, pointers, omitempty and the marks in the comments of types.go;
#   * the generated.proto files beside them: every number read from the Go tags is checked against them;
#   * the JSON definitions in the Python package `kubernetes-validate` of the same minor version: which fields are
#     required, the descriptions, and a second opinion on the list and patch marks.
#
#   generate.py --modules ~/go/pkg/mod --version v0.33.4 --definitions path/to/v1.33.0-local/_definitions.json
#
# kubernetes.schema is text, one line per item, fields separated by tabs:
#   T <definition name> <package.Type as Go prints it> <flags> [group/version/Kind ...]   flags: a = atomic map (struct)
#   F <json name> <proto number> <flags> <shape> <marks>      flags: p pointer, o omitempty, r required, e inline (embedded)
#   shapes: s string, i int32, l int64, b bool, d double, B bytes, T time, M microtime, D duration, Q quantity,
#           I int-or-string, R any JSON, O JSON object (raw), [x list, {x map, wx list in a message of its own, @n type number n
#   marks (";" between): p=<patch strategy>, k=<patch merge key>, t=<list type>, m=<list map keys, ",">, a (atomic map)
import argparse, glob, gzip, json, os, re, sys

PACKAGES = [  # module, folder, definition prefix, group, version
    ("apimachinery", "pkg/apis/meta/v1", "io.k8s.apimachinery.pkg.apis.meta.v1", "meta.k8s.io", "v1"),
    ("api", "core/v1", "io.k8s.api.core.v1", "", "v1"),
    ("api", "apps/v1", "io.k8s.api.apps.v1", "apps", "v1"),
    ("api", "batch/v1", "io.k8s.api.batch.v1", "batch", "v1"),
    ("api", "autoscaling/v1", "io.k8s.api.autoscaling.v1", "autoscaling", "v1"),
    ("api", "autoscaling/v2", "io.k8s.api.autoscaling.v2", "autoscaling", "v2"),
    ("api", "policy/v1", "io.k8s.api.policy.v1", "policy", "v1"),
    ("api", "networking/v1", "io.k8s.api.networking.v1", "networking.k8s.io", "v1"),
    ("api", "discovery/v1", "io.k8s.api.discovery.v1", "discovery.k8s.io", "v1"),
    ("api", "coordination/v1", "io.k8s.api.coordination.v1", "coordination.k8s.io", "v1"),
    ("api", "events/v1", "io.k8s.api.events.v1", "events.k8s.io", "v1"),
    ("api", "rbac/v1", "io.k8s.api.rbac.v1", "rbac.authorization.k8s.io", "v1"),
    ("api", "scheduling/v1", "io.k8s.api.scheduling.v1", "scheduling.k8s.io", "v1"),
    ("api", "storage/v1", "io.k8s.api.storage.v1", "storage.k8s.io", "v1"),
    ("api", "node/v1", "io.k8s.api.node.v1", "node.k8s.io", "v1"),
    ("api", "certificates/v1", "io.k8s.api.certificates.v1", "certificates.k8s.io", "v1"),
    ("api", "admissionregistration/v1", "io.k8s.api.admissionregistration.v1", "admissionregistration.k8s.io", "v1"),
    ("api", "authentication/v1", "io.k8s.api.authentication.v1", "authentication.k8s.io", "v1"),
    ("api", "authorization/v1", "io.k8s.api.authorization.v1", "authorization.k8s.io", "v1"),
    ("apiextensions-apiserver", "pkg/apis/apiextensions/v1", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
     "apiextensions.k8s.io", "v1"),
    ("kube-aggregator", "pkg/apis/apiregistration/v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
     "apiregistration.k8s.io", "v1"),
    ("api", "flowcontrol/v1", "io.k8s.api.flowcontrol.v1", "flowcontrol.apiserver.k8s.io", "v1"),
]
# After all others, so that their numbers stay.
LATER = [
    ("api", "apidiscovery/v2", "io.k8s.api.apidiscovery.v2", "apidiscovery.k8s.io", "v2"),
    ("api", "apidiscovery/v2beta1", "io.k8s.api.apidiscovery.v2beta1", "apidiscovery.k8s.io", "v2beta1"),
]
BASIC = {"string": "s", "int32": "i", "int64": "l", "int": "l", "uint8": "i", "bool": "b", "float64": "d", "[]byte": "B",
         "interface{}": "R", "any": "R"}
SPECIAL = {  # (import path, name) -> shape, for types with an encoding of their own
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time"): "T",
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "MicroTime"): "M",
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Duration"): "D",
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "FieldsV1"): "O",
    ("k8s.io/apimachinery/pkg/api/resource", "Quantity"): "Q",
    ("k8s.io/apimachinery/pkg/util/intstr", "IntOrString"): "I",
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension"): "O",
    ("k8s.io/apimachinery/pkg/types", "UID"): "s",
    ("k8s.io/apimachinery/pkg/types", "NodeName"): "s",
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSON"): "R",
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrArray"): "Ja",
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrBool"): "Jb",
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrStringArray"): "Js",
}
META = "k8s.io/apimachinery/pkg/apis/meta/v1"


class Package:
    def __init__(self, root, module, folder, definitions, group, version, release):
        self.path = f"k8s.io/{module}/{folder}"
        self.definitions, self.group, self.version = definitions, group, version
        self.directory = f"{root}/k8s.io/{module}@{release}/{folder}"
        self.name = version
        self.structs, self.named = {}, {}
        for file in sorted(glob.glob(self.directory + "/*.go")):
            if re.search(r"_test\.go$|generated|zz_|register|conversion|doc\.go|types_swagger", os.path.basename(file)):
                continue
            self.read(open(file).read())

    def read(self, text):
        imports = {}
        block = re.search(r"^import \((.*?)^\)", text, re.S | re.M)
        singles = re.findall(r"^import ([^(].*)$", text, re.M)
        for line in (block.group(1) if block else "").splitlines() + singles:
            m = re.match(r'\s*(\w+)?\s*"([^"]+)"', line)
            if m:
                imports[m.group(1) or m.group(2).split("/")[-1]] = m.group(2)
        comments = []
        lines = iter(text.splitlines())
        for line in lines:
            if line.startswith("//"):
                comments.append(line)
                continue
            m = re.match(r"type (\w+) struct \{$", line)
            if m:
                self.structs[m.group(1)] = (self.fields(lines), "+structType=atomic" in "\n".join(comments), imports)
            elif m := re.match(r"type (\w+) struct ?\{\}", line):
                self.structs[m.group(1)] = ([], False, imports)
            else:
                m = re.match(r"type (\w+) =? ?(.+?)$", line)
                if m and not m.group(2).startswith(("struct", "interface", "func")):
                    self.named[m.group(1)] = (m.group(2).split("//")[0].strip(), imports)
            if line.strip():
                comments = []

    def messages(self):
        """The messages of generated.proto: their names, and what each numbers. A named slice is one there, with `items`."""
        found, path = {}, self.directory + "/generated.proto"
        text = open(path).read() if os.path.exists(path) else ""
        for m in re.finditer(r"^message (\w+) \{(.*?)^\}", text, re.S | re.M):
            numbers = re.findall(r"^\s+(?:optional|repeated|map<.*?>).*? ?(\w+) = (\d+);", m.group(2), re.M)
            found[m.group(1)] = {int(n): f.lower() for f, n in numbers}
        return found

    @staticmethod
    def fields(lines):
        out, comments, ignore = [], [], False
        for line in lines:
            if line == "}":
                return out
            s = line.strip()
            if ignore or s.startswith("/*"):
                ignore = "*/" not in s
                continue
            if s.startswith("//"):
                comments.append(s[2:].strip())
                continue
            m = re.match(r"(?:(\w+)\s+)?([\w.\[\]*{}]+)\s+`(.*)`", s)
            if m:
                tags = dict(re.findall(r'(\w+):"([^"]*)"', m.group(3)))
                if "json" in tags:
                    out.append((m.group(1), m.group(2), tags, comments))
            comments = [] if s else comments
        return out


class Generator:
    def __init__(self, packages, definitions):
        self.packages = {p.path: p for p in packages}
        self.definitions = definitions
        self.order = []   # [(package, struct)]
        self.embedding = {}   # definition name of an embedded type -> that of the first type that embeds it
        self.index = {}

    def type_number(self, package, name):
        key = (package.path, name)
        if key not in self.index:
            self.index[key] = len(self.order)
            self.order.append((package, name))
        return self.index[key]

    def shape(self, go, package, imports):
        go = go.lstrip("*")
        if go in BASIC:
            return BASIC[go]
        if go.startswith("[]"):
            return "[" + self.shape(go[2:], package, imports)
        if go.startswith("map["):
            return "{" + self.shape(go[go.index("]") + 1:], package, imports)
        path, name = package.path, go
        if "." in go:
            alias, name = go.split(".")
            path = imports[alias]
        if (path, name) in SPECIAL:
            return SPECIAL[(path, name)]
        package = self.packages.get(path)
        if package is None:
            raise SystemExit(f"package of {go} is not in the list: {path}")
        if name in package.named:
            underlying, where = package.named[name]
            inner = self.shape(underlying, package, where)
            return "w" + inner[1:] if inner.startswith("[") and name in package.messages() else inner
        return "@%d" % self.type_number(package, name)

    def generate(self):
        out, at, all = [], 0, list(self.packages.values())
        for packages in (all[:len(PACKAGES)], all[len(PACKAGES):]):
            for package in packages:
                for name, (fields, _, _) in package.structs.items():
                    if any(f[0] is None and f[1].endswith("TypeMeta") for f in fields):
                        self.type_number(package, name)
            while at < len(self.order):
                out += self.type_lines(*self.order[at])
                at += 1
        return out

    def definition(self, full):
        """The published definition; of a type that is only embedded, and so has none, that of the type that embeds it."""
        return self.definitions.get(full) or self.definitions.get(self.embedding.get(full), {})

    def type_lines(self, package, name):
        fields, atomic, imports = package.structs[name]
        full = f"{package.definitions}.{name}"
        definition = self.definition(full)
        gvks = []
        if any(f[0] is None and f[1].endswith("TypeMeta") for f in fields):
            gvks.append(f"{package.group}/{package.version}/{name}")
        atomic = atomic or definition.get("x-kubernetes-map-type") == "atomic"
        lines = ["\t".join(["T", full, f"{package.name}.{name}", "a" if atomic else "", " ".join(gvks)])]
        required = set(definition.get("required", []))
        properties = definition.get("properties", {})
        for field, go, tags, comments in fields:
            json_name, *options = tags["json"].split(",")
            if json_name == "-":
                continue
            proto = tags.get("protobuf", "").split(",")
            number = proto[1] if len(proto) > 1 else "0"
            inline = "inline" in options or (field is None and not json_name)
            flags = ("p" if go.startswith("*") else "") + ("o" if "omitempty" in options else "")
            flags += "r" if json_name in required else ""
            flags += "e" if inline else ""
            if inline and full in self.definitions:
                self.embedding.setdefault(f"{package.definitions}.{go}", full)
            lines.append("\t".join(["F", json_name, number, flags, self.shape(go, package, imports),
                                    self.marks(full, json_name, tags, comments, properties)]))
        return lines

    def marks(self, full, json_name, tags, comments, properties):
        marks = {}
        if "patchStrategy" in tags:
            marks["p"] = tags["patchStrategy"]
        if "patchMergeKey" in tags:
            marks["k"] = tags["patchMergeKey"]
        for c in comments:
            if c.startswith("+listType="):
                marks["t"] = c.split("=")[1].strip()
            elif c.startswith("+listMapKey="):
                marks["m"] = ",".join(filter(None, [marks.get("m"), c.split("=")[1].strip()]))
            elif c.startswith(("+mapType=atomic", "+structType=atomic")):
                marks["a"] = ""
        published = properties.get(json_name)
        if published is not None:
            second = {"p": published.get("x-kubernetes-patch-strategy"), "k": published.get("x-kubernetes-patch-merge-key"),
                      "t": published.get("x-kubernetes-list-type"),
                      "m": ",".join(published.get("x-kubernetes-list-map-keys", [])) or None,
                      "a": "" if published.get("x-kubernetes-map-type") == "atomic" else None}
            second = {k: v for k, v in second.items() if v is not None}
            if second != marks:
                print(f"marks differ, the published ones are taken: {full}.{json_name} {marks} {second}", file=sys.stderr)
            marks = second
        return ";".join(k if v == "" else f"{k}={v}" for k, v in marks.items())

    def check_numbers(self):
        """Every protobuf number of the Go tags must stand in generated.proto under the same (case-folded) name."""
        for package in self.packages.values():
            messages = package.messages()
            for name, (fields, _, _) in package.structs.items():
                if name not in messages or (package.path, name) in SPECIAL:
                    continue
                mine = {}
                for field, go, t, _ in fields:
                    if "protobuf" in t:
                        tag = t["protobuf"]
                        named = re.search(r"name=(\w+)", tag)
                        mine[int(tag.split(",")[1])] = (named.group(1) if named else field or go.split(".")[-1]).lower()
                if mine != messages[name]:
                    print(f"numbers differ from generated.proto: {name} {mine} {messages[name]}", file=sys.stderr)

    def descriptions(self):
        for package, name in self.order:
            definition = self.definitions.get(f"{package.definitions}.{name}")
            if definition is None:
                continue
            yield "T\t%s\t%s" % (f"{package.definitions}.{name}", escape(definition.get("description", "")))
            for field, property in definition.get("properties", {}).items():
                if property.get("description"):
                    yield "F\t%s\t%s" % (field, escape(property["description"]))


def escape(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--modules", required=True)
    arguments.add_argument("--version", required=True)
    arguments.add_argument("--definitions", required=True)
    options = arguments.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    definitions = json.load(open(options.definitions))["$defs"]
    packages = [Package(options.modules, *p, options.version) for p in PACKAGES + LATER]
    generator = Generator(packages, definitions)
    lines = generator.generate()
    generator.check_numbers()
    header = [
        f"# Kubernetes API schema {options.version}, generated by generate.py; do not edit.",
        "# Derived from the Kubernetes API definitions, Copyright The Kubernetes Authors,",
        "# licensed under the Apache License, Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0).",
    ]
    with open(f"{here}/kubernetes.schema", "w") as f:
        f.write("\n".join(header + lines) + "\n")
    text = "\n".join(header + list(generator.descriptions())) + "\n"
    with open(f"{here}/descriptions.gz", "wb") as f:
        f.write(gzip.compress(text.encode(), compresslevel=9, mtime=0))


main()
