//! The first address of a node's wallet (BIP84), which premined blocks pay.

use bitcoin::{
    NetworkKind, ScriptBuf,
    bip32::{ChildNumber, DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};

/// Output script of the external address with index 0 of the wallet that a node makes of its seed: P2WPKH at
/// `m/84h/1h/0h/0/0` (BIP84, coin type 1 for test networks).
pub(super) fn first_script(seed: &[u8; 32]) -> ScriptBuf {
    let secp = Secp256k1::new();
    let hardened = |index| ChildNumber::from_hardened_idx(index).expect("below 2^31");
    let normal = |index| ChildNumber::from_normal_idx(index).expect("below 2^31");
    let path: DerivationPath = [hardened(84), hardened(1), hardened(0), normal(0), normal(0)]
        .into_iter()
        .collect();
    let key = Xpriv::new_master(NetworkKind::Test, seed)
        .and_then(|master| master.derive_priv(&secp, &path))
        .expect("derivation fails with probability 2^-127");
    let public = Xpub::from_priv(&secp, &key).to_pub();
    ScriptBuf::new_p2wpkh(&public.wpubkey_hash())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use bdk_wallet::{KeychainKind, Wallet, template::Bip84};
    use bitcoin::Network;

    use super::*;

    #[test]
    fn the_address_is_the_one_the_nodes_wallet_reveals_first() {
        for seed in [[1; 32], [0xab; 32]] {
            let key = Xpriv::new_master(NetworkKind::Test, &seed).unwrap();
            let wallet = Wallet::create(
                Bip84(key, KeychainKind::External),
                Bip84(key, KeychainKind::Internal),
            )
            .network(Network::Regtest)
            .create_wallet_no_persist()
            .unwrap();
            let address = wallet.peek_address(KeychainKind::External, 0).address;
            assert_eq!(address.script_pubkey(), first_script(&seed));
        }
    }
}
