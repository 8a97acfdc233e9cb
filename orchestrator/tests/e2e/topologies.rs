//! The topologies that are also the documentation.

use crate::netsplit::{Netsplit, assert_nothing_left, repository, run_id};

fn passes(name: &str) {
    let netsplit = Netsplit::new();
    let file = repository().join("topologies").join(name);
    let (ended, verdict) = netsplit.test(file.to_str().unwrap(), &[]);
    ended.expect(0);
    assert_eq!(verdict["verdict"], "passed");
    assert_eq!(verdict["teardown"]["ok"], true, "{verdict:#}");
    assert_nothing_left(&run_id(&verdict));
}

#[test]
fn quickstart_passes() {
    passes("quickstart.yaml");
}

#[test]
fn partition_passes() {
    passes("partition.yaml");
}

#[test]
fn churn_passes() {
    passes("churn.yaml");
}

#[test]
fn dns_outage_passes() {
    passes("dns-outage.yaml");
}

/// Two runs at once on one engine neither see nor disturb each other.
#[test]
fn two_runs_at_once_both_pass() {
    let (one, two) = (Netsplit::new(), Netsplit::new());
    let file = repository().join("topologies/partition.yaml");
    let file = file.to_str().unwrap();
    let (first, second) = (
        one.spawn(&["test", file, "--seed", "1"]),
        two.spawn(&["test", file, "--seed", "2"]),
    );
    let second = second.wait();
    first.wait().expect(0);
    second.expect(0);
}

/// A JUnit file has one case per step.
#[test]
fn junit_has_a_case_per_step() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", crate::netsplit::CUT);
    let junit = netsplit.home.path().join("out.xml");
    netsplit
        .run(&["test", &file, "--junit", junit.to_str().unwrap()])
        .expect(0);
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert_eq!(xml.matches("<testcase").count(), 5, "{xml}");
    assert!(!xml.contains("<failure"), "{xml}");
}
