//! Counts the allocations of every operation inside a controller's process, and tells them beside the times that `cargo bench -p
//! kontiki-inside` measured last: as a table, for programs, or in docs/benchmarks.md.

mod page;
mod times;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use kontiki_inside::Operation;
use serde::Serialize;

use crate::times::Time;

/// Counts allocations inside a controller's process.
#[derive(Parser)]
struct Args {
    /// Where criterion keeps what it measured.
    #[arg(long, value_name = "DIR", default_value = "target/criterion")]
    times: PathBuf,
    /// In which form to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// What the reader should know of the machine.
    #[arg(long, default_value = "")]
    note: String,
    /// The folder with benchmarks.md, to write the table to [default: it is only printed].
    #[arg(long, value_name = "DIR", value_parser = page::folder)]
    docs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// What one operation costs.
#[derive(Clone, Debug, Serialize)]
struct Row {
    id: String,
    what: String,
    /// How many pods, creates or changes it works through at once.
    elements: u64,
    /// Calls of the allocator; what grows counts again each time it is moved.
    allocations: u64,
    /// Bytes that were asked for in them.
    bytes: u64,
    /// None if it was not measured.
    time: Option<Time>,
}

impl Row {
    fn of(operation: &Operation, time: Option<Time>) -> Row {
        let counted = allocation_counter::measure(operation.prepare());
        Row {
            id: operation.id(),
            what: operation.what.clone(),
            elements: operation.elements,
            allocations: counted.count_total,
            bytes: counted.bytes_total,
            time,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut rows = Vec::new();
    for operation in kontiki_inside::operations() {
        rows.push(Row::of(&operation, Time::read(&args.times, &operation.id())?));
    }
    match args.output {
        Output::Table => print!("{}", page::render(&rows, &args.note)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
    }
    if let Some(docs) = &args.docs {
        page::write(docs, &page::render(&rows, &args.note))?;
    }
    Ok(())
}
