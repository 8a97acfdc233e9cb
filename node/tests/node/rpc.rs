//! The control API: results in Core's shape, errors with Core's codes, and who may ask.

use corepc_types::v29;
use netsplit_api::{
    config::Role,
    rpc::{Status, code},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{TestNode, USER, config, premine};

const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// A node whose chain is the same in every run.
async fn node(address: &str, directory: &TempDir) -> TestNode {
    let mut settings = config("golden", address, &[Role::Full, Role::Wallet], directory);
    settings.chain.premine = premine(105, "golden");
    TestNode::start(settings).await
}

fn parse<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error} in {value:#}"))
}

/// What depends on the machine and not on the node's state.
fn redact(mut value: Value) -> Value {
    for field in ["size_on_disk", "disk_size"] {
        if let Some(bytes) = value.get_mut(field) {
            assert!(bytes.as_u64().unwrap() > 0);
            *bytes = json!("[bytes]");
        }
    }
    value
}

#[tokio::test]
async fn chain_methods_answer_like_core() {
    let directory = tempfile::tempdir().unwrap();
    let node = node("127.94.0.1", &directory).await;
    let client = &node.client;
    let call = async |method: &str, params| client.call(method, params).await;

    let info = call("getblockchaininfo", json!([])).await;
    parse::<v29::GetBlockchainInfo>(&info).into_model().unwrap();
    insta::assert_json_snapshot!("getblockchaininfo", redact(info.clone()));
    let best = call("getbestblockhash", json!([])).await;
    assert_eq!(
        (&best, call("getblockcount", json!([])).await),
        (&info["bestblockhash"], json!(105))
    );
    assert_eq!(call("getblockhash", json!([105])).await, best);

    let header = call("getblockheader", json!([best])).await;
    parse::<v29::GetBlockHeaderVerbose>(&header)
        .into_model()
        .unwrap();
    insta::assert_json_snapshot!("getblockheader", header);
    let hex = call("getblockheader", json!([best, false])).await;
    assert_eq!(hex.as_str().unwrap().len(), 160);

    let first = call("getblockhash", json!([1])).await;
    let block = call("getblock", json!([first, 1])).await;
    parse::<v29::GetBlockVerboseOne>(&block)
        .into_model()
        .unwrap();
    assert_eq!(block["confirmations"], json!(105));
    insta::assert_json_snapshot!("getblock_1", block);
    let block = call("getblock", json!([first, 2])).await;
    parse::<v29::GetBlockVerboseTwo>(&block);
    insta::assert_json_snapshot!("getblock_2", block);
    let raw = call("getblock", json!([first, 0])).await;
    let decoded: bitcoin::Block =
        bitcoin::consensus::encode::deserialize_hex(raw.as_str().unwrap()).unwrap();
    assert_eq!(json!(decoded.block_hash()), first);
    assert_eq!(json!(decoded.total_size()), block["size"]);
    assert_eq!(json!(decoded.weight()), block["weight"]);

    let coins = call("gettxoutsetinfo", json!([])).await;
    parse::<v29::GetTxOutSetInfo>(&coins).into_model().unwrap();
    insta::assert_json_snapshot!("gettxoutsetinfo", redact(coins));
    let tips = call("getchaintips", json!([])).await;
    parse::<v29::GetChainTips>(&tips).into_model().unwrap();
    let txid = block["tx"][0]["txid"].clone();
    let output = call("gettxout", json!([txid, 0])).await;
    parse::<v29::GetTxOut>(&output).into_model().unwrap();
    insta::assert_json_snapshot!("gettxout", output);
    assert_eq!(call("gettxout", json!([txid, 7])).await, Value::Null);
    let info = call("getmempoolinfo", json!([])).await;
    parse::<v29::GetMempoolInfo>(&info).into_model().unwrap();
    insta::assert_json_snapshot!("getmempoolinfo", info);
}

