#!/usr/bin/python3
"""Stores that are damaged, newer, somebody's, or not there; two runs at once; questions to nobody."""
import os
import shutil
import signal
import sys

import e2e_world
from e2e_store import checksum, flip, parts, values
from e2e_world import (ABSENT, BUSY, DAMAGED, DONE, SYSTEM, VERSION, check_line,
                       fixture, get, put, text, wait_until)

PAGE = 4096


# ---- Damage ----

def test_damaged_newest_checkpoint_is_reported_and_the_one_before_it_used(world):
    """A flipped bit in its state, in its first part (the metadata), and in its checksum."""
    _, want = fixture(world)
    start = world.path("start")
    shutil.move(world.out, start)
    for part, at in ((0, 40), (1, 9), (1, 2000), (1, "checksum")):
        world.out = world.path(f"out-{part}-{at}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        kept = parts(world)
        newest = max(kept)
        value = list(kept[newest].values())[part]
        flip(world, value, len(value) - 1 if at == "checksum" else at)
        result = world.read()
        print("    " + result.stderr.strip())
        assert result.status == DONE and len(result.lines) == 1, result.stderr
        for word in ("warning", f"checkpoint {newest}", "damaged", "the checkpoint before"):
            assert word in result.lines[0], f"'{word}' is missing"
        assert get(world.output) == want


def test_all_checkpoints_damaged_is_refused(world):
    data, want = fixture(world)
    good = get(os.path.join(world.store, "data.mdb"))
    for kept in parts(world).values():
        flip(world, list(kept.values())[1], 5)
    result = world.read()
    print("    " + "\n    ".join(result.lines))
    assert result.status == DAMAGED
    assert "no whole checkpoint is left" in result.lines[-1] and "--restart" in result.lines[-1]
    put(os.path.join(world.store, "data.mdb"), good)
    assert world.finish() == want


def test_all_checkpoints_damaged_can_be_begun_again(world):
    _, want = fixture(world)
    for kept in parts(world).values():
        flip(world, list(kept.values())[1], 5)
    result = world.read("--restart")
    print("    " + "\n    ".join(result.lines))
    assert result.status == DONE and get(world.output) == want


def damaged_file(world, name, bad, status, words):
    _, want = fixture(world)
    path = os.path.join(world.store, name)
    good = get(path)
    for data in bad(good):
        put(path, data)
        for _ in range(2):
            world.refused(status, [world.store] + words, keep=[path])
        check_line(world.call(["status", "-o", world.out]), status, [world.store] + words)
    put(path, good)
    assert world.finish() == want


def test_damaged_tree_is_refused_and_named(world):
    def bad(good):
        root = max((good[n * PAGE + 16:n * PAGE + 152] for n in (0, 1)),
                   key=lambda meta: meta[128:136][::-1])
        page = int.from_bytes(root[24 + 48 + 40:24 + 48 + 48], "little")
        yield good[:page * PAGE] + b"\xff" * PAGE + good[(page + 1) * PAGE:]
        yield good[:page * PAGE] + bytes(PAGE) + good[(page + 1) * PAGE:]
        yield good[:len(good) // 2]
    damaged_file(world, "data.mdb", bad, DAMAGED, ["put back a copy"])


def test_file_that_is_no_store_is_refused(world):
    damaged_file(world, "data.mdb", lambda good: [b"my own notes\n" * 2000], DAMAGED, [])


def test_newer_format_is_refused(world):
    def bad(good):
        head = values(world.store)[b"\x01"]
        newer = (int.from_bytes(head[:4], "little") + 1).to_bytes(4, "little") + head[4:-8]
        assert checksum(head[:-8], b"\x01") == head[-8:], "the layout of the store's README"
        yield good.replace(head, newer + checksum(newer, b"\x01"))
    damaged_file(world, "data.mdb", bad, VERSION, ["newer"])


def test_store_without_its_data_is_begun_anew_beside_no_output(world):
    """data.mdb deleted: the store is a new one, and the output is not its."""
    _, want = fixture(world)
    good = get(os.path.join(world.store, "data.mdb"))
    os.unlink(os.path.join(world.store, "data.mdb"))
    world.refused(e2e_world.SINK, [world.output, "not written by this job", "-o"])
    for name in os.listdir(world.store):
        os.unlink(os.path.join(world.store, name))
    put(os.path.join(world.store, "data.mdb"), good)
    assert world.finish() == want


def test_file_in_the_place_of_the_store_is_named(world):
    put(world.source, text(20000))
    put(world.path("state"), b"my own notes\n")
    world.refused(SYSTEM, [world.path("state")], "--store", world.path("state"), keep=["state"])
    assert world.finish() == world.undisturbed(text(20000))


# ---- Two at once ----

def test_second_run_on_one_store_is_told_and_the_first_goes_on(world):
    data = text(600000)
    put(world.source, data)
    want = world.undisturbed(data)
    process = world.start()
    wait_until(lambda: os.path.exists(world.output), "the first run's output", process)
    process.send_signal(signal.SIGSTOP)  # so that it cannot end while the second looks
    try:
        second = world.read()
    finally:
        process.send_signal(signal.SIGCONT)
    status = world.call(["status", "-o", world.out], descriptors=12)
    first = world.end(process)
    check_line(status, SYSTEM, ["ulimit -n"])
    check_line(second, BUSY, [world.store])
    assert first.status == DONE, first.stderr
    assert get(world.output) == want


def test_pause_and_status_reach_the_run_that_owns_the_store(world):
    put(world.source, text(600000))
    want = world.undisturbed(text(600000))
    process = world.start()
    wait_until(lambda: os.path.exists(world.output), "the output", process)
    check_line(world.call(["pause", "no-such", "-o", world.out]), ABSENT, ["no-such", "status"])
    assert world.call(["pause", "text", "-o", world.out]).status == DONE
    assert world.status()["state"] == "paused"
    size = os.path.getsize(world.output)
    assert world.call(["resume", "text", "-o", world.out]).status == DONE
    result = world.end(process)
    assert result.status == DONE, result.stderr
    assert size <= len(want) and get(world.output) == want


# ---- Questions ----

def test_questions_to_a_store_that_is_not_there_name_it(world):
    for verb in (["status"], ["pause", "text"], ["resume", "--all"]):
        check_line(world.call(verb + ["--store", world.path("no")]), ABSENT, [world.path("no")])
        check_line(world.call(verb + ["-o", world.path("none")]), ABSENT, [world.path("none/state")])
        assert not os.path.exists(world.path("no")) and not os.path.exists(world.path("none"))
        os.makedirs(world.path("empty"), exist_ok=True)
        check_line(world.call(verb + ["--store", world.path("empty")]), ABSENT, [world.path("empty")])
        assert os.listdir(world.path("empty")) == []


def test_questions_about_an_unknown_stream_name_it(world):
    _, want = fixture(world)
    for verb in ("pause", "resume"):
        check_line(world.call([verb, "no-such", "-o", world.out]), ABSENT, ["no-such", world.store])
    assert world.finish() == want


def test_too_few_descriptors_for_sockets_are_one_line(world):
    _, want = fixture(world)
    for most in (5, 8, 12):
        check_line(world.read(descriptors=most), SYSTEM, ["ulimit -n", "too many open files"])
    for most in range(13, 44):  # whoever opens the one too many
        result = world.read(descriptors=most)
        assert result.status == DONE or (result.status > 0 and "ulimit -n" in result.stderr), f"{most}: {result.stderr}"
    assert world.finish() == want


def test_pause_at_rest_holds_until_resume(world):
    _, want = fixture(world)
    before = get(world.output)
    assert world.call(["pause", "text", "-o", world.out]).status == DONE
    assert world.status()["state"] == "paused"
    process = world.start(quiet=False)
    wait_until(lambda: "paused" in world.said(process), "word of the pause", process)
    assert get(world.output) == before
    result = world.end(process, stop=True)
    assert result.status == e2e_world.STOPPED, result.stderr
    assert world.call(["resume", "text", "-o", world.out]).status == DONE
    assert world.finish() == want


def test_a_finished_stream_is_not_paused(world):
    """Its next run would stand still, and `status` says "finished"."""
    put(world.source, text(20000))
    want = world.finish()
    for names in (["text"], ["--all"]):
        assert world.call(["pause", *names, "-o", world.out]).status == DONE
        assert world.status()["state"] == "finished"
        assert world.finish() == want


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
