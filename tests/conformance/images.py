#!/usr/bin/env python3
"""Makes stand-ins for the images that Kubernetes' conformance suite names, as one archive per image.

    images.py BIN PORTER OUT

BIN holds `agnhost` and `nnp`, and PORTER the certificate of agnhost's, built from Kubernetes' own sources; what is not
written in Go there (busybox, nginx, httpd, nautilus, pause) is stood in for by the machine's static busybox. Its shell
drops variables whose names are none, which that of the real image does not; where tests ask for those, `sh` is a
static bash. A test that needs more of an image than its name and a program that runs is in skips.txt, with the reason.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

E2E = "registry.k8s.io/e2e-test-images"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"


def program(name):
    path = shutil.which(name)
    if path is None:
        sys.exit(f"images.py: {name} is missing; install it with: apt-get install busybox-static bash-static")
    return path


def shell(files):
    """Adds busybox and its applets, and the accounts that images have."""
    path = program("busybox")
    files["bin/busybox"] = (0o755, open(path, "rb").read())
    for applet in subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            files[f"bin/{applet}"] = "busybox"
    files.setdefault("etc/passwd", (0o644, PASSWD))
    files.setdefault("etc/group", (0o644, GROUP))
    files["tmp/"] = (0o1777, b"")
    files["root/"] = (0o700, b"")
    return files


def layer(files):
    """A layer's tar, the same bytes for the same files: a value is (mode, content) or the target of a symlink."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name.rstrip("/"))
            if isinstance(files[name], str):
                info.type, info.linkname = tarfile.SYMTYPE, files[name]
                tar.addfile(info)
                continue
            info.mode, content = files[name]
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archive(path, name, files, config):
    """Writes an image as `docker save` does."""
    content = layer(files)
    diff = hashlib.sha256(content).hexdigest()
    config = json.dumps({
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]}}).encode()
    identity = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{identity}.json", "RepoTags": [name], "Layers": [f"{diff}/layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for file, data in ((f"{identity}.json", config), (f"{diff}/layer.tar", content),
                           ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(file)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def main():
    bin_dir, porter, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    env = [f"{k}={v}" for k, v in path.items()]
    agnhost = shell({
        "agnhost": (0o755, open(os.path.join(bin_dir, "agnhost"), "rb").read()),
        "agnhost-2": "agnhost",
        "localhost.crt": (0o644, open(os.path.join(porter, "localhost.crt"), "rb").read()),
        "localhost.key": (0o644, open(os.path.join(porter, "localhost.key"), "rb").read()),
        "uploads/": (0o755, b""),
        "etc/passwd": (0o644, PASSWD + b"user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"),
        "etc/group": (0o644, GROUP + b"user-defined-in-image:x:1000:\n"
                      b"group-defined-in-image:x:50000:user-defined-in-image\n"),
    })
    root = "usr/local/apache2/htdocs"
    page = {f"{root}/index.html": (0o644, b"<html><body><h1>It works!</h1></body></html>\n")}
    # What is stood in for ends when it is told to.
    def ending(program):
        return ["/bin/sh", "-c", f"trap 'exit 0' TERM; {program} & wait $!"]
    serve, loop = ending(f"httpd -f -p 80 -h /{root}"), ending("sleep 2147483647")
    plain, web = shell({}), shell(page)
    # Found as `sh`. What `/bin/sh` says of errors is looked at, too.
    keeping = {**plain, "usr/local/bin/sh": (0o755, open(program("bash-static"), "rb").read())}
    nautilus = shell({"usr/share/nginx/html/data.json": (0o644, b'{"image": "nautilus.jpg"}\n')})
    nnp = shell({"usr/local/bin/nnp": (0o6755, open(os.path.join(bin_dir, "nnp"), "rb").read())})
    images = {
        f"{E2E}/agnhost:2.53": (agnhost, {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}),
        f"{E2E}/busybox:1.36.1-1": (keeping, {"Cmd": ["sh"]}),
        f"{E2E}/nautilus:1.7": (nautilus, {"Cmd": ending("httpd -f -p 80 -h /usr/share/nginx/html")}),
        f"{E2E}/nginx:1.14-4": (web, {"Cmd": serve}),
        f"{E2E}/nginx:1.15-4": (web, {"Cmd": serve}),
        f"{E2E}/httpd:2.4.38-4": (web, {"Cmd": serve}),
        f"{E2E}/httpd:2.4.39-4": (web, {"Cmd": serve}),
        f"{E2E}/nonewprivs:1.3": (nnp, {"Cmd": ["nnp"]}),
        f"{E2E}/nonroot:1.4": (plain, {"User": "1234", "Cmd": ["id", "-u"]}),
        "registry.k8s.io/pause:3.10": (plain, {"Entrypoint": loop}),
    }
    for name, (files, config) in images.items():
        file = name.rsplit("/", 1)[1].replace(":", "_") + ".tar"
        archive(os.path.join(out, file), name, files, {"Env": env, "WorkingDir": "/", **config})
        print(os.path.join(out, file))


main()
