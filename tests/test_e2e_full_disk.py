#!/usr/bin/python3
"""A disk without room: status 15, one line, and with room again the same command ends in the same bytes.

A file size limit plays the full disk everywhere; a small tmpfs is one, where mounting is permitted.
"""
import json
import os
import shutil
import subprocess
import sys

import e2e_world
from e2e_world import DONE, FULL, STOPPED, Skip, check_line, get, put, text, wait_until

SIZE = 200000


def full_then_room(world, want, named, **how):
    """Run into the wall, again, and then with room. Returns the lines."""
    lines = []
    for _ in range(2):
        result = world.read(**how)
        if result.status == DONE:
            return None
        check_line(result, FULL, [named, "make room"])
        lines += result.lines
    assert world.finish() == want
    return lines


FEW_PARTS = ["--analyze", "surprise"]


def few_parts(world):
    """The text; read with one small part of the analysis, so that sizes of store and output are about those below."""
    world.options = [*FEW_PARTS, *world.options]
    data = text(SIZE)
    put(world.source, data)
    return data


def test_file_size_limits_hit_store_and_output_in_turn(world):
    data = few_parts(world)
    want = world.undisturbed(data, *FEW_PARTS)
    hit = set()
    limits = [1, 100, 4095, 4096, 8192, 20000, 32768, 45056, 65536, 77824, 90000, 110000, 150000,
              len(want) - 1]
    for limit in limits + (list(range(4096, 131072, 4096)) if world.long else []):
        world.out = world.path(f"out-{limit}")
        print(f"  limit {limit}:")
        lines = full_then_room(world, want, world.out, file_bytes=limit)
        for line in lines or []:
            assert "file size limit" in line and "ulimit -f" in line, line
            hit.add("store" if world.store in line else "output" if world.output in line else line)
    print(f"    hit: {sorted(hit)}")
    assert {"store", "output"} <= hit, hit


def test_limit_met_in_the_middle_is_met_again_and_then_passed(world):
    """One job against a wall that gives way a little each time: it advances, and ends the same."""
    data = few_parts(world)
    want = world.undisturbed(data, *FEW_PARTS)
    for limit in (120000, 135000, 135000, 160000, 190000):
        result = world.read(file_bytes=limit)
        check_line(result, FULL, [world.output])
        written = get(world.output)
        assert written.endswith(b"\n") and want.startswith(written), "a part of a line stayed"
    assert world.finish() == want


# ---- Real ones ----

class Small:
    """A tmpfs of so many pages."""

    def __init__(self, path, pages):
        self.path = path
        os.makedirs(path)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * 4096}", "none", path],
                              capture_output=True)
        if done.returncode:
            raise Skip("mounting a tmpfs is not permitted: " + done.stderr.decode().strip())

    def __enter__(self):
        return self

    def resize(self, pages):
        subprocess.run(["mount", "-o", f"remount,size={pages * 4096}", self.path], check=True)

    def __exit__(self, kind, *_):
        lazy = ["-l"] if kind else []  # what failed may have left a process there
        subprocess.run(["umount", *lazy, self.path], check=True)