#[tokio::test]
async fn transactions_and_the_wallet_answer_like_core() {
    let directory = tempfile::tempdir().unwrap();
    let node = node("127.94.1.1", &directory).await;
    let client = &node.client;
    let call = async |method: &str, params| client.call(method, params).await;

    let balances = call("getbalances", json!([])).await;
    parse::<v29::GetBalances>(&balances).into_model().unwrap();
    insta::assert_json_snapshot!("getbalances", balances);
    let info = call("getwalletinfo", json!([])).await;
    parse::<v29::GetWalletInfo>(&info).into_model().unwrap();
    insta::assert_json_snapshot!("getwalletinfo", info);
    assert_eq!(
        call("getbalance", json!([])).await,
        balances["mine"]["trusted"]
    );

    let txid = call("sendtoaddress", json!([PAYEE, 0.12345678])).await;
    assert_eq!(call("getrawmempool", json!([])).await, json!([txid]));
    let entries = call("getrawmempool", json!([true])).await;
    parse::<v29::GetRawMempoolVerbose>(&entries)
        .into_model()
        .unwrap();
    let entry = call("getmempoolentry", json!([txid])).await;
    assert_eq!(
        (
            &entries[txid.as_str().unwrap()],
            entry["ancestorcount"].clone()
        ),
        (&entry, json!(1))
    );
    let waiting = call("getrawtransaction", json!([txid, true])).await;
    assert_eq!(waiting.get("blockhash"), None);
    let raw = call("getrawtransaction", json!([txid])).await;
    let paid = waiting["vout"].as_array().unwrap();
    assert!(paid.iter().any(|output| {
        output["value"] == json!(0.12345678) && output["scriptPubKey"]["address"] == json!(PAYEE)
    }));
    let again = client.try_call("sendrawtransaction", json!([raw])).await;
    assert!(again.is_ok() || again.unwrap_err().code == code::VERIFY_REJECTED);

    let block = call("generatetoaddress", json!([1, PAYEE])).await[0].clone();
    let mined = call("getrawtransaction", json!([txid, 1, block])).await;
    assert_eq!(
        (&mined["in_active_chain"], &mined["confirmations"]),
        (&json!(true), &json!(1))
    );
    parse::<v29::GetRawTransactionVerbose>(&mined)
        .into_model()
        .unwrap();
    let again = client
        .try_call("sendrawtransaction", json!([raw]))
        .await
        .unwrap_err();
    assert!(
        [code::VERIFY_ALREADY_IN_CHAIN, code::VERIFY_ERROR].contains(&again.code),
        "{again}"
    );
    let hex = call("getblock", json!([block, 0])).await;
    assert_eq!(call("submitblock", json!([hex])).await, json!("duplicate"));

    let status: Status = parse(&call("x_status", json!([])).await);
    assert_eq!((status.height, status.peers, status.mempool), (106, 0, 0));
    assert!(status.rss_bytes > 1_000_000);
    assert!(call("uptime", json!([])).await.as_u64().unwrap() < 600);
    let listed = call("help", json!([])).await;
    for method in listed
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
    {
        let Some(name) = method.split(' ').next().filter(|name| *name != "==") else {
            continue;
        };
        let help = call("help", json!([name])).await;
        assert!(help.as_str().unwrap().contains("Result:"), "{name}");
    }
}

#[tokio::test]
async fn errors_have_cores_codes() {
    let directory = tempfile::tempdir().unwrap();
    let settings = config("plain", "127.94.2.1", &[Role::Full], &directory);
    let node = TestNode::start(settings).await;
    let zero = "00".repeat(32);
    for (method, params, expected) in [
        ("nosuchmethod", json!([]), code::METHOD_NOT_FOUND),
        ("getblock", json!([zero]), code::INVALID_ADDRESS_OR_KEY),
        (
            "getblockheader",
            json!([zero]),
            code::INVALID_ADDRESS_OR_KEY,
        ),
        (
            "getrawtransaction",
            json!([zero]),
            code::INVALID_ADDRESS_OR_KEY,
        ),
        (
            "getmempoolentry",
            json!([zero]),
            code::INVALID_ADDRESS_OR_KEY,
        ),
        ("getblockhash", json!([1]), code::INVALID_PARAMETER),
        ("getblock", json!(["zz"]), code::INVALID_PARAMETER),
        ("getblock", json!([1]), code::TYPE_ERROR),
        ("getblockcount", json!([1]), code::MISC_ERROR),
        ("getblockcount", json!({"x": 1}), code::INVALID_PARAMETER),
        ("getbalance", json!([]), code::WALLET_NOT_FOUND),
        ("getnewaddress", json!([]), code::WALLET_NOT_FOUND),
        (
            "sendrawtransaction",
            json!(["00"]),
            code::DESERIALIZATION_ERROR,
        ),
        ("submitblock", json!(["00"]), code::DESERIALIZATION_ERROR),
        (
            "generatetoaddress",
            json!([1, "nonsense"]),
            code::INVALID_ADDRESS_OR_KEY,
        ),
        (
            "generatetoaddress",
            json!([9999, PAYEE]),
            code::INVALID_PARAMETER,
        ),
        (
            "addnode",
            json!(["example.org", "add"]),
            code::CLIENT_INVALID_IP_OR_SUBNET,
        ),
        (
            "addnode",
            json!(["127.94.2.9", "remove"]),
            code::CLIENT_NODE_NOT_ADDED,
        ),
        (
            "disconnectnode",
            json!(["127.94.2.9"]),
            code::CLIENT_NODE_NOT_CONNECTED,
        ),
        ("disconnectnode", json!([]), code::INVALID_PARAMS),
        ("gettxoutsetinfo", json!(["md5"]), code::INVALID_PARAMETER),
        ("help", json!(["nosuchmethod"]), code::MISC_ERROR),
        (
            "x_probe_report",
            json!({"id": "00112233aabbccdd"}),
            code::INVALID_PARAMETER,
        ),
    ] {
        let error = node
            .client
            .try_call(method, params.clone())
            .await
            .unwrap_err();
        assert_eq!(error.code, expected, "{method} {params}: {error}");
    }
}

