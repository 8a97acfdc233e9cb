//! `docs/rpc.md` says what the method table says.

const START: &str = "<!-- methods: written by the test `node::reference`, do not edit below -->\n";

#[test]
fn the_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rpc.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (introduction, methods) = text.split_once(START).expect("the marker line is there");
    let expected = netsplit_node::reference();
    if methods.trim() != expected.trim() && std::env::var_os("UPDATE_REFERENCE").is_some() {
        let text = format!("{introduction}{START}\n{}\n", expected.trim());
        std::fs::write(path, text).unwrap();
        return;
    }
    assert_eq!(
        methods.trim(),
        expected.trim(),
        "run again with UPDATE_REFERENCE=1"
    );
}
