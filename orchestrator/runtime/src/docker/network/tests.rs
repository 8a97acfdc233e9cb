#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn subnets() -> impl Strategy<Value = Subnet> {
    // Private space, so that what is taken often lies where a subnet is looked for.
    (
        prop_oneof![Just(10_u8), Just(172), Just(192), any::<u8>()],
        any::<[u8; 3]>(),
        0..=32_u8,
    )
        .prop_map(|(a, [b, c, d], prefix)| Subnet::new(Ipv4Addr::new(a, b, c, d), prefix))
}

proptest! {
    #[test]
    fn what_is_chosen_overlaps_nothing_taken(
        taken in prop::collection::vec(subnets(), 0..40),
        random: u32,
        prefix in 16..=20_u8,
    ) {
        if let Some(chosen) = choose(prefix, &taken, random) {
            prop_assert!(taken.iter().all(|other| !other.overlaps(chosen)));
            prop_assert!(RANGES.iter().any(|range| range.overlaps(chosen) && range.prefix <= prefix));
            prop_assert_eq!(chosen, Subnet::new(Ipv4Addr::from_bits(chosen.first), prefix));
        } else {
            // Nothing is left: every range is covered.
            let last = subnet("198.18.0.0/15");
            prop_assert!(taken.iter().any(|other| other.overlaps(last)));
        }
    }

    #[test]
    fn overlap_is_what_the_addresses_say(a in subnets(), b in subnets()) {
        let ends = |s: Subnet| (u64::from(s.first), u64::from(s.first) + s.size() - 1);
        let ((a_first, a_last), (b_first, b_last)) = (ends(a), ends(b));
        prop_assert_eq!(a.overlaps(b), a_first <= b_last && b_first <= a_last);
    }

    #[test]
    fn text_and_subnet_are_one(s in subnets()) {
        prop_assert_eq!(s.to_string().parse::<Subnet>().unwrap(), s);
    }
}

#[test]
fn a_route_over_all_of_10_moves_the_run_elsewhere() {
    let chosen = choose(20, &[subnet("10.0.0.0/8")], 7).unwrap();
    assert!(chosen.overlaps(subnet("172.16.0.0/12")));
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(subnet);
    assert!(
        choose(20, &private, 7)
            .unwrap()
            .overlaps(subnet("198.18.0.0/15"))
    );
    assert_eq!(choose(20, &[subnet("0.0.0.0/0")], 7), None);
}

#[test]
fn the_last_free_subnet_is_found_from_anywhere() {
    let free = subnet("10.77.16.0/20");
    let mut taken: Vec<_> = (0..4096_u32)
        .map(|place| Subnet {
            first: 0x0a00_0000 + (place << 12),
            prefix: 20,
        })
        .filter(|other| *other != free)
        .collect();
    taken.extend(RANGES[1..].iter().copied());
    for random in [0, 1, 4095, u32::MAX] {
        assert_eq!(choose(20, &taken, random), Some(free));
    }
}

#[test]
fn routes_are_read_in_the_kernels_notation() {
    let line = "eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
    let expected = if cfg!(target_endian = "little") {
        "169.254.0.0/16"
    } else {
        "0.0.254.169/16"
    };
    assert_eq!(route(line), Ok(Some(subnet(expected))));
    let default = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0";
    assert_eq!(route(default), Ok(None));
    assert_eq!(route("short"), Ok(None));
}

#[test]
fn the_loopback_is_among_the_hosts_networks() {
    assert!(host_subnets().contains(&subnet("127.0.0.0/8")));
}

#[test]
fn a_subnet_grows_with_the_highest_address() {
    let mut plan = super::super::tests::plan(1);
    assert_eq!(prefix_for(&plan), 20);
    plan.nodes[0].host = 4094;
    assert_eq!(prefix_for(&plan), 20);
    plan.nodes[0].host = 4095;
    assert_eq!(prefix_for(&plan), 19);
}

#[test]
fn devices_fit_the_kernel_and_differ_by_run() {
    let device = |run: &str| device(&RunId(run.into()));
    assert_eq!(&device("partition-7f3a9c21")[..11], "ns-7f3a9c21");
    for run in [
        "a",
        "partition-7f3a9c21",
        "a-very-long-name-of-a-topology-00000000",
    ] {
        assert_eq!(device(run).len(), 15);
    }
    assert_ne!(device("a-00000001"), device("b-00000001"));
    assert_ne!(device("a"), device("ab"));
}
