#!/usr/bin/python3
"""`riverrun gc`: the store gets smaller, nothing that is needed goes, and a kill in the midst of it does no harm."""
import json
import os
import shutil
import signal
import subprocess
import sys

import e2e_world
from e2e_store import parts
from e2e_world import ABSENT, BUSY, DONE, check_line, fixture, get, put, text, wait_until


WHOLE = {"counters", "data.mdb", "lock.mdb", "owner.lock"}


def gc(world, status=DONE, **how):
    result = world.call(["gc", "-o", world.out, "--json"], **how)
    assert result.status == status, f"status {result.status}: {result.stderr}"
    return json.loads(result.stdout) if status == DONE else None


def size(world):
    return os.path.getsize(os.path.join(world.store, "data.mdb"))


def test_what_is_no_store_is_not_made_one(world):
    """An empty file is what a lost store leaves: repair makes a new one of the outputs, unless there is one."""
    fixture(world)
    put(os.path.join(world.store, "data.mdb"), b"")
    gc(world, status=ABSENT)
    assert get(os.path.join(world.store, "data.mdb")) == b""
    assert world.call(["repair", "-o", world.out]).status == DONE


def test_a_store_gets_smaller_and_the_run_goes_on(world):
    _, want = fixture(world)
    output, before = get(world.output), size(world)
    answer = gc(world)
    print(f"    in mid-run {answer}")
    assert answer["before_bytes"] >= before and answer["after_bytes"] == size(world) < before
    assert answer["checkpoints_dropped"] == 0 and len(parts(world)) == 3
    assert get(world.output) == output
    assert world.call(["verify", "-o", world.out]).status == DONE
    assert world.finish() == want
    answer = gc(world)
    print(f"    finished {answer}")
    assert answer["checkpoints_dropped"] == 2 and len(parts(world)) == 1
    assert gc(world)["checkpoints_dropped"] == 0
    assert world.finish() == want
    assert world.call(["verify", "-o", world.out]).status == DONE


def test_a_kill_at_each_step_does_no_harm(world):
    _, want = fixture(world)
    start = world.path("start")
    shutil.move(world.out, start)
    for step in ("store_epoch_raised", "gc_copied", "gc_renamed"):
        world.out = world.path(f"out-{step}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        gc(world, status=-signal.SIGKILL, steps=True, crash=f"{step}:1")
        assert world.call(["verify", "-o", world.out]).status == DONE
        gc(world)
        assert set(os.listdir(world.store)) - {"control"} == WHOLE
        assert world.finish() == want


def test_a_kill_while_checkpoints_are_dropped_does_no_harm(world):
    put(world.source, text(60000))
    want = world.finish("--checkpoint-every", "8000")
    for step in ("store_commit_begin:2", "store_commit_end:2"):
        gc(world, status=-signal.SIGKILL, steps=True, crash=step)
        assert len(parts(world)) == (3 if "begin" in step else 1)
        assert world.call(["verify", "-o", world.out]).status == DONE
        assert world.finish() == want
    gc(world)
    assert world.finish() == want


def test_one_who_looks_meanwhile_follows(world):
    """status between two collections, and a run right after: which meta page counts is not taken from a number in
    lock.mdb that belongs to the old file."""
    _, want = fixture(world)
    for _ in range(3):
        look = subprocess.Popen([world.place.riverrun, "verify", "-o", world.out], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        gc(world)
        said, _ = look.communicate()
        assert look.returncode == DONE, said.decode()
        assert world.call(["status", "-o", world.out]).status == DONE
    assert world.finish() == want


def test_what_killed_runs_left_is_removed_and_nothing_else(world):
    fixture(world)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [".riverrun/text.sidecar.new",
            *(f"{name}.{gone.pid}.part" for name in ("report.html", "embeddings.npy", "embeddings.npy.tsv"))]
    stays = ["notes.part", f"report.html.{os.getpid()}.part", f"album.{gone.pid}.part", f"my-report.html.{gone.pid}.part",
             f".{gone.pid}.part", "my.sidecar.new", ".riverrun/text.sidecar"]
    for name in left + stays[:-1]:
        put(os.path.join(world.out, name), b"x")
    os.makedirs(os.path.join(world.store, "data.new"))
    put(os.path.join(world.store, "data.new", "data.mdb"), b"half a repair")
    put(os.path.join(world.store, "data.copy"), b"half a copy")
    output = get(world.output)
    assert gc(world)["files_removed"] == len(left)
    assert not any(os.path.exists(os.path.join(world.out, name)) for name in left)
    assert all(os.path.exists(os.path.join(world.out, name)) for name in stays)
    assert set(os.listdir(world.store)) - {"control"} == WHOLE
    assert get(world.output) == output


def test_gc_of_nothing_and_of_what_runs_is_refused(world):
    check_line(world.call(["gc", "-o", world.path("none")]), ABSENT, [world.path("none/state")])
    assert not os.path.exists(world.path("none"))
    put(world.source, text(600000))
    want = world.undisturbed(text(600000))
    process = world.start()
    wait_until(lambda: os.path.exists(world.output), "the output", process)
    check_line(world.call(["gc", "-o", world.out]), BUSY, [world.store, "stop"])
    result = world.end(process)
    assert result.status == DONE and get(world.output) == want


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
