//! Generates the wire types from the `.proto` files beside this one, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["raft.proto", "worker.proto", "cluster.proto", "health.proto", "cri.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
