#!/usr/bin/python3
"""`riverrun verify` finds what is wrong, each thing of a list, and nothing where all is well; beside a run too."""
import json
import os
import shutil
import signal
import sys

import e2e_world
from e2e_store import flip, parts, values
from e2e_world import ABSENT, DAMAGED, DONE, SINK, check_line, fixture, get, put, text, wait_until

PAGE = 4096


def verify(world, status, words=(), store_only=False):
    """Its answer for people has all words, and says the same as the one for programs."""
    where = ["--store", world.store] if store_only else ["-o", world.out]
    result = world.call(["verify", *where])
    print("    " + "\n    ".join(result.stdout.splitlines() + result.lines))
    assert result.status == status, f"status {result.status}, want {status}"
    assert result.stderr == "", "findings are what was asked for: they belong on stdout"
    for word in words:
        assert word in result.stdout, f"'{word}' is missing"
    answer = json.loads(world.call(["verify", *where, "--json"]).stdout)
    assert answer["well"] == (status == DONE) and bool(answer["findings"]) == (status != DONE)
    kinds = {one["kind"] for one in answer["findings"]}
    assert kinds <= {"store"} if status == DAMAGED else kinds <= {"output"}, kinds
    return answer


def copies(world, names):
    """The job as it is now, once for each name."""
    start = world.path("start")
    shutil.move(world.out, start)
    for name in names:
        world.out = world.path(f"out-{name}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        yield name


def change(path, at, new):
    data = bytearray(get(path))
    data[at:at + len(new)] = new
    put(path, bytes(data))


# ---- Nothing wrong ----

def test_nothing_is_found_where_all_is_well(world):
    """Killed in the middle, then finished, and once more; and what the answer counts."""
    _, want = fixture(world)
    before = get(world.output)
    answer = verify(world, DONE, ["all is well"])
    assert get(world.output) == before
    assert answer["streams"] == 1 and answer["checkpoints"] == 3 and answer["values"] > 8
    assert world.finish() == want
    answer = verify(world, DONE, ["all is well"])
    assert answer["records"] == want.count(b"\n") and answer["output_bytes"] == len(want)
    assert answer["notes"] == []
    assert verify(world, DONE, store_only=True)["records"] == 0


def test_what_a_killed_run_left_is_told_and_not_wrong(world):
    """Records beyond the newest checkpoint, and half of one."""
    _, want = fixture(world)
    there = get(world.output)
    assert want.startswith(there)
    end = want.index(b"\n", want.index(b"\n", len(there)) + 1) + 1
    put(world.output, want[:end + 30])
    answer = verify(world, DONE, ["beyond the newest checkpoint, they will be compared", "30 bytes of a record"])
    assert len(answer["notes"]) == 2
    assert world.finish() == want


def test_a_stream_that_went_on_to_standard_output_is_not_damaged(world):
    """Its checkpoints know of a file's length, and then of none. That the file gets no more is said, once."""
    fixture(world)
    before = get(world.output)
    stdout = ["--sink", "stdout"]
    result = world.read(*stdout, steps=True, crash="encode_committed:1")
    assert result.status == -signal.SIGKILL and len(result.lines) == 1, result.stderr
    assert "warning" in result.stderr and "standard output" in result.stderr, result.stderr
    verify(world, DONE, ["standard output"])
    result = world.read(*stdout)
    assert result.status == DONE and not result.lines, result.stderr
    verify(world, DONE, ["standard output"])
    assert get(world.output) == before
    world.refused(SINK, ["went to standard output", "--sink stdout", "--restart"])


def test_nothing_is_found_beside_a_run(world):
    """A run that commits all the time, killed once, looked at over and over."""
    data = text(900000)
    put(world.source, data)
    want = world.undisturbed(data)
    looks = 0
    for _ in range(2):
        process = world.start("--checkpoint-every", "2000")
        wait_until(lambda: os.path.exists(world.output), "the output", process)
        for _ in range(12):
            if process.poll() is not None:
                break
            result = world.call(["verify", "-o", world.out])
            assert result.status == DONE, result.stdout + result.stderr
            looks += process.poll() is None
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
    assert looks >= 3, f"{looks} looks beside the run"
    assert world.finish() == want
    print(f"    {looks} looks beside a run")
    verify(world, DONE)


# ---- The store ----

def test_faults_of_the_store_are_found(world):
    _, want = fixture(world)
    for fault in copies(world, ("part", "meta", "note", "run", "tree", "short")):
        path = os.path.join(world.store, "data.mdb")
        kept = parts(world)
        newest = list(kept[max(kept)].values())
        if fault == "part":
            flip(world, newest[1], 9)
            words = [f"checkpoint {max(kept)}, part 0"]
        elif fault == "meta":
            flip(world, newest[0], 50)
            words = [f"checkpoint {max(kept)}, meta value"]
        elif fault == "note":
            flip(world, values(world.store)[b"\x04" + (1).to_bytes(8, "big")], 3)
            words = ["its note"]
        elif fault == "run":  # the length of the large value's run of pages, which no checksum covers
            at = get(path).find(newest[1])
            change(path, at - 16 + 12, b"\x77")
            words = ["part 0", "pages are damaged"]
        elif fault == "tree":
            root = max((get(path)[n * PAGE + 16:n * PAGE + 152] for n in (0, 1)), key=lambda m: m[128:136][::-1])
            change(path, int.from_bytes(root[112:120], "little") * PAGE + 14, b"\xff\xff")
            words = ["damaged (page"]
        else:
            put(path, get(path)[:-2 * PAGE])
            words = ["damaged"]
        print(f"  {fault}:")
        verify(world, DAMAGED, words + ["riverrun repair"])
        assert world.call(["repair", "-o", world.out]).status == DONE
        verify(world, DONE)
        assert world.finish() == want


# ---- The output ----

def test_faults_of_the_output_are_found(world):
    fixture(world)
    size = os.path.getsize(world.output)
    lines = get(world.output).splitlines(True)
    for fault in copies(world, ("gone", "short", "edited", "line", "sidecar", "epoch", "generation", "other")):
        sidecar = os.path.join(world.out, ".riverrun", "text.sidecar")
        if fault == "gone":
            os.unlink(world.output)
            words = ["is gone", "--restart"]
        elif fault == "short":
            put(world.output, get(world.output)[:size // 2])
            words = [f"has {size // 2} bytes", "put it back"]
        elif fault == "edited":
            change(world.output, size // 3, b"#")
            words = ["not what was written"]
        elif fault == "line":
            put(world.output, get(world.output) + lines[0])
            words = ["is not that record"]
        elif fault == "sidecar":
            os.unlink(sidecar)
            words = ["another job", "-o"]
        elif fault == "epoch":
            put(sidecar, get(sidecar).replace(b"epoch ", b"epoch 9"))
            words = ["later run", "riverrun repair"]
        elif fault == "generation":
            put(sidecar, get(sidecar).replace(b"generation ", b"generation 9"))
            words = ["of generation 9", "newest checkpoint of 1"]
        else:
            at = get(sidecar).index(b"store ") + 6
            change(sidecar, at, b"0" if get(sidecar)[at:at + 1] != b"0" else b"1")
            words = ["another job"]
        print(f"  {fault}:")
        verify(world, SINK, words)
        verify(world, DONE, store_only=True)


def test_an_older_store_goes_on_after_a_repair(world):
    """A copy put back of what the store was before the newest runs."""
    data, want = fixture(world)
    shutil.copy(os.path.join(world.store, "data.mdb"), world.path("older"))
    for _ in range(3):
        result = world.read(steps=True, crash="encode_committed:1")
        assert result.status == -signal.SIGKILL, result.stderr
    shutil.copy(world.path("older"), os.path.join(world.store, "data.mdb"))
    verify(world, SINK, ["later run", "riverrun repair"])
    assert world.call(["repair", "-o", world.out]).status == DONE
    verify(world, DONE)
    assert world.finish() == want


def test_a_finished_output_that_goes_on_is_found(world):
    put(world.source, text(50000))
    want = world.finish()
    put(world.output, want + want.splitlines(True)[-1])
    verify(world, SINK, ["behind its document record"])
    for more in (b"garbage\n", b'{"stream":"text","seq":', want.splitlines(True)[-1]):
        put(world.output, want + more)
        said = world.call(["verify", "-o", world.out]).stdout
        assert said.count("\n") == 2 and "goes on behind its document record: put it back" in said, said
        world.refused(SINK, ["is not what was written: put it back"], keep=[world.output])


def test_a_damaged_claim_is_found(world):
    """A run refuses the folder; an empty one, of a run that was killed when it had made it, does not keep it."""
    _, want = fixture(world)
    hidden = os.path.join(world.out, ".riverrun")
    claim, = (os.path.join(hidden, name) for name in os.listdir(hidden) if name.endswith(".owner"))
    for bad in (b"riverrun-owner 2\n", b"\0" * 40):
        put(claim, bad)
        verify(world, SINK, [os.path.basename(claim), "damaged", "remove it"])
        world.refused(SINK, [claim, "damaged", "remove it"])
    put(claim, b"")
    verify(world, DONE)
    another = os.path.join(hidden, "0123456789abcdef" * 2 + ".owner")
    put(another, b"riverrun-owner 2\n")  # of another store that has outputs here
    verify(world, DONE)
    os.unlink(another)
    assert world.finish() == want


def test_what_is_no_file_keeps_nobody(world):
    """A pipe that nobody writes to would be waited for; a folder has a size and no bytes."""
    _, want = fixture(world)
    hidden, words = os.path.join(world.out, ".riverrun"), [world.output, "directory or a device", "move it away"]
    kept, sidecar = world.output + ".kept", os.path.join(hidden, "text.sidecar")
    for name in ("x.sidecar", "x.owner", "y.sidecar.new"):
        os.mkfifo(os.path.join(hidden, name))
    verify(world, DONE)
    for verb in ("repair", "gc"):
        assert world.call([verb, "-o", world.out]).status == DONE
    os.rename(world.output, kept)
    for make, remove in (os.mkfifo, os.unlink), (os.mkdir, os.rmdir):
        make(world.output)
        verify(world, SINK, words)
        check_line(world.read(), SINK, words)
        remove(world.output)
    os.rename(kept, world.output)
    os.rename(sidecar, kept)
    os.mkfifo(sidecar)
    verify(world, SINK, [sidecar, "damaged"])
    check_line(world.read(), SINK, [sidecar, "damaged"])
    os.rename(kept, sidecar)
    assert world.finish() == want


def test_nothing_to_verify_is_named(world):
    check_line(world.call(["verify", "-o", world.path("none")]), ABSENT, [world.path("none/state")])
    check_line(world.call(["verify", "text"]), e2e_world.USAGE, ["text"])


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
