//! How assertions stand, judged from plain values.
#![expect(clippy::unwrap_used, reason = "tests")]

mod world;

use netsplit_plan::{
    assertion::{Assertion, Judgement, TxRef},
    judge::{Mode, Since},
    observe::{At, Lifecycle, Query},
};
use serde_json::json;
use world::{World, name, names};

const EVENTUALLY: Mode = Mode::Eventually;

fn since(at: u64, mode: Mode) -> Since {
    Since { at: At(at), mode }
}

fn converged(fresh: Option<u32>, min_height: Option<u32>, lag: u32) -> Assertion {
    Assertion::Converged {
        nodes: None,
        lag,
        min_height,
        fresh_blocks: fresh,
    }
}

fn holds(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::Holds { .. })
}

fn not_yet(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::NotYet { .. })
}

fn violated(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::Violated { .. })
}

#[test]
fn all_on_one_tip_have_converged() {
    let mut world = World::new();
    world.start_all(10);
    assert!(holds(&world.judge(
        &converged(None, None, 0),
        0,
        EVENTUALLY
    )));
    assert!(not_yet(&world.judge(
        &converged(None, Some(102), 0),
        0,
        EVENTUALLY
    )));
    world.mine("miner-1", "a1", 20);
    let judgement = world.judge(&converged(None, None, 0), 15, EVENTUALLY);
    assert!(
        holds(&judgement),
        "they agreed at 15, before the block: {judgement:?}"
    );
    assert!(not_yet(&world.judge(
        &converged(None, None, 0),
        21,
        EVENTUALLY
    )));
    assert!(not_yet(&world.judge(
        &converged(None, None, 0),
        15,
        Mode::Now
    )));
    assert!(
        holds(&world.judge(&converged(None, None, 1), 21, Mode::Now)),
        "one behind is allowed"
    );
    world.relay_all("a1", 30);
    assert!(holds(&world.judge(
        &converged(None, Some(102), 0),
        21,
        EVENTUALLY
    )));
}

#[test]
fn an_instant_that_is_over_counts_unless_it_was_before_the_step() {
    let mut world = World::new();
    world.start_all(10);
    world.mine("miner-1", "a1", 20);
    world.relay_all("a1", 30);
    world.mine("miner-1", "a2", 40);
    assert!(holds(&world.judge(
        &converged(None, None, 0),
        25,
        EVENTUALLY
    )));
    assert!(not_yet(&world.judge(
        &converged(None, None, 0),
        40,
        EVENTUALLY
    )));
}

#[test]
fn fresh_blocks_count_from_the_last_heal() {
    let mut world = World::new();
    world.start_all(10);
    for (i, block) in ["a1", "a2", "a3"].into_iter().enumerate() {
        world.mine("miner-1", block, 20 + 10 * i as u64);
        world.relay_all(block, 25 + 10 * i as u64);
    }
    assert!(holds(&world.judge(
        &converged(Some(2), None, 0),
        25,
        EVENTUALLY
    )));
    assert!(not_yet(&world.judge(
        &converged(Some(3), None, 0),
        25,
        EVENTUALLY
    )));
    world.seen.heal_verified("cut", At(35));
    assert!(holds(&world.judge(
        &converged(Some(1), None, 0),
        25,
        EVENTUALLY
    )));
    assert!(
        not_yet(&world.judge(&converged(Some(2), None, 0), 25, EVENTUALLY)),
        "one since"
    );
}

#[test]
fn stopped_and_paused_nodes_do_not_count_and_dead_ones_do() {
    let mut world = World::new();
    world.start_all(10);
    world.mine("miner-1", "a1", 20);
    world.relay(&["miner-2", "full-1", "wallet"], "a1", 30);
    let check = converged(None, Some(102), 0);
    assert!(not_yet(&world.judge(&check, 20, EVENTUALLY)), "full-2 lags");
    for (lifecycle, counts) in [
        (Lifecycle::Stopped, false),
        (Lifecycle::Paused, false),
        (Lifecycle::Died, true),
    ] {
        let mut world = world.clone();
        world
            .seen
            .node_lifecycle(&name("full-2"), lifecycle, At(31));
        assert_eq!(
            not_yet(&world.judge(&check, 31, EVENTUALLY)),
            counts,
            "{lifecycle:?}"
        );
    }
}

