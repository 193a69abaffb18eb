#!/usr/bin/python3
"""Memory does not grow with the length of a text: the peak of anonymous memory over all of it is at most
8 MiB above the peak over its first 100 kB. Total resident memory is printed too."""
import os
import sys

import e2e_world
from e2e_world import DONE, get, put, text, wait_until

FIELDS = ("RssAnon", "VmRSS", "VmHWM")
ROOM_KB = 8 * 1024


def memory_kb(process):
    """Of the process now; None when it has gone."""
    try:
        with open(f"/proc/{process.pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return None
    return {f: int(lines[f].split()[0]) for f in FIELDS} if "RssAnon" in lines else None


def peaks(world):
    """Run over world.source; the peak of each figure seen until it ended."""
    process, high, samples = world.start(), dict.fromkeys(FIELDS, 0), 0

    def over():
        nonlocal samples
        now = memory_kb(process)
        for field in FIELDS if now else ():
            high[field] = max(high[field], now[field])
        samples += now is not None
        return process.poll() is not None
    wait_until(over, "the end of the run", guard=3600)
    result = world.end(process)
    assert result.status == DONE, result.stderr
    return high, samples


def stays_flat(world, data, name):
    found = {}
    for size in (100000, len(data)):
        world.out = world.path(f"out-{size}")
        put(world.source, data[:size])
        found[size], samples = peaks(world)
        print(f"    {name}, {size} bytes: peak RssAnon {found[size]['RssAnon']} kB, RSS "
              f"{max(found[size]['VmRSS'], found[size]['VmHWM'])} kB, {samples} samples", flush=True)
    low, high = found.values()
    assert samples > 100
    assert high["RssAnon"] <= low["RssAnon"] + ROOM_KB


def test_generated_text_with_the_nano_model(world):
    stays_flat(world, text((12 if world.long else 3) * 1000000), "generated")


def test_one_endless_line_with_the_nano_model(world):
    stays_flat(world, text((12 if world.long else 2) * 1000000).replace(b"\n", b" "), "one line")


def test_records_of_one_character(world):
    """Thousands of records a second: what is kept until it is durable is bounded."""
    world.options += ["--unit", "line"]
    stays_flat(world, b"a\n" * ((6 if world.long else 1) * 500000), "lines of one character")


def test_war_and_peace_with_the_tiny_model(world):
    book = world.place.of_shared("data/books/war-and-peace.en.txt")
    world.model = world.place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin")
    data = get(book)
    world.options = ["--threads", "2"]
    stays_flat(world, data, os.path.basename(book))


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
