"""redis-py's own tests, against two servers: `redis_py_tests.py SOURCES OURS REDIS`.

SOURCES is an unpacked source package of redis-py, OURS and REDIS are URLs. A test counts if redis-server passes it. One that
fails against ours must say that it wanted a command or an option that is not here, or stand in `redis_py_exceptions.txt` with
its reason; anything else is a failure of this program, and so is an exception that passes."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FILES = """test_commands test_pipeline test_encoding test_client test_connection test_connection_pool test_multiprocessing
test_retry test_asyncio/test_commands test_asyncio/test_pipeline test_asyncio/test_encoding
test_asyncio/test_connection_pool""".split()
MISSING = re.compile(r"unknown (?:sub)?command '?([^',]+)", re.IGNORECASE)


def pytest_runtest_logreport(report):
    """This file is also the plugin that writes one line for each test."""
    if report.when == "call" or report.outcome != "passed":
        found = MISSING.search(report.longreprtext)
        why = report.longreprtext.strip().splitlines()[-1:] or [""]
        line = [report.nodeid, report.outcome, found and found[1].upper(), why[0]]
        with open(os.environ["OUTCOMES"], "a") as file:
            print(json.dumps(line), file=file)


def outcomes(sources, url):
    """The worst outcome of every test: (outcome, missing command, last line)."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        environment = dict(os.environ, OUTCOMES=file.name, PYTHONPATH=str(pathlib.Path(__file__).parent))
        words = ["-q", "-p", "redis_py_tests", "-p", "no:cacheprovider", "-W", "ignore", "--tb=native", "--timeout=60"]
        files = [f"tests/{name}.py" for name in FILES]
        command = [sys.executable, "-m", "pytest", *words, "--redis-url", url, *files]
        subprocess.run(command, cwd=sources, env=environment, stdout=subprocess.DEVNULL)
        found = {}
        for line in open(file.name):
            test, *outcome = json.loads(line)
            if found.get(test, ["passed"])[0] != "failed":
                found[test] = outcome
        return found


def known():
    """Exceptions: the name of a test, and why."""
    text = pathlib.Path(__file__).with_name("redis_py_exceptions.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines)


def main():
    sources, ours, redis = sys.argv[1:]
    here, there = outcomes(sources, ours), outcomes(sources, redis)
    count = {test for test, outcome in there.items() if outcome[0] == "passed"}
    passed = {test for test in count if here.get(test, ["absent"])[0] == "passed"}
    exceptions, missing, wrong = known(), collections.Counter(), []
    excused = 0
    for test in sorted(count - passed):
        outcome, command, why = here.get(test, ["absent", None, ""])
        if command:
            missing[command] += 1
        elif test in exceptions:
            excused += 1
        else:
            wrong.append(f"{test}: {outcome}: {why}")
    wrong += [f"{test}: passes, but is listed as an exception" for test in sorted(passed & exceptions.keys())]
    print(f"{len(count)} tests pass against redis-server; of these, against ours:")
    print(f"  {len(passed)} pass")
    print(f"  {sum(missing.values())} want a command that is not here: {', '.join(sorted(missing))}")
    print(f"  {excused} are exceptions with a reason")
    print(f"  {len(wrong)} are wrong")
    print("\n".join(wrong))
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
