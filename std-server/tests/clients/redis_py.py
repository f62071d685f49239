"""redis-py against the server: `redis_py.py PORT PROTOCOL PHASE`. In phase `before` it works and leaves state behind; in
phase `after` the server was killed and started again, and everything must still be there."""

import sys
import threading
import time

import redis

PORT, PROTOCOL, PHASE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def connect(**options):
    return redis.Redis(host="127.0.0.1", port=PORT, protocol=PROTOCOL, **options)


def strings(r):
    assert r.set("a", b"\x00\xff\r\n") is True and r.get("a") == b"\x00\xff\r\n"
    assert r.set("a", "2", nx=True) is None and r.set("b", "1", nx=True) is True
    assert r.set("a", "3", get=True) == b"\x00\xff\r\n" and r.get("missing") is None
    assert r.mset({"m1": 1, "m2": 2}) and r.mget("m1", "m2", "missing") == [b"1", b"2", None]
    assert r.msetnx({"m2": 3, "m3": 3}) is False and r.incr("n", 41) == 41 and r.decr("n") == 40
    assert r.incrbyfloat("f", 0.1) == 0.1 and r.append("a", "45") == 3 and r.getrange("a", 1, -1) == b"45"
    assert r.setrange("a", 5, "x") == 6 and r.strlen("a") == 6 and r.getdel("a") == b"345\x00\x00x"
    assert r.getex("n", ex=100) == b"40" and 0 < r.ttl("n") <= 100 and r.persist("n") is True
    assert r.psetex("p", 100000, "v") and 0 < r.pttl("p") <= 100000 and r.expire("p", 50, gt=True) is False
    assert r.rename("p", "q") and r.renamenx("q", "n") is False and r.copy("q", "r") is True
    assert r.type("q") == b"string" and r.exists("q", "r", "q") == 3 and r.unlink("q", "r") == 2
    r.mset({"lcs1": "ohmytext", "lcs2": "mynewtext"})
    assert r.lcs("lcs1", "lcs2") == b"mytext" and r.object("encoding", "n") == b"int"


def refusals(r):
    for call, words in [
        (lambda: r.incr("lcs1"), "value is not an integer"),
        (lambda: r.execute_command("LPUSH", "l", "v"), "unknown command"),
        (lambda: r.execute_command("GET"), "wrong number of arguments"),
        (lambda: r.rename("missing", "x"), "no such key"),
    ]:
        try:
            call()
        except redis.ResponseError as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)


def scans(r):
    with r.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"scan:{number}", number)
        assert all(pipe.execute())
    assert {int(key[5:]) for key in r.scan_iter("scan:*", count=37)} == set(range(2000))
    assert set(r.scan_iter("scan:*", _type="hash")) == set()
    assert r.delete(*(f"scan:{number}" for number in range(2000))) == 2000


def transactions(r):
    """A counter that many increment by reading it first: none of the increments is lost."""
    r.set("balance", 0)

    def add(pipe):
        balance = int(pipe.get("balance"))
        pipe.multi()
        pipe.set("balance", balance + 1)

    threads = [threading.Thread(target=lambda: [r.transaction(add, "balance") for _ in range(25)]) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert r.get("balance") == b"100", r.get("balance")
    with r.pipeline() as pipe:
        pipe.watch("balance")
        r.set("balance", 7)
        pipe.multi()
        pipe.set("balance", 8)
        try:
            pipe.execute()
            raise AssertionError("the key has changed")
        except redis.WatchError:
            pass
    with r.pipeline() as pipe:
        replies = pipe.set("t", "x").incr("t").get("t").execute(raise_on_error=False)
        assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == b"x"


def recipes(r):
    """A lock that its holder releases, a rate limiter, a session store."""
    assert r.set("lock", "me", nx=True, px=30000) and not r.set("lock", "you", nx=True, px=30000)

    def release(pipe):
        mine = pipe.get("lock") == b"me"
        pipe.multi()
        if mine:
            pipe.delete("lock")

    assert r.transaction(release, "lock") == [1] and r.exists("lock") == 0

    def allowed(user):
        with r.pipeline() as pipe:
            pipe.set(f"rate:{user}", 0, ex=60, nx=True)
            pipe.incr(f"rate:{user}")
            return pipe.execute()[1] <= 5

    assert [allowed("ann") for _ in range(7)] == [True] * 5 + [False] * 2
    r.setex("session:1", 1000, b'{"user":"ann"}')
    r.set("gone", "soon", px=30)
    time.sleep(0.05)
    assert r.get("gone") is None and r.getex("session:1", ex=2000) == b'{"user":"ann"}'


def server(r):
    info = r.info()
    assert info["redis_version"] == "7.0.15" and info["connected_clients"] >= 1 and info["loading"] == 0, info
    stats = r.info("commandstats")
    assert stats["cmdstat_set"]["calls"] > 0 and r.info("errorstats")["errorstat_ERR"]["count"] > 0
    assert r.info("everything")["used_cpu_user"] >= 0 and r.info("replication")["role"] == "master"
    assert r.client_setname("me") and r.client_getname() in (b"me", "me")
    me = [client for client in r.client_list() if client["name"] == "me"]
    assert len(me) == 1 and int(me[0]["id"]) == r.client_id() and me[0]["resp"] == str(PROTOCOL), me
    other = connect(client_name="victim", retry=None)
    other.ping()
    assert r.client_kill_filter(_id=other.client_id()) == 1
    assert r.config_get("maxmemory*")["maxmemory"] == "0" and r.config_set("slowlog-log-slower-than", 10000)
    assert r.slowlog_len() >= 0 and isinstance(r.slowlog_get(), list) and r.memory_usage("n") > 0
    assert r.command_count() > 60 and r.time()[0] > 1_600_000_000 and r.dbsize() > 0
    assert "get" in r.command() and r.ping() and r.echo("x") == b"x"


def main():
    r = connect()
    if PHASE == "before":
        r.flushall()
        for part in (strings, refusals, scans, transactions, recipes):
            part(r)
        server(connect(single_connection_client=True))
        return
    assert r.get("balance") == b"7" and r.get("n") == b"40" and r.get("session:1") == b'{"user":"ann"}'
    assert 0 < r.ttl("session:1") <= 2000 and r.get("gone") is None and r.get("rate:ann") == b"7" and r.get("t") == b"x"


main()
