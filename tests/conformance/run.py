#!/usr/bin/env python3
"""Runs Kubernetes' own conformance suite against a cluster of three controllers and workers with real containers.

    run.py --kontiki target/release/kontiki [--out DIR] [--focus REGEX] [--skip REGEX] [--procs N] [--timeout 90m]
    run.py --report DIR...

It needs root (real containers) and Go, builds the suite from the module `k8s.io/kubernetes` of go.mod, starts a cluster
of its own below --out, stops it at the end, and writes DIR/junit.xml and DIR/report.md. A test named in skips.txt is not
run and counts as not applicable. Ends with 1 if a test that ran failed.

By --report nothing is run: it tells what several runs found, the last one that ran a test.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
PARTS = {
    "agnhost": ["build", "k8s.io/kubernetes/test/images/agnhost"],
    "nnp": ["build", "k8s.io/kubernetes/test/images/nonewprivs"],
    "ginkgo": ["build", "github.com/onsi/ginkgo/v2/ginkgo"],
    "e2e.test": ["test", "-c", "k8s.io/kubernetes/test/e2e"],
}


def build(bin_dir):
    """Builds what is missing; the suite itself takes some ten minutes of two cores."""
    env = {**os.environ, "CGO_ENABLED": "0"}
    bin_dir.mkdir(parents=True, exist_ok=True)
    for name, (command, *rest) in PARTS.items():
        if not (bin_dir / name).exists():
            print(f"building {name}", flush=True)
            subprocess.run(["go", command, "-ldflags", "-s -w", "-o", bin_dir / name, *rest], cwd=HERE, env=env, check=True)


def skips():
    """(compiled pattern, reason) for each line of skips.txt."""
    for line in (HERE / "skips.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, reason = line.split("\t")
            yield re.compile(pattern), reason


def cases(junit):
    """(name, outcome, message) of each conformance test that the suite knows."""
    for case in xml.parse(junit).iter("testcase"):
        name = case.get("name").removeprefix("[It] ")
        if "[Conformance]" not in name:
            continue
        failure = case.find("failure")
        failure = case.find("error") if failure is None else failure
        if failure is not None:
            yield name, "failed", failure.get("message") or (failure.text or "").strip()
        elif case.find("skipped") is not None:
            yield name, "skipped", ""
        else:
            yield name, "passed", ""


def together(directories):
    """The same of several runs: of each test what the last one found that ran it."""
    found = {}
    for directory in directories:
        for name, outcome, message in cases(directory / "junit.xml"):
            if outcome != "skipped" or name not in found:
                found[name] = (name, outcome, message)
    return found.values()


def report(results):
    """The counts by group, what failed and what does not apply, as Markdown."""
    listed = list(skips())
    groups, failed, reasons = {}, [], {}
    for name, outcome, message in sorted(results):
        group = (re.match(r"\[sig-([a-z-]+)\]", name) or [None, "other"])[1]
        counts = groups.setdefault(group, {"passed": 0, "failed": 0, "not applicable": 0, "not run": 0})
        reason = next((reason for pattern, reason in listed if pattern.search(name)), None)
        if outcome == "skipped":
            outcome = "not applicable" if reason else "not run"
        counts[outcome] += 1
        if outcome == "failed":
            failed.append((name, message))
        elif outcome == "not applicable":
            reasons[reason] = reasons.get(reason, 0) + 1
    kinds = ["passed", "failed", "not applicable", "not run"]
    lines = ["| group | " + " | ".join(kinds) + " |", "|---|" + "---|" * len(kinds)]
    for group, counts in sorted(groups.items()):
        lines.append(f"| {group} | " + " | ".join(str(counts[kind]) for kind in kinds) + " |")
    total = [sum(counts[kind] for counts in groups.values()) for kind in kinds]
    lines.append("| all | " + " | ".join(map(str, total)) + " |")
    lines += ["", "Not applicable:"] + [f"- {count}: {reason}" for reason, count in sorted(reasons.items())]
    lines += ["", "Failed:"] + [f"- {name}: {message.splitlines()[0][:300] if message else ''}" for name, message in failed]
    return "\n".join(lines) + "\n", len(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--kontiki", type=pathlib.Path)
    which.add_argument("--report", type=pathlib.Path, nargs="+", metavar="DIR")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/conformance"))
    parser.add_argument("--bin", type=pathlib.Path, help="where the built suite is kept; --out/bin if not said")
    parser.add_argument("--focus", default="", help="of the conformance tests only those whose name matches")
    parser.add_argument("--skip", help="of those not these")
    parser.add_argument("--procs", type=int, default=4, help="tests at once")
    parser.add_argument("--timeout", default="90m")
    options = parser.parse_args()
    if options.report:
        print(report(together(options.report))[0])
        return
    out, kontiki = options.out.resolve(), options.kontiki.resolve()
    bin_dir = (options.bin or out / "bin").resolve()
    build(bin_dir)
    module = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"], cwd=HERE, check=True,
                            capture_output=True, text=True).stdout.strip()
    porter = pathlib.Path(module, "test/images/agnhost/porter")
    images = subprocess.run([sys.executable, HERE / "images.py", bin_dir, porter, out / "images"], check=True, capture_output=True,
                            text=True).stdout.split()
    data = out / "cluster"
    up = [kontiki, "up", "--data-dir", data, "--detach", "--port", "0", "--controllers", "3", "--workers", "3"]
    subprocess.run([*up, *(word for image in images for word in ("--image", image))], check=True)
    junit = out / "junit.xml"
    junit.unlink(missing_ok=True)
    skip = [f"--skip={pattern.pattern}" for pattern, _ in skips()]
    if options.skip:
        skip.append(f"--skip={options.skip}")
    focus = rf"(?:{options.focus}).*\[Conformance\]" if options.focus else r"\[Conformance\]"
    try:
        # Tests that are marked as serial are left by ginkgo to the end, alone.
        subprocess.run([bin_dir / "ginkgo", f"--procs={options.procs}", f"--focus={focus}", *skip, "--no-color",
                        f"--timeout={options.timeout}", f"--output-dir={out}", "--junit-report=junit.xml", bin_dir / "e2e.test",
                        "--", f"--kubeconfig={data / 'kubeconfig'}", "--provider=skeleton", "--disable-log-dump",
                        "--allowed-not-ready-nodes=0"], cwd=out, check=False)
    finally:
        subprocess.run([kontiki, "down", "--data-dir", data], check=False)
    text, failed = report(cases(junit))
    (out / "report.md").write_text(text)
    print(text)
    sys.exit(1 if failed else 0)


main()