#[test]
fn nobody_is_a_violation() {
    let mut world = World::new();
    for node in world.names() {
        world.seen.node_lifecycle(&node, Lifecycle::Stopped, At(5));
    }
    assert!(violated(&world.judge(
        &converged(None, None, 0),
        6,
        EVENTUALLY
    )));
    assert!(violated(&world.judge(
        &Assertion::Supply { nodes: None },
        6,
        EVENTUALLY
    )));
}

#[test]
fn a_restarted_node_reports_its_tip_anew() {
    let mut world = World::new();
    world.start_all(10);
    world.mine("miner-1", "a1", 20);
    world.relay(&["miner-2", "full-1", "wallet"], "a1", 30);
    world
        .seen
        .node_lifecycle(&name("full-2"), Lifecycle::Stopped, At(31));
    world
        .seen
        .node_lifecycle(&name("full-2"), Lifecycle::Running, At(40));
    let check = converged(None, Some(102), 0);
    let judgement = world.judge(&check, 40, EVENTUALLY);
    assert!(not_yet(&judgement), "its tip is unknown: {judgement:?}");
    world.restart("full-2", "a1", 102, 50);
    assert!(holds(&world.judge(&check, 40, EVENTUALLY)));
}

#[test]
fn sides_diverge_by_blocks_accepted_after_the_cut() {
    let mut world = World::new();
    world.start_all(10);
    world.mine("miner-1", "a1", 20);
    world.relay_all("a1", 21);
    let groups = [
        names(&["miner-1", "full-1"]),
        names(&["seed", "miner-2", "full-2", "wallet"]),
    ];
    world.seen.cut_verified("cut", &groups, false, At(30));
    let check = |min_blocks| Assertion::Diverged {
        between: "cut".into(),
        nodes: None,
        min_blocks,
    };
    assert!(not_yet(&world.judge(&check(1), 30, EVENTUALLY)));
    world.mine("miner-1", "a2", 40);
    world.relay(&["full-1"], "a2", 41);
    assert!(
        not_yet(&world.judge(&check(1), 30, EVENTUALLY)),
        "one side only"
    );
    world.mine_on("miner-2", "b2", "a1", 50);
    assert!(holds(&world.judge(&check(1), 30, EVENTUALLY)));
    assert!(not_yet(&world.judge(&check(2), 30, EVENTUALLY)));
    world.seen.heal_verified("cut", At(60));
    assert!(
        violated(&world.judge(&check(2), 30, EVENTUALLY)),
        "it can no longer hold"
    );
    let other = Assertion::Diverged {
        between: "other".into(),
        nodes: None,
        min_blocks: 1,
    };
    assert!(violated(&world.judge(&other, 30, EVENTUALLY)));
}

#[test]
fn blocks_on_their_way_during_the_cut_are_not_a_divergence() {
    let mut world = World::new();
    world.start_all(10);
    world.mine("miner-1", "a1", 20);
    world.mine_on("miner-2", "b1", "tip", 20);
    let groups = [
        names(&["miner-1", "full-1"]),
        names(&["miner-2", "full-2", "wallet"]),
    ];
    world.seen.cut_verified("cut", &groups, false, At(30));
    world.relay(&["full-1"], "a1", 31);
    let check = Assertion::Diverged {
        between: "cut".into(),
        nodes: None,
        min_blocks: 1,
    };
    let judgement = world.judge(&check, 30, EVENTUALLY);
    assert!(
        not_yet(&judgement),
        "both were accepted before: {judgement:?}"
    );
}

