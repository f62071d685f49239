"""Reads an archive with libraries that know nothing of Strandline, and prints what it holds as JSON.

zstandard decompresses the file, msgpack decodes it; with a second argument pyzstd seeks to that byte of the content. What JSON has no
type for is spelled out: times with seconds and nanoseconds, other extensions with their type, bytes in hexadecimal.
"""

import hashlib
import json
import sys

import msgpack
import zstandard


def plain(value):
    match value:
        case msgpack.Timestamp():
            return {"seconds": value.seconds, "nanoseconds": value.nanoseconds}
        case msgpack.ExtType():
            return {"type": value.code, "hex": value.data.hex()}
        case bytes():
            return {"hex": value.hex()}
        case list():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
    return value


def main() -> None:
    path = sys.argv[1]
    with open(path, "rb") as file:
        content = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    header, body = msgpack.unpackb(content, raw=False, strict_map_key=False)
    entries = body[0]
    records = hashlib.sha256()
    for entry in entries:
        record = entry[3].get("record", b"")
        records.update(record if isinstance(record, bytes) else b"")
    report = {
        "header": header,
        "entries": len(entries),
        "first": [entries[0][0], entries[0][1], entries[0][2], entries[0][4]] if entries else None,
        "first_payload": plain(entries[0][3]) if entries else None,
        "last_event_id": entries[-1][4] if entries else None,
        "records_sha256": records.hexdigest(),
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "content_bytes": len(content),
    }
    if len(sys.argv) > 2:
        import pyzstd

        at = int(sys.argv[2])
        with pyzstd.SeekableZstdFile(path, "r") as file:
            file.seek(at)
            report["seek_agrees"] = file.read(1000) == content[at : at + 1000]
    print(json.dumps(report, separators=(",", ":")))


main()
