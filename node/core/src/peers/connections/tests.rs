//! One node's view of its connections, without any network.

use bitcoin::p2p::{Magic, ServiceFlags};

use super::*;
use crate::{
    peers::roster::Introduced,
    random,
    time::{Now, WallTime},
};

/// A node at 11.0.0.100 and its table of connections.
struct Scene {
    connections: Connections,
    roster: Roster,
    out: Outbox,
    now: Instant,
    next: u64,
}

fn address(last: u8) -> SocketAddr {
    ([11, 0, 0, last], 18444).into()
}

impl Scene {
    fn new() -> Self {
        let rng = random::stream(&[1; 32], "connections");
        let (limits, timers) = (PeerLimits::default(), Timers::default());
        Self {
            connections: Connections::new(address(100), limits, &timers, rng),
            roster: Roster::new(Magic::REGTEST),
            out: Outbox::default(),
            now: Instant(0),
            next: 1000,
        }
    }

    fn insert(&mut self, last: u8, link: Link, phase: Phase) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let began = Now {
            mono: self.now,
            wall: WallTime(0),
        };
        self.roster.insert(conn, address(last), link, began);
        let connection = self.roster.get_mut(conn).expect("just inserted");
        connection.phase = phase;
        connection.listens_at = Some(address(last));
        if phase > Phase::Dialling {
            connection.introduced = Some(Introduced {
                version: 70016,
                services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
                user_agent: String::new(),
                start_height: 0,
                relay: true,
                time_offset: 0,
            });
        }
        conn
    }

    fn judge(&mut self, conn: ConnId) -> Result<(), Farewell> {
        let (now, quiet) = (self.now, |_| false);
        self.connections
            .judge(conn, (now, &quiet), &self.roster, &mut self.out)
    }

    fn left(&self) -> Vec<ConnId> {
        self.out
            .hung_up()
            .into_iter()
            .map(|(conn, _)| conn)
            .collect()
    }

    fn later(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn due(&mut self) -> Vec<SocketAddr> {
        let due = self
            .connections
            .on_timer(self.now, &self.roster, &mut self.out);
        due.into_iter().map(|(address, _)| address).collect()
    }
}

#[test]
fn it_dials_while_peers_are_missing() {
    let mut scene = Scene::new();
    assert_eq!(scene.connections.vacancies(&scene.roster), 8);
    for last in 1..=3 {
        scene.insert(last, Link::Inbound, Phase::Ready);
    }
    scene.insert(4, Link::Outbound, Phase::Dialling);
    assert_eq!(
        scene.connections.vacancies(&scene.roster),
        4,
        "an attempt may succeed"
    );
    for last in 5..=8 {
        scene.insert(last, Link::Inbound, Phase::Ready);
    }
    assert_eq!(
        scene.connections.vacancies(&scene.roster),
        3,
        "four are to be of our choice"
    );
    for last in 20..27 {
        scene.insert(last, Link::Inbound, Phase::Ready);
    }
    assert_eq!(
        scene.connections.vacancies(&scene.roster),
        0,
        "never more than fifteen"
    );
}

#[test]
fn of_two_connections_the_lower_addresss_dial_stays() {
    // 11.0.0.1 is below us: what it dialled stays.
    let mut scene = Scene::new();
    let ours = scene.insert(1, Link::Outbound, Phase::Ready);
    let theirs = scene.insert(1, Link::Inbound, Phase::Connected);
    assert_eq!(scene.judge(theirs), Ok(()));
    assert_eq!(scene.left(), [ours]);
    // 11.0.0.200 is above us: what we dialled stays.
    let mut scene = Scene::new();
    scene.insert(200, Link::Outbound, Phase::Ready);
    let theirs = scene.insert(200, Link::Inbound, Phase::Connected);
    assert!(matches!(scene.judge(theirs), Err(Farewell::Surplus(_))));
    assert_eq!(scene.left(), []);
}

#[test]
fn a_dial_that_has_not_connected_gives_way() {
    let mut scene = Scene::new();
    let ours = scene.insert(200, Link::Outbound, Phase::Dialling);
    let theirs = scene.insert(200, Link::Inbound, Phase::Connected);
    assert_eq!(scene.judge(theirs), Ok(()));
    assert_eq!(scene.left(), [ours]);
}

#[test]
fn a_quiet_connection_gives_way_to_a_new_one() {
    let mut scene = Scene::new();
    let stale = scene.insert(200, Link::Outbound, Phase::Ready);
    let fresh = scene.insert(200, Link::Inbound, Phase::Connected);
    let quiet = |conn| conn == stale;
    let verdict =
        scene
            .connections
            .judge(fresh, (scene.now, &quiet), &scene.roster, &mut scene.out);
    assert_eq!(verdict, Ok(()));
    assert_eq!(scene.left(), [stale]);
}