#[test]
fn lost_events_make_what_needs_them_inconclusive() {
    let mut world = World::new();
    world.start_all(10);
    world.seen.events_lost(&name("full-1"));
    let plain = converged(None, None, 0);
    assert!(
        not_yet(&world.judge(&plain, 20, EVENTUALLY)),
        "the tip of full-1 is unknown"
    );
    let asked = plain.queries(&world.seen, &since(20, EVENTUALLY));
    assert_eq!(
        asked,
        vec![Query::rpc(&name("full-1"), "x_status", &json!([]))]
    );
    let answer = json!({ "height": 101, "tip": world::hash("tip"), "peers": 4 });
    world.seen.answer(asked[0].clone(), Ok(answer), At(21));
    assert!(
        holds(&world.judge(&plain, 20, EVENTUALLY)),
        "it was asked instead"
    );
    world.mine("miner-1", "a1", 30);
    world.relay_all("a1", 31);
    let fresh = world.judge(&converged(Some(1), None, 0), 20, EVENTUALLY);
    assert!(matches!(fresh, Judgement::Inconclusive { .. }), "{fresh:?}");
}

#[test]
fn a_gap_in_the_sequence_is_noticed() {
    let mut world = World::new();
    world.start_all(10);
    world.skip_events("full-1", 3);
    world.mine("miner-1", "a1", 20);
    world.relay_all("a1", 30);
    assert!(world.seen.node(&name("full-1")).unwrap().lost_events());
    assert!(holds(&world.judge(
        &converged(None, Some(102), 0),
        20,
        EVENTUALLY
    )));
}

#[test]
fn heights_and_peers() {
    let mut world = World::new();
    world.start_all(10);
    let height = |at_least| Assertion::Height {
        nodes: None,
        at_least,
    };
    assert!(holds(&world.judge(&height(101), 10, EVENTUALLY)));
    assert!(not_yet(&world.judge(&height(102), 10, EVENTUALLY)));
    world.connect("full-1", 1);
    world.connect("full-1", 2);
    let peers = |between| Assertion::Peers {
        nodes: Some(names(&["full-1"])),
        between,
    };
    assert!(holds(&world.judge(&peers((2, 2)), 10, EVENTUALLY)));
    assert!(not_yet(&world.judge(&peers((3, 9)), 10, EVENTUALLY)));
    assert!(not_yet(&world.judge(&peers((0, 1)), 10, EVENTUALLY)));
    world.disconnect("full-1", 1);
    assert!(holds(&world.judge(&peers((1, 1)), 10, EVENTUALLY)));
    world.seen.events_lost(&name("full-1"));
    assert!(not_yet(&world.judge(&peers((1, 1)), 10, EVENTUALLY)));
    let query = peers((1, 1))
        .queries(&world.seen, &since(10, EVENTUALLY))
        .remove(0);
    world.seen.answer(query, Ok(json!({ "peers": 1 })), At(11));
    assert!(holds(&world.judge(&peers((1, 1)), 10, EVENTUALLY)));
    assert!(
        not_yet(&world.judge(&peers((1, 1)), 12, EVENTUALLY)),
        "the answer is too old"
    );
}

#[test]
fn probes_tell_who_is_reachable() {
    let mut world = World::new();
    let (from, to) = (names(&["full-1", "full-2"]), names(&["full-2"]));
    let check = |expect| Assertion::Reachable {
        from: from.clone(),
        to: to.clone(),
        expect,
    };
    let query = check(true)
        .queries(&world.seen, &since(5, EVENTUALLY))
        .remove(0);
    assert!(not_yet(&world.judge(&check(true), 5, EVENTUALLY)));
    let pair = |reached| json!([{ "from": "full-1", "to": "full-2", "reached": reached }]);
    world.seen.answer(query.clone(), Ok(pair(true)), At(6));
    assert!(holds(&world.judge(&check(true), 5, EVENTUALLY)));
    assert!(not_yet(&world.judge(&check(false), 5, EVENTUALLY)));
    world.seen.answer(query.clone(), Ok(pair(false)), At(7));
    assert!(holds(&world.judge(&check(false), 5, EVENTUALLY)));
    world.seen.answer(query, Ok(json!([])), At(8));
    assert!(
        not_yet(&world.judge(&check(false), 5, EVENTUALLY)),
        "silence proves nothing"
    );
}

