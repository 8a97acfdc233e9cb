//! Who takes part in a segment, behind which device, and who hears whom.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::policy::Policy;

/// The nodes that hear each other's broadcasts. Clones are the same segment: whoever makes and ends nodes tells it, the
/// enforcer sets what is kept back, the relay asks.
#[derive(Clone, Debug, Default)]
pub struct Segment(Arc<Mutex<Switchboard>>);

impl Segment {
    /// From now on the node of this address takes part; it is behind the device of this number, and nobody else is.
    pub fn attach(&self, node: Ipv4Addr, device: u32) {
        self.lock().attach(node, device);
    }

    /// From now on the node of this address neither gets copies nor is heard.
    pub fn detach(&self, node: Ipv4Addr) {
        self.lock().detach(node);
    }

    /// Until the guard is dropped no frame is copied.
    pub(super) fn lock(&self) -> MutexGuard<'_, Switchboard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a segment is at one moment.
#[derive(Debug, Default)]
pub(super) struct Switchboard {
    devices: BTreeMap<Ipv4Addr, u32>,
    nodes: HashMap<u32, Ipv4Addr>,
    pub(super) policy: Policy,
}

impl Switchboard {
    fn attach(&mut self, node: Ipv4Addr, device: u32) {
        self.detach(node);
        if let Some(before) = self.nodes.insert(device, node) {
            self.devices.remove(&before);
        }
        self.devices.insert(node, device);
    }

    fn detach(&mut self, node: Ipv4Addr) {
        if let Some(device) = self.devices.remove(&node) {
            self.nodes.remove(&device);
        }
    }

    /// Devices a frame that came in by device `from` is to leave by; none when no node is known to be there. Copies that are
    /// kept back are counted.
    pub(super) fn receivers(&mut self, from: u32, devices: &mut Vec<u32>) {
        devices.clear();
        if let Some(sender) = self.nodes.get(&from) {
            let others = self.devices.iter().filter(|(_, device)| **device != from);
            self.policy.admit(*sender, others, devices);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const C: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn heard_from(segment: &Segment, device: u32) -> Vec<u32> {
        let mut devices = vec![99];
        segment.lock().receivers(device, &mut devices);
        devices
    }

    #[test]
    fn a_frame_goes_to_everybody_else_who_is_there() {
        let segment = Segment::default();
        for (node, device) in [(A, 1), (B, 2), (C, 3)] {
            segment.attach(node, device);
        }
        assert_eq!(heard_from(&segment, 2), [1, 3]);
        assert_eq!(heard_from(&segment, 7), [] as [u32; 0]);
        segment.detach(B);
        assert_eq!(heard_from(&segment, 1), [3]);
        assert_eq!(heard_from(&segment, 2), [] as [u32; 0]);
        segment.attach(B, 4);
        assert_eq!(heard_from(&segment, 4), [1, 3]);
    }

    #[test]
    fn a_device_and_a_node_are_one_another_s_only_ones() {
        let segment = Segment::default();
        segment.attach(A, 1);
        segment.attach(C, 3);
        segment.attach(B, 1);
        assert_eq!(heard_from(&segment, 3), [1]);
        segment.attach(B, 2);
        assert_eq!(heard_from(&segment, 1), [] as [u32; 0]);
        assert_eq!(heard_from(&segment, 2), [3]);
    }
}