#[tokio::test]
async fn http_answers_like_core() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::start(config("plain", "127.94.3.1", &[Role::Full], &directory)).await;
    let client = &node.client;
    let post = async |path: &str, body: &str| client.post(path, body.to_owned()).await;

    let ok = r#"{"result":0,"error":null,"id":"a"}"#;
    let request = r#"{"method":"getblockcount","id":"a"}"#;
    assert_eq!(post("/", request).await, (200, format!("{ok}\n")));
    assert_eq!(post("/wallet/any", request).await.0, 200);
    assert_eq!(post("/", r#"{"method":"nosuchmethod"}"#).await.0, 404);
    assert_eq!(
        post("/", r#"{"method":"getblockhash","params":[9]}"#)
            .await
            .0,
        500
    );
    let (status, text) = post("/", "{").await;
    assert_eq!((status, text.contains("-32700")), (500, true));
    let two = r#"{"jsonrpc":"2.0","method":"nosuchmethod","id":1}"#;
    assert_eq!(post("/", two).await.0, 200);
    assert_eq!(
        post("/", r#"{"jsonrpc":"2.0","method":"getblockcount"}"#).await,
        (204, String::new())
    );
    let batch = format!(r#"[{request},{two},{{"jsonrpc":"2.0","method":"getblockcount"}},7]"#);
    let (status, text) = post("/", &batch).await;
    let replies: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((status, replies.len()), (200, 3));
    assert_eq!(replies[1]["error"]["code"], json!(code::METHOD_NOT_FOUND));
    assert_eq!(post("/", "[]").await, (200, "[]\n".to_owned()));

    let get = client
        .http()
        .get(client.url("/"))
        .basic_auth(USER, Some(crate::harness::PASSWORD));
    assert_eq!(get.send().await.unwrap().status().as_u16(), 405);
    assert_eq!(post("/nowhere", request).await.0, 404);
    assert_eq!(post("/", request).await.0, 200);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::start(config("plain", "127.94.6.1", &[Role::Full], &directory)).await;
    let address = (node.ip(), node.config.rpc_port);
    // user:only for tests
    let head =
        "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dXNlcjpvbmx5IGZvciB0ZXN0cw==\r\n";
    let mut announced = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{head}Content-Length: 11000000\r\n\r\n");
    announced.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    announced.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 413");

    // Without a length the node takes what it must to know, and hangs up.
    let mut endless = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    endless.write_all(request.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    let mut chunks = 0;
    while endless.write_all(chunk.as_bytes()).await.is_ok() {
        chunks += 1;
        assert!(chunks < 100, "the node takes any amount");
    }
    assert_eq!(node.client.call("getblockcount", json!([])).await, json!(0));
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::start(config("plain", "127.94.4.1", &[Role::Full], &directory)).await;
    let client = &node.client;
    for path in ["/", "/wallet/a", "/events", "/metrics", "/nowhere"] {
        for request in [
            client.http().get(client.url(path)),
            client.http().post(client.url(path)),
        ] {
            let anonymous = request.try_clone().unwrap().send().await.unwrap();
            assert_eq!(anonymous.status().as_u16(), 401, "{path}");
            assert!(anonymous.headers().contains_key("www-authenticate"));
            let wrong = request
                .basic_auth(USER, Some("wrong"))
                .send()
                .await
                .unwrap();
            assert_eq!(wrong.status().as_u16(), 401, "{path}");
        }
    }
    let metrics = client.http().get(client.url("/metrics"));
    let metrics = metrics
        .basic_auth(USER, Some(crate::harness::PASSWORD))
        .send()
        .await
        .unwrap();
    assert_eq!(metrics.status().as_u16(), 200);
    let text = metrics.text().await.unwrap();
    assert!(
        text.contains("netsplit_chain_height 0\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
}

#[tokio::test]
async fn probes_run_over_the_control_api() {
    let directory = tempfile::tempdir().unwrap();
    let a = TestNode::start(config("a", "127.94.5.1", &[Role::Full], &directory)).await;
    let b = TestNode::start(config("b", "127.94.5.2", &[Role::Full], &directory)).await;
    let id = "0123456789abcdef";
    let listening = b
        .client
        .call("x_probe_listen", json!({"id": id, "for_ms": 5000}))
        .await;
    assert_eq!(listening["addresses"][0], json!(b.ip()));
    let send = json!({"id": id, "targets": [b.ip()], "datagrams": 2, "timeout_ms": 500});
    let sent = a.client.call("x_probe_send", send).await;
    assert_eq!(sent["targets"][0]["tcp"], json!("connected"));
    let heard = b.client.call("x_probe_report", json!({"id": id})).await;
    let expected = json!({"address": a.ip(), "datagrams": 2, "connections": 1});
    assert_eq!(heard["senders"], json!([expected]));
}