#[test]
fn a_transaction_is_confirmed_on_every_chain() {
    let mut world = World::new();
    world.start_all(10);
    let check = |tx, depth| Assertion::Confirmed {
        nodes: None,
        tx,
        depth,
    };
    assert!(
        violated(&world.judge(&check(TxRef::Last, 1), 11, EVENTUALLY)),
        "nothing was sent"
    );
    world.seen.sent(Some("pay"), "aa", At(15));
    world.mine("miner-1", "a1", 20);
    world.relay_all("a1", 21);
    let pay = TxRef::Step("pay".to_owned());
    let queries = check(pay.clone(), 1).queries(&world.seen, &since(11, EVENTUALLY));
    assert_eq!(queries.len(), 1, "one block, asked once: {queries:?}");
    assert!(not_yet(&world.judge(
        &check(pay.clone(), 1),
        11,
        EVENTUALLY
    )));
    let block = json!({ "hash": world::hash("a1"), "height": 102, "tx": ["cb", "aa"] });
    world.seen.answer(queries[0].clone(), Ok(block), At(22));
    assert!(
        check(pay.clone(), 1)
            .queries(&world.seen, &since(11, EVENTUALLY))
            .is_empty()
    );
    assert!(holds(&world.judge(&check(pay.clone(), 1), 11, EVENTUALLY)));
    assert!(holds(&world.judge(&check(TxRef::Last, 1), 11, EVENTUALLY)));
    assert!(not_yet(&world.judge(
        &check(pay.clone(), 2),
        11,
        EVENTUALLY
    )));
    world.mine_on("full-1", "b1", "tip", 30);
    assert!(
        not_yet(&world.judge(&check(pay, 1), 11, EVENTUALLY)),
        "full-1 left that chain"
    );
}

#[test]
fn balances_are_exact() {
    let mut world = World::new();
    let check = |at_least, at_most| Assertion::Balance {
        nodes: names(&["wallet"]),
        at_least,
        at_most,
    };
    let query = check(None, None)
        .queries(&world.seen, &since(5, EVENTUALLY))
        .remove(0);
    assert!(not_yet(&world.judge(&check(Some(1), None), 5, EVENTUALLY)));
    world.seen.answer(query, Ok(json!(0.1)), At(6));
    assert!(holds(&world.judge(
        &check(Some(10_000_000), Some(10_000_000)),
        5,
        EVENTUALLY
    )));
    assert!(not_yet(&world.judge(
        &check(Some(10_000_001), None),
        5,
        EVENTUALLY
    )));
    assert!(not_yet(&world.judge(
        &check(None, Some(9_999_999)),
        5,
        EVENTUALLY
    )));
}

#[test]
fn coins_are_the_subsidies() {
    let mut world = World::new();
    let check = Assertion::Supply { nodes: None };
    let queries = check.queries(&world.seen, &since(5, EVENTUALLY));
    assert_eq!(queries.len(), 5, "everybody but the DNS seed");
    // Regtest: 149 blocks of 50, then 25 from block 150 on.
    let answer = |total: f64| json!({ "height": 151, "total_amount": total });
    for query in &queries {
        assert!(not_yet(&world.judge(&check, 5, EVENTUALLY)));
        world.seen.answer(query.clone(), Ok(answer(7_500.0)), At(6));
    }
    assert!(holds(&world.judge(&check, 5, EVENTUALLY)));
    world
        .seen
        .answer(queries[0].clone(), Ok(answer(7_500.000_000_01)), At(7));
    assert!(violated(&world.judge(&check, 5, EVENTUALLY)));
}
