#!/bin/bash
# Builds RocksDB once and keeps the archive: build-rocksdb.sh DIR. Cargo would build it again for every selection of packages
# whose features differ (build, test, lint), 20 CPU-minutes each. With ROCKSDB_LIB_DIR=DIR and ROCKSDB_STATIC=1 it is linked.
set -euo pipefail
dir=$1
[ -f "$dir/librocksdb.a" ] && exit 0
unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
cd "$(dirname "$0")/.."
echo 'building RocksDB (once, about 20 CPU-minutes)'
mkdir -p "$dir"
out=$(cargo build --release --locked -p kontiki-raft --message-format=json |
    sed -n '/"reason":"build-script-executed"/{/librocksdb-sys/s/.*"out_dir":"\([^"]*\)".*/\1/p}')
cp "$out/librocksdb.a" "$dir/librocksdb.a.new"
mv "$dir/librocksdb.a.new" "$dir/librocksdb.a"
