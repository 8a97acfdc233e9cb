//! DNS: the seed's server, and the question a node asks a seed. The codec is hickory's, the sockets are ours.
//!
//! - `answer`: a packet in, a packet out.
//! - `server`: UDP and TCP.
//! - `resolver`: one question to one seed.

mod answer;
pub(crate) mod resolver;
pub(crate) mod server;

use std::net::{IpAddr, Ipv4Addr};

/// At most as many addresses as fit into one answer, picked at random: everyone who asks is to learn of others.
pub(crate) fn pick(known: &[IpAddr], mut below: impl FnMut(usize) -> usize) -> Vec<Ipv4Addr> {
    let mut left: Vec<Ipv4Addr> = known
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mut picked = Vec::new();
    while picked.len() < answer::MAX_ANSWERS && !left.is_empty() {
        picked.push(left.swap_remove(below(left.len())));
    }
    picked
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_pick_has_no_address_twice_and_no_ipv6() {
        let mut known: Vec<IpAddr> = (0..40).map(|n| Ipv4Addr::new(10, 0, 0, n).into()).collect();
        known.push("::1".parse().expect("an address"));
        let mut turn = 0;
        let picked = pick(&known, |below| {
            turn += 7;
            turn % below
        });
        assert_eq!(picked.len(), answer::MAX_ANSWERS);
        assert_eq!(
            picked.iter().collect::<BTreeSet<_>>().len(),
            answer::MAX_ANSWERS
        );
        assert_eq!(pick(&known[..3], |_| 0).len(), 3);
    }
}
