//! Words of the language that are planned and not built yet: an error of their own, never ignored.

/// For each definition of the schema: keys or values that will exist.
const WORDS: &[(&str, &[&str])] = &[
    ("Topology", &["links", "edges"]),
    ("Chain", &["committee", "validators"]),
    ("Consensus", &["pos", "dpos", "pbft"]),
    (
        "Overlay",
        &[
            "random",
            "ring",
            "star",
            "mesh",
            "tree",
            "small-world",
            "dht",
            "hybrid",
        ],
    ),
    ("Network", &["ipv6"]),
    ("Addresses", &["public-like"]),
    ("Defaults", &["behaviour"]),
    ("Group", &["kind", "image", "clock_offset"]),
    ("Discovery", &["broadcast", "dht"]),
    ("Relay", &["gossip", "tree", "compact", "xthin"]),
    (
        "Behaviour",
        &[
            "silent",
            "wrong-magic",
            "address-flood",
            "eclipse",
            "omit-payments",
            "equivocate",
        ],
    ),
    (
        "Step",
        &["link", "flap", "wipe", "load", "parallel", "repeat"],
    ),
    (
        "Shape",
        &[
            "majority",
            "minority",
            "minority-third",
            "isolate-miners",
            "bridge",
            "majorities-ring",
            "random",
        ],
    ),
    ("CutMode", &["reject", "block-new"]),
    (
        "Check",
        &[
            "mempool",
            "reorg",
            "stale_rate",
            "propagation",
            "finality",
            "agreement",
            "producers",
            "progress",
            "double_signing",
            "bandwidth",
            "spv",
        ],
    ),
];

/// Whether `word` will be a word of `definition`.
pub(super) fn is_planned(definition: &str, word: &str) -> bool {
    of(definition).contains(&word)
}

/// Words of a definition that are planned and not built.
pub(super) fn of(definition: &str) -> &'static [&'static str] {
    WORDS
        .iter()
        .find(|(name, _)| *name == definition)
        .map_or(&[], |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_exists() {
        let schema = crate::topology::schema();
        for (name, _) in WORDS {
            assert!(
                *name == "Topology" || schema["$defs"].get(*name).is_some(),
                "{name}"
            );
        }
    }
}
