//! Prints the schema of topology files: `cargo run -p netsplit-plan --example schema > topologies/topology.schema.json`.
#![expect(clippy::print_stdout, reason = "that is its purpose")]

fn main() {
    print!("{}", netsplit_plan::topology::schema_text());
}
