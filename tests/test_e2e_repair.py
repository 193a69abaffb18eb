#!/usr/bin/python3
"""Damaged stores: what refuses them names `riverrun repair`, and after it the same command writes the bytes of an
undisturbed run."""
import os
import shutil
import signal
import subprocess
import sys

import e2e_world
from e2e_store import flip, parts
from e2e_world import ABSENT, BUSY, DAMAGED, DONE, check_line, fixture, get, put, text, wait_until

PAGE = 4096


def data_of(store):
    return os.path.join(store, "data.mdb")


def repair(world, *more, status=DONE, **how):
    result = world.call(["repair", "-o", world.out, *more], **how)
    print("    " + "\n    ".join(result.stdout.splitlines() + result.lines))
    assert result.status == status, f"status {result.status}: {result.stderr}"
    return result


def meta(data):
    """The newer meta page's fields, from byte 16 on."""
    return max((data[n * PAGE + 16:n * PAGE + 152] for n in (0, 1)), key=lambda one: one[128:136][::-1])


def root(data):
    return int.from_bytes(meta(data)[24 + 48 + 40:24 + 48 + 48], "little")


def zero_page(path, page):
    data = bytearray(get(path))
    data[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
    put(path, bytes(data))


def refused_by_all(world):
    for verb in ("status", "pause"):
        check_line(world.call([verb, *(["--all"] if verb == "pause" else []), "-o", world.out]), DAMAGED,
                   [world.store, "riverrun repair"])
    world.refused(DAMAGED, [world.store, "riverrun repair", "put back a copy"], keep=[data_of(world.store)])


# ---- One stream ----

def test_damaged_value_goes_back_a_checkpoint(world):
    """In the state, and in the meta value, of the newest and of all checkpoints but the oldest."""
    _, want = fixture(world)
    start = world.path("start")
    shutil.move(world.out, start)
    for part, newest in ((0, 1), (1, 1), (1, 2)):
        world.out = world.path(f"out-{part}-{newest}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        kept = parts(world)
        for number in sorted(kept)[-newest:]:
            value = list(kept[number].values())[part]
            flip(world, value, len(value) // 2)
        result = repair(world)
        assert f"checkpoint {max(kept)}" in result.stdout and "data.mdb.damaged-1" in result.stdout
        assert ("tokens" in result.stdout) == (part > 0), "what is read again"
        after = parts(world)
        assert max(after) == sorted(kept)[-newest - 1], f"{sorted(after)} of {sorted(kept)}"
        assert world.finish() == want


def test_damaged_tree_is_refused_and_repaired(world):
    """The root zeroed, one bit of it flipped, each meta page zeroed."""
    _, want = fixture(world)
    start = world.path("start")
    shutil.move(world.out, start)
    good = get(data_of(os.path.join(start, "state")))
    for page, bit in ((root(good), None), (root(good), 14 * 8 + 2), (0, None), (1, None), (1, 26 * 8)):
        world.out = world.path(f"out-{page}-{bit}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        if bit is None:
            zero_page(data_of(world.store), page)
        else:
            data = bytearray(good)
            data[page * PAGE + bit // 8] ^= 1 << bit % 8
            put(data_of(world.store), bytes(data))
        damaged = get(data_of(world.store))
        if page == 1 and bit is not None:
            world.call(["status", "-o", world.out])  # the address of a map is nobody's business
        else:
            refused_by_all(world)
            before = world.call(["repair", "-o", world.out, "--dry-run"])
            assert before.status == DONE and "would be kept" in before.stdout
            assert get(data_of(world.store)) == damaged, "a dry run changed it"
            repair(world)
            assert get(data_of(world.store) + ".damaged-1") == damaged
        assert world.finish() == want
        assert world.status()["state"] == "finished"


def test_a_store_of_which_nothing_is_left_is_begun_anew_under_its_own_name(world):
    """All zeros, no file at all, no folder: the outputs know whose they are."""
    _, want = fixture(world)
    start = world.path("start")
    shutil.move(world.out, start)
    for gone in (None, "file", "folder"):
        world.out = world.path(f"out-{gone}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        path = data_of(world.store)
        put(path, bytes(len(get(path))))
        if gone == "file":
            os.unlink(path)
        elif gone == "folder":
            shutil.rmtree(world.store)
            check_line(world.call(["repair", "-o", world.out]), ABSENT, [world.store, "--store", "make an empty folder"])
            assert not os.path.exists(world.store)
            os.mkdir(world.store)
        repair(world)
        assert world.finish() == want


def test_a_whole_store_is_left_alone(world):
    _, want = fixture(world)
    before = get(data_of(world.store))
    result = repair(world)
    assert "nothing is wrong" in result.stdout and get(data_of(world.store)) == before
    assert world.finish() == want
    assert "nothing is wrong" in repair(world).stdout


def test_repair_of_nothing_and_of_what_runs_is_refused(world):
    check_line(world.call(["repair", "-o", world.path("none")]), ABSENT, [world.path("none/state")])
    assert not os.path.exists(world.path("none"))
    put(world.source, text(600000))
    want = world.undisturbed(text(600000))
    process = world.start()
    wait_until(lambda: os.path.exists(world.output), "the output", process)
    check_line(world.call(["repair", "-o", world.out]), BUSY, [world.store, "stop"])
    result = world.end(process)
    assert result.status == DONE and get(world.output) == want


def test_a_kill_at_each_step_leaves_the_old_file_or_the_new(world):
    _, want = fixture(world)
    start = world.path("start")
    shutil.move(world.out, start)
    zero_page(data_of(os.path.join(start, "state")), root(get(data_of(os.path.join(start, "state")))))
    for step in ("repair_written", "repair_kept", "repair_renamed"):
        world.out = world.path(f"out-{step}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        damaged = get(data_of(world.store))
        repair(world, status=-signal.SIGKILL, steps=True, crash=f"{step}:1")
        assert (get(data_of(world.store)) == damaged) == (step != "repair_renamed")
        if step != "repair_renamed":
            refused_by_all(world)
        repair(world)
        kept = [name for name in os.listdir(world.store) if "damaged" in name]
        assert kept == ["data.mdb.damaged-1"], kept
        assert "data.new" not in os.listdir(world.store)
        assert world.finish() == want


# ---- Ingest's environment ----

def follow(world, lines, want):
    """Follow standard input until want lines are in the output, then stop."""
    process = world.place.start([world.place.riverrun, "follow", "-", "--name", "feed", "--model", world.model, "-o",
                                 world.out, "--quiet", "--threads", "1"], stdin=subprocess.PIPE)
    output = os.path.join(world.out, "feed.jsonl")
    process.stdin.write(lines)
    process.stdin.flush()
    wait_until(lambda: os.path.exists(output) and get(output).count(b"\n") >= want, "the lines' records", process)
    process.send_signal(signal.SIGINT)
    status = world.place.end_of(process)
    process.stdin.close()
    assert status == e2e_world.STOPPED, world.said(process)
    return get(output)


def test_a_spool_whose_tree_is_damaged_is_mended_without_loss_or_refused(world):
    """A header: nothing is lost. A page of zeros, where something is: it is left alone and named."""
    lines = [b"line %d of a feed that nobody can read again\n" % i for i in range(400)]
    start = world.path("start")
    world.out = start
    follow(world, b"".join(lines[:300]), 300)
    world.out = world.path("undisturbed")
    follow(world, b"".join(lines[:300]), 300)
    want = follow(world, b"".join(lines[300:]), 400)
    for gone in (False, True):
        world.out = world.path(f"out-{gone}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        feed = os.path.join(world.store, "ingest")
        path, data = data_of(feed), bytearray(get(data_of(feed)))
        page = root(data)
        if gone:
            data[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
        else:
            data[page * PAGE + 14] ^= 4
        put(path, bytes(data))
        result = world.call(["follow", "-", "--name", "feed", "--model", world.model, "-o", world.out, "-q"])
        check_line(result, DAMAGED, [feed, "riverrun repair"])
        assert world.call(["verify", "-o", world.out]).status == DAMAGED
        if gone:
            check_line(world.call(["repair", "-o", world.out]), DAMAGED, [feed, "cannot be repaired", "--restart"])
            assert get(path) == bytes(data), "it was touched"
            continue
        result = repair(world)
        assert "nothing of it was lost" in result.stdout and get(path + ".damaged-1") == bytes(data)
        assert world.call(["verify", "-o", world.out]).status == DONE
        assert follow(world, b"".join(lines[300:]), 400) == want


# ---- Several streams ----

def several(world, count=5):
    """count texts of different lengths, killed in the midst of them."""
    folder = world.path("several")
    for i in range(count):
        put(os.path.join(folder, f"{i}.txt"), text(60000 * (i % 3 + 1), seed=i))
    world.source = folder
    arguments = world.arguments
    world.arguments = lambda *more, **how: [word for word in arguments(*more, **how)
                                            if word not in ("--name", "text")]
    other = world.out
    world.out = world.path("undisturbed")
    result = world.read()
    assert result.status == DONE, result.stderr
    want = outputs(world)
    world.out = other
    world.interrupted(commits=14)
    return want


def outputs(world):
    return {name: get(os.path.join(world.out, name)) for name in sorted(os.listdir(world.out))
            if name.endswith(".jsonl")}


def test_five_streams_and_any_page(world):
    """Every page that is no part of a large value, zeroed, with five streams in mid-run."""
    want = several(world)
    start = world.path("start")
    shutil.move(world.out, start)
    good, refused = get(data_of(os.path.join(start, "state"))), 0
    small = [page for page in range(len(good) // PAGE)
             if page < 2 or int.from_bytes(good[page * PAGE + 10:page * PAGE + 12], "little") in (1, 2)]
    world.out = world.path("out")
    for page in small[:4] + small[4::max(1, len(small) // 12)]:
        shutil.rmtree(world.out, ignore_errors=True)
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        zero_page(data_of(world.store), page)
        if world.call(["status", "-o", world.out]).status == DAMAGED:
            refused += 1
            refused_by_all(world)
            print(f"    page {page} zeroed:")
            repair(world)
        result = world.read()
        assert result.status == DONE, f"page {page}: {result.stderr}"
        assert outputs(world) == want, f"page {page}"
    print(f"    {refused} refused and repaired of {len(small)} tree pages, living and old")
    assert refused >= 3


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