def test_disk_of_the_output_is_full(world):
    """From no page for the sidecar up to all but the last of the output's."""
    data = few_parts(world)
    want = world.undisturbed(data, *FEW_PARTS)
    pages = (len(want) + 4095) // 4096
    hit = set()
    for free in (0, 1, 2, 3, 10, pages // 2, pages):
        where = world.path(f"small-{free}")
        world.out = os.path.join(where, "out")
        world.options = world.options[:8] + ["--store", world.path(f"state-{free}")]
        with Small(where, free + 1) as disk:
            put(os.path.join(where, "filler"), b"x" * 4096)
            for _ in range(2):
                result = world.read()
                check_line(result, FULL, [world.out])
                hit.add("sidecar" if "sidecar" in result.stderr else "output")
                written = get(world.output) if os.path.exists(world.output) else b""
                assert want.startswith(written)
            disk.resize(free + pages + 4)
            assert world.finish() == want
    assert hit == {"sidecar", "output"}, hit


def test_disk_of_the_store_is_full(world):
    data = few_parts(world)
    want = world.undisturbed(data, *FEW_PARTS)
    full = 0
    for free in (1, 2, 4, 6, 8, 11, 14, 17, 20, 30):
        where = world.path(f"small-{free}")
        world.out = world.path(f"out-{free}")
        world.options = world.options[:8] + ["--store", os.path.join(where, "state")]
        with Small(where, free) as disk:
            print(f"  {free} pages:")
            result = world.read()
            full += result.status == FULL
            if result.status != DONE:
                check_line(result, FULL, [where])
                result = world.read()
            if result.status != DONE:  # what there is may do for the rest
                check_line(result, FULL, [where])
            disk.resize(200)
            assert world.finish() == want
    assert full >= 4, full


def test_one_disk_for_all_is_full(world):
    data = few_parts(world)
    want = world.undisturbed(data, *FEW_PARTS)
    for free in (1, 5, 12, 18, 20, 22, 25, 30, 40):
        where = world.path(f"small-{free}")
        world.out = os.path.join(where, "out")
        with Small(where, free) as disk:
            print(f"  {free} pages:")
            check_line(world.read(), FULL, [where])
            result = world.call(["status", "-o", world.out])
            assert result.status in (DONE, e2e_world.ABSENT, FULL), result.stderr
            check_line(world.read(), FULL, [where])
            disk.resize(400)
            assert world.finish() == want


# ---- follow ----

def follow(world, *more):
    return world.place.start([world.place.riverrun, "follow", world.source, "--model", world.model, "-o", world.out, "--name",
                              "text", "--threads", "1", "--checkpoint-seconds", "0.1", "--max-latency", "0.2", "-q", *more])


def wait_durable(world, process, size, store):
    """Until all of a source of size bytes is read, and its records durable."""
    def there():
        done = world.call(["status", "--store", store, "--json"])
        for one in json.loads(done.stdout)["streams"] if done.status == DONE else ():
            if one["bytes"] == size and one["records"] == one["durable_records"] > 0:
                return True
        return False
    wait_until(there, f"{size} bytes, durable", process)


def followed(world, data, store):
    """What a run that follows data without accidents writes."""
    put(world.source, data)
    process = follow(world, "--store", store)
    wait_durable(world, process, len(data), store)
    assert world.end(process, stop=True).status == STOPPED
    want = get(world.output)
    shutil.rmtree(world.out)
    shutil.rmtree(store)
    return want


def filled(world, disk, out, store, named):
    """Follow a growing file; when some of it is durable, the disk fills up, lines come, and then there is room again."""
    lines = (text(30000) + b"\n").splitlines(keepends=True)
    data = b"".join(lines)
    want = followed(world, data, store)
    world.out = out
    half = b"".join(lines[:len(lines) // 2])
    put(world.source, half)
    process = follow(world, "--store", store)
    wait_durable(world, process, len(half), store)
    durable = get(world.output)
    assert want.startswith(durable)
    filler = os.path.join(disk, "filler")
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    with open(world.source, "ab") as file:
        file.write(data[len(half):])
    wait_until(lambda: "trying again every 5 s" in world.said(process), "a word of the full disk", process)
    written = get(world.output)
    assert written.startswith(durable) and want.startswith(written) and process.poll() is None
    os.unlink(filler)
    wait_durable(world, process, len(data), store)
    result = world.end(process, stop=True)
    print("    " + "\n    ".join(result.lines))
    assert result.status == STOPPED and named in result.lines[0], result.stderr
    assert get(world.output) == want


def test_follow_waits_for_room_for_its_output(world):
    with Small(world.path("small"), 64) as disk:
        filled(world, disk.path, os.path.join(disk.path, "out"), world.path("state"), "text.jsonl")


def test_follow_waits_for_room_in_its_store(world):
    with Small(world.path("small"), 600) as disk:  # the journal keeps a MiB for itself
        filled(world, disk.path, world.out, os.path.join(disk.path, "state"), "state")


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
