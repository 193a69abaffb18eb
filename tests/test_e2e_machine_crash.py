#!/usr/bin/python3
"""The machine crashes, as far as that can be played: the disk comes back with the store and the output
as they were at different moments.

A run is stopped again and again (SIGSTOP) and its folders copied: each copy is a state that the disk may
have. Emit syncs before encode commits, so a store may come back with an output as new as its newest
checkpoint or newer: such pairs must go on to the bytes of an undisturbed run. What no honest disk gives
back, an output older than that, goes on from an older checkpoint while one is kept that it bears out, and
is refused afterwards, with nothing destroyed.
"""
import os
import random
import shutil
import signal
import sys

import e2e_world
from e2e_store import token_lengths
from e2e_world import DONE, SINK, check_line, get, put, text, wait_until


class Snapshot:
    def __init__(self, folder):
        self.folder = folder
        self.output = get(os.path.join(folder, "text.jsonl"))
        self.lengths = token_lengths(os.path.join(folder, "state"))


def take_snapshots(world, most):
    """Copies of the job's folder during one run, each with another newest checkpoint."""
    found, before = [], []
    process = world.start()
    data = os.path.join(world.store, "data.mdb")
    try:
        wait_until(lambda: os.path.exists(world.output) and os.path.getsize(world.output), "output",
                   process)
        stamp = None
        while len(found) < most and process.poll() is None:
            if os.stat(data).st_mtime_ns == stamp:
                continue
            stamp = os.stat(data).st_mtime_ns
            process.send_signal(signal.SIGSTOP)
            folder = world.path(f"snapshot-{len(found)}")
            shutil.copytree(world.out, folder, ignore=shutil.ignore_patterns("control", "lock.mdb"))
            process.send_signal(signal.SIGCONT)
            taken = Snapshot(folder)
            if taken.lengths and taken.lengths != before:
                before = taken.lengths
                found.append(taken)
            else:
                shutil.rmtree(folder)
    finally:
        world.place.kill(process)
    shutil.rmtree(world.out)
    return found


def crashed(world, store, output_of, output):
    """A machine that comes back with one snapshot's store, and an output."""
    shutil.rmtree(world.out, ignore_errors=True)
    shutil.copytree(store.folder, world.out)
    shutil.rmtree(os.path.join(world.out, ".riverrun"))
    shutil.copytree(os.path.join(output_of.folder, ".riverrun"), os.path.join(world.out, ".riverrun"))
    put(world.output, output)


def begin(world, most):
    world.options[:2] = ["--checkpoint-every", "20000" if world.long else "9000"]
    data = text(600000 if world.long else 200000)
    put(world.source, data)
    want = world.undisturbed(data)
    taken = take_snapshots(world, most)
    assert len(taken) >= 5, f"only {len(taken)} snapshots"
    for one in taken:
        assert len(one.output) >= one.lengths[0], "the output is synced before the checkpoint"
        assert want.startswith(one.output[:one.lengths[0]])
    return want, taken


def test_every_pair_of_store_and_output_goes_on_or_is_refused(world):
    want, taken = begin(world, 14 if world.long else 7)
    newer = older = refused = 0
    for i, store in enumerate(taken):
        for other in taken:
            crashed(world, store, other, other.output)
            size = len(other.output)
            result = world.read()
            if size >= store.lengths[0]:
                assert result.status == DONE and not result.lines, (i, result.stderr)
                newer += 1
            elif size >= store.lengths[-1]:
                assert result.status == DONE and "older" in result.stderr, (i, result.stderr)
                assert len(result.lines) == 1
                older += 1
            else:
                if refused == 0:
                    check_line(result, SINK, [world.output, "--restart"])
                assert result.status == SINK and len(result.lines) == 1
                assert get(world.output) == other.output, "a refused output was touched"
                put(world.output, store.output)
                assert world.finish() == want
                refused += 1
            assert get(world.output) == want, (i, size)
    print(f"    {len(taken)} snapshots: {newer} pairs went on, {older} with a warning, {refused} refused")
    assert newer and older and refused


def tails(rng, output, durable):
    """What may lie behind the last durable byte: nothing, less than was written, zeros, zero pages."""
    size = len(output)
    yield output[:durable]
    for _ in range(2):
        cut = rng.randint(durable, size)
        yield output[:cut]
        yield output[:cut] + bytes(size - cut)
        yield output[:cut] + bytes(size - cut + 3 * 4096)
    page = (durable + 4095) // 4096 * 4096
    if page < size:
        yield output[:page] + bytes(min(4096, size - page)) + output[page + 4096:]
        yield output[:page] + bytes(size - page)
    yield output[:durable] + bytes(rng.randbytes(size - durable))


def test_bytes_after_the_last_sync_are_lost(world):
    want, taken = begin(world, 8 if world.long else 6)
    rng, count = random.Random(3), 0
    for store in taken[1:] if world.long else taken[1::2]:
        for tail in tails(rng, taken[-1].output if count % 2 else store.output, store.lengths[0]):
            crashed(world, store, store, tail)
            result = world.read()
            assert result.status == DONE and not result.lines, result.stderr
            assert get(world.output) == want
            count += 1
    print(f"    {count} tails")


def test_counters_lost_with_the_machine_are_no_harm(world):
    """Tokens computed over all runs are then a lower bound, and the bytes are the same."""
    want, taken = begin(world, 5)
    for lost in (None, b"", 100):
        crashed(world, taken[-1], taken[-1], taken[-1].output)
        counters = os.path.join(world.store, "counters")
        if lost is None:
            os.unlink(counters)
        else:
            put(counters, b"" if lost == b"" else get(counters)[:lost])
        assert world.finish() == want
        assert 0 < world.status()["computed"] <= 2 * world.status()["bytes"]


def test_crash_before_the_names_were_durable(world):
    """The store is there and knows of no record; the output, its sidecar, or a half of it are not."""
    data = text(100000)
    put(world.source, data)
    want = world.undisturbed(data)
    result = world.read(steps=True, crash="encode_committed:1")
    assert result.status == -signal.SIGKILL
    born = world.path("born")
    shutil.move(world.out, born)
    for leave in ("nothing", "folder", "half", "empty"):
        world.out = world.path(f"out-{leave}")
        shutil.copytree(os.path.join(born, "state"), world.store,
                        ignore=shutil.ignore_patterns("control"))
        if leave != "nothing":
            os.makedirs(os.path.join(world.out, ".riverrun"))
        if leave == "half":
            put(os.path.join(world.out, ".riverrun/text.sidecar.new"), b"riverrun-sid")
        if leave == "empty":
            put(world.output, b"")
        assert world.finish() == want, leave


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
