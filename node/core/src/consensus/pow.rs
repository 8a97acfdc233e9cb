//! Proof of work at a fixed difficulty, as on Bitcoin Core's regtest: most work wins, first seen breaks ties.

use bitcoin::{CompactTarget, Target, block::Header};
use sha2::{Digest as _, Sha256};

use super::{Branch, Consensus};

/// Regtest's difficulty, which never changes (Bitcoin Core `chainparams.cpp`: `fPowNoRetargeting`).
pub const REGTEST_BITS: u32 = 0x207f_ffff;

/// Proof of work at one fixed difficulty.
#[derive(Clone, Debug)]
pub struct ProofOfWork {
    bits: CompactTarget,
    /// Largest hash that counts, big-endian.
    target: [u8; 32],
    work_per_block: u64,
}

impl ProofOfWork {
    /// Regtest's: two hashes per block are expected.
    #[must_use]
    pub fn regtest() -> Self {
        let bits = CompactTarget::from_consensus(REGTEST_BITS);
        let target = Target::from_compact(bits);
        let work = target.to_work().to_be_bytes();
        let mut low = [0; 8];
        low.copy_from_slice(&work[24..]);
        Self {
            bits,
            target: target.to_be_bytes(),
            work_per_block: u64::from_be_bytes(low),
        }
    }
}

impl Consensus for ProofOfWork {
    fn bits(&self) -> CompactTarget {
        self.bits
    }

    fn work_per_block(&self) -> u64 {
        self.work_per_block
    }

    fn proves(&self, header: &Header) -> bool {
        // A header that names a harder target is held to that one; an easier one is no proof.
        let named = Target::from_compact(header.bits).to_be_bytes();
        named <= self.target && hash_be(&serialise(header)) <= named
    }

    fn seal(&self, header: &mut Header) {
        let mut bytes = serialise(header);
        while hash_be(&bytes) > self.target {
            match header.nonce.checked_add(1) {
                Some(next) => header.nonce = next,
                // All nonces tried: 2^-2^32 at regtest's difficulty. A later time gives new hashes.
                None => (header.nonce, header.time) = (0, header.time.saturating_add(1)),
            }
            bytes = serialise(header);
        }
    }

    fn prefer(&self, a: Branch, b: Branch) -> bool {
        // Every block carries the same work, so that height compares it.
        (a.height, std::cmp::Reverse(a.sequence)) > (b.height, std::cmp::Reverse(b.sequence))
    }
}

/// The 80 bytes that are hashed.
fn serialise(header: &Header) -> [u8; Header::SIZE] {
    let mut bytes = [0; Header::SIZE];
    bytes.copy_from_slice(&bitcoin::consensus::serialize(header));
    bytes
}

/// SHA-256d as a big-endian number (Bitcoin reads it as little-endian).
fn hash_be(bytes: &[u8]) -> [u8; 32] {
    let mut hash: [u8; 32] = Sha256::digest(Sha256::digest(bytes)).into();
    hash.reverse();
    hash
}

#[cfg(test)]
mod tests {
    use bitcoin::{Network, constants::genesis_block};

    use super::*;

    #[test]
    fn genesis_carries_its_proof_and_half_of_all_nonces_do_not() {
        let pow = ProofOfWork::regtest();
        let genesis = genesis_block(Network::Regtest).header;
        assert!(pow.proves(&genesis));
        assert_eq!(pow.work_per_block(), 2);
        let proving = (0..1000).filter(|nonce| {
            pow.proves(&Header {
                nonce: *nonce,
                ..genesis
            })
        });
        assert!((400..600).contains(&proving.count()));
    }

    #[test]
    fn seal_finds_a_proof() {
        let pow = ProofOfWork::regtest();
        let genesis = genesis_block(Network::Regtest).header;
        for time in 0..50 {
            let mut header = Header {
                time,
                nonce: 0,
                ..genesis
            };
            pow.seal(&mut header);
            assert!(pow.proves(&header));
        }
    }

    #[test]
    fn an_easier_or_broken_target_is_no_proof() {
        let pow = ProofOfWork::regtest();
        let genesis = genesis_block(Network::Regtest).header;
        for bits in [0x2100_ffff, 0x0000_0000, 0x2080_0000] {
            let header = Header {
                bits: CompactTarget::from_consensus(bits),
                ..genesis
            };
            assert!(!pow.proves(&header), "{bits:x}");
        }
    }

    #[test]
    fn more_work_wins_then_the_earlier_arrival() {
        let pow = ProofOfWork::regtest();
        let branch = |height, sequence| Branch { height, sequence };
        assert!(pow.prefer(branch(2, 9), branch(1, 1)));
        assert!(pow.prefer(branch(2, 1), branch(2, 9)));
        assert!(!pow.prefer(branch(2, 9), branch(2, 1)));
        assert!(!pow.prefer(branch(2, 9), branch(2, 9)));
    }
}
