#!/bin/sh
# Makes the example image kontiki.local/web:1 as an OCI image archive, without a container engine:
#   examples/build-image.sh OUT.tar
# The same sources, toolchain and busybox give the same bytes. WEB_BINARY=<path> uses a static binary that is already built.
set -eu
umask 022

fail() {
    echo "build-image: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: $0 OUT.tar"
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
[ -d "$(dirname "$out")" ] || fail "there is no folder $(dirname "$out")"
cd "$(dirname "$0")/.."

name=kontiki.local/web:1
epoch=1970-01-01T00:00:00Z
applets="ash awk base64 basename cat chmod chown cp cut date dd df dirname du echo env expr false find free grep gunzip \
gzip head hostname id ip kill less ln ls md5sum mkdir mknod more mount mv nc netstat nslookup od pidof ping printf ps pwd \
readlink rm rmdir sed seq sh sha256sum sleep sort stat stty sync tail tar tee test time timeout top touch tr true tty \
umount uname uniq uptime vi watch wc wget which whoami xargs yes"

static() {
    ldd "$1" 2>&1 | grep -Eq 'not a dynamic executable|statically linked'
}

busybox=$(command -v busybox) || fail "busybox is missing; install it with: apt-get install busybox-static"
static "$busybox" || fail "$busybox is not static; replace it with: apt-get install busybox-static"

if [ -n "${WEB_BINARY:-}" ]; then
    web=$WEB_BINARY
    [ -f "$web" ] || fail "WEB_BINARY $web does not exist"
else
    target=$(rustc -vV | sed -n 's/^host: //p')
    # With an explicit target the flag touches what runs in the image only, not build scripts or macros.
    RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" \
        cargo build --quiet --release --locked -p kontiki-example-web --target "$target"
    web=${CARGO_TARGET_DIR:-target}/$target/release/web
fi
static "$web" || fail "$web is not static"

case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
layout=$work/layout
mkdir -p "$layout/blobs/sha256"

sum() { sha256sum "$1" | cut -d' ' -f1; }
size() { wc -c <"$1" | tr -d ' '; }
pack() ( # FOLDER OUT: the same bytes for the same content, whoever builds it and when
    LC_ALL=C
    export LC_ALL
    cd "$1"
    tar --sort=name --format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$2" -- *
)
keep() { # FILE: into the layout under the name of its content
    digest=$(sum "$1")
    mv "$1" "$layout/blobs/sha256/$digest"
}

# The lower layer: a shell and what it needs. It changes with busybox only.
base=$work/base
mkdir -p "$base/bin" "$base/dev" "$base/etc" "$base/proc" "$base/root" "$base/sys" "$base/tmp" "$base/usr/bin" "$base/var"
cp "$busybox" "$base/bin/busybox"
chmod 755 "$base/bin/busybox"
known=$("$busybox" --list)
for applet in $applets; do
    if echo "$known" | grep -qx -e "$applet"; then ln -s busybox "$base/bin/$applet"; fi
done
ln -s /bin/env "$base/usr/bin/env"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$base/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' >"$base/etc/group"
chmod 700 "$base/root"
chmod 1777 "$base/tmp"

# The upper layer: the web server.
top=$work/top
mkdir -p "$top"
cp "$web" "$top/web"
chmod 755 "$top/web"

layers= diff_ids=
for layer in base top; do
    pack "$work/$layer" "$work/$layer.tar"
    diff_ids="$diff_ids${diff_ids:+,}\"sha256:$(sum "$work/$layer.tar")\""
    gzip -n -9 "$work/$layer.tar"
    bytes=$(size "$work/$layer.tar.gz")
    keep "$work/$layer.tar.gz"
    layers="$layers${layers:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$bytes}"
done

cat >"$work/config" <<EOF
{"created":"$epoch","architecture":"$architecture","os":"linux","config":{"ExposedPorts":{"8080/tcp":{}},"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":["/web"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":[$diff_ids]},"history":[{"created":"$epoch","created_by":"busybox"},{"created":"$epoch","created_by":"web"}]}
EOF
bytes=$(size "$work/config")
keep "$work/config"

cat >"$work/manifest" <<EOF
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$digest","size":$bytes},"layers":[$layers]}
EOF
bytes=$(size "$work/manifest")
keep "$work/manifest"

cat >"$layout/index.json" <<EOF
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$digest","size":$bytes,"platform":{"architecture":"$architecture","os":"linux"},"annotations":{"io.containerd.image.name":"$name","org.opencontainers.image.ref.name":"$name"}}]}
EOF
printf '{"imageLayoutVersion":"1.0.0"}\n' >"$layout/oci-layout"

# Whole or not at all, also for whoever reads it meanwhile.
pack "$layout" "$out.new"
mv "$out.new" "$out"
echo "$name sha256:$digest -> $out"
