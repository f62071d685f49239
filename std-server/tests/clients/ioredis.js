// ioredis against the server: `ioredis.js PORT`.
const assert = require("node:assert");
const Redis = require("ioredis");

async function main() {
  const r = new Redis({ port: Number(process.argv[2]), host: "127.0.0.1", maxRetriesPerRequest: 1 });
  assert.strictEqual(await r.set("io", "1", "EX", 100), "OK");
  assert.strictEqual(await r.incrby("io", 4), 5);
  assert.deepStrictEqual(await r.getBuffer("io"), Buffer.from("5"));
  const many = r.pipeline();
  for (let i = 0; i < 500; i++) many.set(`io:${i}`, i);
  assert.ok((await many.exec()).every(([error, reply]) => error === null && reply === "OK"));
  const found = new Set();
  for await (const keys of r.scanStream({ match: "io:*", count: 50 })) keys.forEach((key) => found.add(key));
  assert.strictEqual(found.size, 500);
  const replies = await r.multi().set("t", "x").get("t").incr("t").exec();
  assert.deepStrictEqual(replies.slice(0, 2), [[null, "OK"], [null, "x"]]);
  assert.match(String(replies[2][0]), /not an integer/);
  await r.watch("io");
  const other = r.duplicate();
  await other.set("io", "changed");
  assert.strictEqual(await r.multi().set("io", "mine").exec(), null);
  await assert.rejects(r.lpush("l", "v"), /unknown command/);
  assert.match(await r.info(), /redis_version:7/);
  other.disconnect();
  await r.quit();
}

main().catch((error) => { console.error(error); process.exit(1); });
