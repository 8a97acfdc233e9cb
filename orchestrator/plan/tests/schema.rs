//! The schema that is checked in is the one of the types.

use netsplit_plan::topology::schema_text;

#[test]
fn the_schema_is_up_to_date() {
    let kept = include_str!("../../../topologies/topology.schema.json");
    assert!(
        kept == schema_text(),
        "topologies/topology.schema.json is out of date: write what `netsplit schema` prints into it"
    );
}