#[test]
fn a_full_node_lets_one_go_for_a_newcomer_but_never_one_it_chose() {
    let mut scene = Scene::new();
    for last in 1..=4 {
        scene.insert(last, Link::Outbound, Phase::Ready);
    }
    let inbound: Vec<ConnId> = (5..=15)
        .map(|last| scene.insert(last, Link::Inbound, Phase::Ready))
        .collect();
    let newcomer = scene.insert(50, Link::Inbound, Phase::Connected);
    assert!(
        scene.judge(newcomer).is_err(),
        "nobody has been here for long"
    );
    scene.later(5_000);
    assert_eq!(scene.judge(newcomer), Ok(()));
    assert!(matches!(scene.left()[..], [gone] if inbound.contains(&gone)));
}

#[test]
fn the_lost_are_dialled_again_and_again_while_there_is_room() {
    let mut scene = Scene::new();
    scene.connections.lost(address(1), scene.now);
    scene.later(700);
    assert_eq!(scene.due(), [address(1)]);
    assert_eq!(scene.due(), [], "not at once");
    scene.connections.dial_failed(address(1), false, scene.now);
    for _ in 0..100 {
        scene.later(700);
        assert_eq!(scene.due(), [address(1)], "however often it fails");
    }
    for last in 20..35 {
        scene.insert(last, Link::Inbound, Phase::Ready);
    }
    scene.later(700);
    assert_eq!(scene.due(), [], "no room");
}

#[test]
fn many_dead_do_not_keep_the_last_one_lost_from_being_dialled() {
    let mut scene = Scene::new();
    for last in 0..MAX_LOST {
        let last = u8::try_from(last).expect("few");
        scene.connections.lost(address(100 + last), scene.now);
    }
    scene.connections.lost(address(1), scene.now);
    assert_eq!(scene.connections.lost.len(), MAX_LOST);
    assert!(scene.connections.lost.contains_key(&address(1)));
}

#[test]
fn the_strangers_of_one_host_do_not_keep_others_out() {
    let mut scene = Scene::new();
    let host = |last| address(last).ip();
    for _ in 0..MAX_STRANGERS_OF_HOST {
        assert!(scene.connections.admits(host(1), &scene.roster));
        scene.insert(1, Link::Inbound, Phase::Connected);
    }
    assert!(!scene.connections.admits(host(1), &scene.roster));
    assert!(scene.connections.admits(host(2), &scene.roster));
    for last in 2..60 {
        scene.insert(last, Link::Inbound, Phase::Connected);
    }
    assert!(!scene.connections.admits(host(99), &scene.roster));
}

#[test]
fn who_is_back_or_refuses_us_is_no_longer_lost() {
    let mut scene = Scene::new();
    for last in 1..=2 {
        scene.connections.lost(address(last), scene.now);
    }
    let back = scene.insert(1, Link::Inbound, Phase::Ready);
    scene
        .connections
        .peer_connected(back, &scene.roster, &mut scene.out);
    scene.connections.dial_failed(address(2), true, scene.now);
    scene.later(10_000);
    assert_eq!(scene.due(), []);
    assert_eq!(scene.connections.next_deadline(), None);
}

#[test]
fn needless_attempts_end_when_there_are_enough_peers() {
    let mut scene = Scene::new();
    for last in 1..=7 {
        scene.insert(last, Link::Outbound, Phase::Ready);
    }
    let needless = scene.insert(50, Link::Outbound, Phase::Dialling);
    let eighth = scene.insert(8, Link::Inbound, Phase::Ready);
    scene
        .connections
        .peer_connected(eighth, &scene.roster, &mut scene.out);
    assert_eq!(scene.left(), [needless]);
}

#[test]
fn a_node_added_by_hand_is_dialled_until_it_is_removed() {
    let mut scene = Scene::new();
    assert!(scene.connections.add(address(1), scene.now));
    assert!(
        !scene.connections.add(address(1), scene.now),
        "once is enough"
    );
    assert_eq!(scene.due(), [address(1)]);
    let there = scene.insert(1, Link::Manual, Phase::Ready);
    scene.later(1_000);
    assert_eq!(scene.due(), [], "it is there");
    scene.roster.remove(there);
    scene.later(1_000);
    assert_eq!(scene.due(), [address(1)]);
    assert!(scene.connections.remove(address(1)) && !scene.connections.remove(address(1)));
    scene.later(1_000);
    assert_eq!(scene.due(), []);
}
