// node-redis against the server, in RESP2 and RESP3: `node_redis.js PORT`.
const assert = require("node:assert");
const { createClient } = require("redis");

async function session(RESP) {
  const r = createClient({ url: `redis://127.0.0.1:${process.argv[2]}`, RESP, socket: { reconnectStrategy: false } });
  await r.connect();
  assert.strictEqual(await r.set("node", "v", { EX: 100 }), "OK");
  assert.strictEqual(await r.get("node"), "v");
  assert.strictEqual(await r.set("node", "w", { NX: true }), null);
  assert.deepStrictEqual(await r.mGet(["node", "missing"]), ["v", null]);
  await Promise.all(Array.from({ length: 300 }, (_, i) => r.set(`node:${i}`, String(i))));
  const found = new Set();
  for await (const keys of r.scanIterator({ MATCH: "node:*", COUNT: 20 })) [keys].flat().forEach((key) => found.add(key));
  assert.strictEqual(found.size, 300);
  assert.deepStrictEqual(await r.multi().set("t", "1").incr("t").exec(), ["OK", 2]);
  await assert.rejects(r.lPush("l", "v"), /unknown command/);
  assert.ok((await r.ttl("node")) > 0);
  await r.close();
}

session(2).then(() => session(3)).catch((error) => { console.error(error); process.exit(1); });
