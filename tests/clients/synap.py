"""Synap's client library for Python against a server: URL, and a token if the server asks who comes in."""

import asyncio
import sys

from synap_sdk import SynapClient, SynapConfig
from synap_sdk.exceptions import SynapException


async def refused(awaitable) -> str:
    try:
        await awaitable
    except SynapException as error:
        return str(error)
    raise AssertionError("it was not refused")


async def main(url: str, token: str | None) -> None:
    config = SynapConfig(url, auth_token=token)
    async with SynapClient(config) as client:
        assert (await client.health())["status"] == "healthy"
        kv = client.kv
        await client.send_command("kv.flushall", {})
        await kv.set("text", "plain")
        assert await kv.get("text") == "plain"
        await kv.set("object", {"a": [1, 2.5, None, "é"]}, ttl=100)
        assert await kv.get("object") == {"a": [1, 2.5, None, "é"]}
        assert await kv.get("none") is None
        assert await kv.exists("text") and not await kv.exists("none")
        assert await kv.incr("n") == 1 and await kv.incr("n", 41) == 42 and await kv.decr("n", 2) == 40
        assert sorted(await kv.scan("")) == ["n", "object", "text"]
        assert await kv.scan("ob") == ["object"]
        await kv.delete("text")
        assert await kv.get("text") is None
        assert (await kv.stats())["total_keys"] == 2
        ttl = await client.send_command("kv.ttl", {"key": "object"})
        assert 0 < ttl["ttl"] <= 100, ttl
        assert "integer" in await refused(kv.incr("object"))
        assert "no queues" in await refused(client.queue.publish("q", {"x": 1}))
        assert "no sets" in await refused(client.set.add("s", "x"))
    print("synap-sdk for Python: ok")


asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
