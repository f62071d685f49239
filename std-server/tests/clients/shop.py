"""A small shop as people write them: sessions, a rate limit, a cache of pages, a counter of visits. `shop.py PORT`.

It takes requests from its input, one JSON array a line, and answers each with a line of JSON. It uses redis-py the usual way and
knows nothing of the server behind the port; retries are redis-py's own."""

import json
import sys
import uuid

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

SESSION_SECONDS, PAGE_SECONDS, WINDOW_SECONDS, LIMIT = 3600, 300, 3600, 5

store = Redis(
    port=int(sys.argv[1]),
    decode_responses=True,
    retry=Retry(ExponentialBackoff(cap=0.1, base=0.005), 600),
    retry_on_error=[ConnectionError, TimeoutError],
)


def login(user):
    token = uuid.uuid4().hex
    store.set(f"session:{token}", json.dumps({"user": user, "cart": []}), ex=SESSION_SECONDS)
    return token


def session(token):
    text = store.get(f"session:{token}")
    return text and json.loads(text)


def add(token, item):
    key = f"session:{token}"

    def change(pipe):
        session = json.loads(pipe.get(key))
        if item not in session["cart"]:
            session["cart"].append(item)
        pipe.multi()
        pipe.set(key, json.dumps(session), keepttl=True)

    store.transaction(change, key)
    return store.ttl(key) > 0


def logout(token):
    store.delete(f"session:{token}")
    return store.exists(f"session:{token}") == 0


def page(path):
    body = store.get(f"page:{path}")
    if body is None:
        body = f"<h1>{path}</h1>"
        store.set(f"page:{path}", body, ex=PAGE_SECONDS)
        return [body, "rendered"]
    return [body, "cached"]


def allowed(user):
    with store.pipeline() as pipe:
        pipe.set(f"rate:{user}", 0, ex=WINDOW_SECONDS, nx=True)
        pipe.incr(f"rate:{user}")
        return pipe.execute()[1] <= LIMIT


def visit():
    return store.incr("visits")


REQUESTS = {f.__name__: f for f in (login, session, add, logout, page, allowed, visit)}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(REQUESTS[name](*arguments)), flush=True)
