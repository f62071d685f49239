//! Synap's client library for Rust against a server: its URL, and a token if the server asks who comes in.

use std::collections::BTreeMap;

use synap_sdk::{SynapClient, SynapConfig};

#[tokio::main]
async fn main() -> Result<(), synap_sdk::SynapError> {
    let mut words = std::env::args().skip(1);
    let mut config = SynapConfig::new(words.next().expect("a URL"));
    if let Some(token) = words.next() {
        config = config.with_auth_token(token);
    }
    let client = SynapClient::new(config)?;
    let kv = client.kv();
    for key in kv.keys("").await? {
        assert!(kv.delete(key).await?);
    }
    kv.set("text", "plain", None).await?;
    assert_eq!(kv.get::<_, String>("text").await?.as_deref(), Some("plain"));
    let object = BTreeMap::from([("a", vec![1, 2, 3])]);
    kv.set("object", &object, Some(100)).await?;
    let back: Option<BTreeMap<String, Vec<u8>>> = kv.get("object").await?;
    assert_eq!(back.and_then(|mut back| back.remove("a")), Some(vec![1, 2, 3]));
    assert_eq!(kv.get::<_, String>("none").await?, None);
    assert!(kv.exists("text").await? && !kv.exists("none").await?);
    assert_eq!((kv.incr("n").await?, kv.incr("n").await?, kv.decr("n").await?), (1, 2, 1));
    let mut keys = kv.keys("").await?;
    keys.sort();
    assert_eq!(keys, ["n", "object", "text"]);
    assert_eq!(kv.keys("te").await?, ["text"]);
    assert!(kv.delete("text").await? && !kv.delete("text").await?);
    assert_eq!(kv.stats().await?.total_keys, 2);
    assert!(kv.incr("object").await.expect_err("no number").to_string().contains("integer"));
    println!("synap-sdk for Rust: ok");
    Ok(())
}
