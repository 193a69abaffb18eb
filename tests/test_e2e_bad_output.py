#!/usr/bin/python3
"""Outputs that were deleted, edited, cut, or are somebody else's; places that cannot be written."""
import os
import shutil
import signal
import subprocess
import sys

import e2e_world
from e2e_world import (BUSY, DONE, FULL, NOBODY, SINK, SYSTEM, USAGE, check_line, fixture, get, put,
                       records, text, wait_until)

FOREIGN = b'{"stream": "text", "seq": 7, "kind": "paragraph", "note": "not ours"}\n'


def put_back_and_finish(world, good, want):
    put(world.output, good)
    assert world.finish() == want


def test_deleted_output_is_refused(world):
    _, want = fixture(world)
    good = get(world.output)
    os.unlink(world.output)
    for _ in range(4):
        world.refused(SINK, [world.output, "gone", "--restart"])
        assert not os.path.exists(world.output)
    put_back_and_finish(world, good, want)


def test_output_gone_while_it_is_written_is_told(world):
    """All that is written goes well, to files of another name or none: the run must not end as if they were there."""
    data = text(400000)
    put(world.source, data)
    for world.out, lost in (world.path("one"), world.path("one/text.jsonl")), (world.path("two"), world.path("two")):
        process, kept = world.start(), lost + ".kept"
        wait_until(lambda: os.path.exists(world.output) and get(world.output), "the first records", process)
        os.rename(lost, kept)
        check_line(world.end(process), SINK, [world.output, "was removed", "--restart"])
        assert not os.path.exists(world.output)
        os.rename(kept, lost)
        assert world.finish() == world.undisturbed(data)


def changed_while_written(world, name, change):
    """Start a run, change its output in place, let it end: what it said, and the output as it was before."""
    world.out = world.path(name)
    process = world.start()
    wait_until(lambda: os.path.exists(world.output) and get(world.output), "the first records", process)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    good = get(world.output)
    with open(world.output, "r+b") as file:
        change(file)
    process.send_signal(signal.SIGCONT)
    return world.end(process), good


def test_output_changed_while_it_is_written_is_told(world):
    """Cut, a run would write behind a hole; with more at its end or other bytes in it, it would end as if all were well."""
    data = text(400000)
    put(world.source, data)
    want = world.undisturbed(data)
    for name, change in (("cut", lambda file: file.truncate(0)),
                         ("longer", lambda file: file.seek(0, os.SEEK_END) and file.write(FOREIGN))):
        result, good = changed_while_written(world, name, change)
        check_line(result, SINK, [world.output, "was changed while it was written", "--restart"])
        if name == "longer":  # without a checkpoint a cut one is begun again
            world.refused(SINK, [world.output, "--restart"])
        put(world.output, good)
        assert world.finish() == want
    result, _ = changed_while_written(world, "other", lambda file: file.write(b"#"))
    check_line(result, SINK, ["not what was written", "--restart"])
    world.refused(SINK, [world.output, "not what was written", "--restart"])
    assert world.finish("--restart") == want


def test_deleted_output_folder_is_refused(world):
    """With its checkpoints elsewhere, the job is known though its outputs are not there."""
    store = ["--store", world.path("state")]
    world.options += store
    _, want = fixture(world)
    kept = world.path("kept")
    os.rename(world.out, kept)
    world.refused(SINK, [world.output, "gone", "--restart"])
    shutil.rmtree(world.out)
    os.rename(kept, world.out)
    assert world.finish() == want


def test_byte_changed_early_is_refused(world):
    _, want = fixture(world)
    good = get(world.output)
    put(world.output, good[:100] + bytes([good[100] ^ 1]) + good[101:])
    world.refused(SINK, [world.output, "not what was written", "--restart"])
    put_back_and_finish(world, good, want)


def test_restart_writes_an_edited_output_anew(world):
    _, want = fixture(world)
    put(world.output, b"#" + get(world.output)[1:])
    world.refused(SINK, ["--restart"])
    assert world.finish("--restart") == want


def test_torn_last_line_is_written_again(world):
    for torn in (b'{"stream": "text", "se', b"{", b"\0" * 5000, b'{"stream": "te\n', b"\n",
                 b"\xff" * 300000):
        world.out = world.path("out-%d-%d" % (len(torn), torn[0]))
        _, want = fixture(world)
        with open(world.output, "ab") as file:
            file.write(torn)
        assert world.finish() == want


def test_cut_inside_a_line_is_written_again(world):
    """What was written after the newest checkpoint may be cut anywhere."""
    _, want = fixture(world)
    whole = get(world.output)
    durable = sum(len(line) + 1 for line in whole.split(b"\n")[:world.status()["records"]])
    for length in {durable, durable + 1, (durable + len(whole)) // 2, len(whole) - 1}:
        out = world.path(f"out-{length}")
        shutil.copytree(world.out, out, ignore=lambda *_: ["control"])
        os.truncate(os.path.join(out, "text.jsonl"), max(length, durable))
        world.out, was = out, world.out
        assert world.finish() == want
        world.out = was


def test_foreign_line_at_the_end_is_refused(world):
    _, want = fixture(world)
    good = get(world.output)
    put(world.output, good + FOREIGN)
    for _ in range(4):
        world.refused(SINK, [world.output, "edited", "--restart"])
    put_back_and_finish(world, good, want)


def test_output_cut_to_an_older_checkpoint_goes_on_with_a_warning(world):
    """Cut back by half the way since the oldest of the three checkpoints kept: the newest does not
    fit any more."""
    data, want = fixture(world, commits=8)
    newest = world.status()["records"]
    lines = get(world.output).split(b"\n")
    put(world.output, b"\n".join(lines[:newest - 1]) + b"\n")
    result = world.read()
    print("    " + result.stderr.strip())
    assert result.status == DONE and len(result.lines) == 1
    assert "warning" in result.stderr and "older" in result.stderr
    assert get(world.output) == want


def test_output_cut_behind_all_checkpoints_is_refused(world):
    data, want = fixture(world, commits=8)
    good = get(world.output)
    put(world.output, good[:good.index(b"\n") + 1])
    world.refused(SINK, [world.output, "--restart"])
    put_back_and_finish(world, good, want)


def test_finished_output_is_looked_at_again(world):
    data = text(20000)
    put(world.source, data)
    want = world.finish()
    for bad in (want + FOREIGN, want + b"x", want[:100] + b"#" + want[101:], b"#" + want[1:]):
        put(world.output, bad)
        world.refused(SINK, [world.output, "--restart"])
    put(world.output, want[:-1])
    result = world.read()
    assert result.status == DONE and get(world.output) == want
    assert len(result.lines) == 1 and "warning" in result.stderr, result.stderr
    os.unlink(world.output)
    world.refused(SINK, [world.output, "gone", "--restart"])
    put(world.output, want)
    assert world.finish() == want


def test_foreign_file_is_left_alone(world):
    put(world.source, text(20000))
    put(world.output, b"my own notes\n")
    for _ in range(2):
        world.refused(SINK, [world.output, "move it away", "-o"])
    os.unlink(world.output)
    assert world.finish() == world.undisturbed(text(20000))


def test_an_input_is_not_its_own_output(world):
    """An empty one looks like an output that is to be begun; so does one by another name."""
    put(world.output, b"")
    for source in world.output, world.path("link.txt"):
        world.source = source
        if source != world.output:
            os.symlink(world.output, source)
        for verb in "read", "follow":
            check_line(world.call([verb, *world.arguments()[1:]]), USAGE, [world.output, "is an input too"])
            assert get(world.output) == b""


def test_output_of_another_store_is_left_alone(world):
    put(world.source, text(20000))
    want = world.finish()
    world.refused(SINK, [world.output, "move it away", "-o"], "--store", world.path("state"))
    assert world.finish() == want


def test_folder_in_the_place_of_the_output_is_named(world):
    put(world.source, text(20000))
    os.makedirs(world.output)
    world.refused(SINK, [world.output, "directory"])
    os.rmdir(world.output)
    assert world.finish() == world.undisturbed(text(20000))


def test_file_in_the_place_of_the_output_folder_is_named(world):
    put(world.source, text(20000))
    put(world.out, b"my own notes\n")
    world.refused(SINK, [world.out], keep=[world.out])
    world.refused(SINK, [world.out], "--store", world.path("state"), keep=[world.out])


def test_file_in_the_place_of_the_control_socket_is_left_alone(world):
    _, want = fixture(world)
    control = os.path.join(world.out, "state", "control")
    os.unlink(control)  # of the run that was killed
    put(control, b"my own notes\n")
    world.refused(SINK, [control, "no socket"], keep=[control])
    os.unlink(control)
    assert world.finish() == want


def test_damaged_sidecar_is_named(world):
    _, want = fixture(world)
    sidecar = os.path.join(world.out, ".riverrun/text.sidecar")
    good = get(sidecar)
    for bad in (b"", b"riverrun-sidecar 1\nstore", b"\0" * len(good)):
        put(sidecar, bad)
        world.refused(SINK, [sidecar, "damaged"], keep=[sidecar])
    os.unlink(sidecar)
    world.refused(SINK, [world.output, "not written by this job"])
    put(sidecar, good)
    assert world.finish() == want


def test_an_output_takes_the_place_of_its_own_kind_alone(world):
    """What is made of records, models and states: nothing there, an empty file, an older one; never a file of somebody's."""
    put(world.source, text(20000))
    world.finish()
    mine, model = b"my own notes\n", ["--model", world.model]
    train = ["train", world.source, "-o", world.path("made.safetensors"), "--layers", "1", "--channels", "32",
             "--head-size", "16", "--streams", "4", "--window", "32", "--steps", "1", "-q", "--curve"]
    for kind, command, path in (("export", ["export", "text", None, "-o", world.out], world.path("point")),
                                ("export", ["export", "text", None, "-o", world.out], world.source),
                                ("report", ["report", world.out, "-o", None], world.path("page")),
                                ("array", ["embeddings", world.out, "-o", None], world.path("array")),
                                ("table", ["embeddings", world.out, "-o", None], world.path("other.tsv")),
                                ("picture", ["eval", world.source, *model, "--plot", None], world.path("plot")),
                                ("picture", [*train, None], world.path("curve"))):
        arguments = [word or path.removesuffix(".tsv") for word in command]
        if path != world.source:
            put(path, mine)
        before = get(path)
        check_line(world.call(arguments), SINK, [f"'{path}' is no {kind} of riverrun's", "move it away"])
        assert get(path) == before, arguments
        if path == world.source:
            continue
        put(path, b"")
        for _ in range(2):
            result = world.call(arguments)
            assert result.status == DONE, result.stderr
            assert len(get(path)) > len(mine), arguments


def test_what_is_made_goes_to_standard_output_alone(world):
    """By its name: then what is said of it goes to standard error. An array has a table beside it, so it cannot."""
    put(world.source, text(20000))
    world.finish()
    for command in (["vocab", "learn", world.source, "--size", "300", "-o"], ["report", world.out, "-o"],
                    ["model", "convert", world.model, "-o"]):
        made, file = world.path(command[0]), world.path("file")
        result = world.call([*command, made])
        assert result.status == DONE, result.stderr
        with open(file, "wb") as out:
            done = subprocess.run([world.place.riverrun, *command, "/dev/stdout"], stdout=out, stderr=subprocess.PIPE, check=True)
        assert get(file) == get(made), command
        assert done.stderr.decode().replace("/dev/stdout", made) == result.stdout, (done.stderr, result.stdout)
    check_line(world.call(["embeddings", world.out, "-o", "/dev/stdout"]), USAGE, ["/dev/stdout", "name a file"])
    assert not os.path.exists("/dev/stdout.tsv")


def as_nobody(world):
    if os.getuid() != 0:
        return None
    for root, folders, files in os.walk(world.folder):
        for name in [root] + [os.path.join(root, n) for n in folders + files]:
            os.chown(name, NOBODY, NOBODY)
    return NOBODY


def test_read_only_output_folder_is_named(world):
    put(world.source, text(20000))
    os.makedirs(world.out)
    user = as_nobody(world)
    os.chmod(world.out, 0o555)
    world.refused(SINK, [world.out, "Permission denied"], user=user)
    world.refused(SINK, [world.out, "Permission denied"], "--store", world.path("state"), user=user)
    assert os.listdir(world.out) == []
    os.chmod(world.out, 0o755)
    assert world.finish(user=user) == world.undisturbed(text(20000))


def test_read_only_output_file_is_named(world):
    _, want = fixture(world)
    user = as_nobody(world)
    os.chmod(world.output, 0o444)
    world.refused(SINK, [world.output, "Permission denied"], user=user)
    os.chmod(world.output, 0o644)
    assert world.finish(user=user) == want


def test_what_it_takes_to_look_at_another_users_job_is_named(world):
    put(world.source, text(20000))
    world.finish()
    user = as_nobody(world)
    for root, _, files in os.walk(world.out):
        for name in files:
            os.chown(os.path.join(root, name), 0, 0)
    asked = (["status"], ["verify"], ["history", "text"])
    for name, mode in (("lock.mdb", 0o644), ("data.mdb", 0o600), ("", 0)):
        os.chmod(os.path.join(world.store, name), mode)
        for words in asked if user else ():
            check_line(world.call([*words, "-o", world.out], user=user), SYSTEM,
                       [f"look into the store '{world.store}'", "to read", "to write lock.mdb", "Permission denied"])
    os.chmod(world.store, 0o755)


def test_two_jobs_cannot_write_one_output(world):
    """Another store, the same output folder: the second is told, the first goes on."""
    data = text(1000000)
    put(world.source, data)
    process = world.start()
    wait_until(lambda: os.path.exists(world.output), "the first job's output", process)
    result = world.read("--store", world.path("state"))
    world.end(process, stop=True)
    check_line(result, BUSY, [world.output, "in use"])
    world.source = world.path("in/short.txt")
    assert records(world.output)[0]["seq"] == 0


def test_an_answer_that_is_not_taken_is_told(world):
    """What a command has to say on standard output, and a disk that is full: no exit status of 0."""
    fixture(world)
    model, out = world.model, os.path.dirname(world.output)
    train = ["train", world.source, "-o", world.path("made.safetensors"), "--layers", "1", "--channels", "32",
             "--head-size", "16", "--streams", "4", "--window", "32", "--steps", "1"]
    for command in (["help"], ["--version"], ["read", "--help"], ["status", "-o", out], ["status", "-o", out, "--json"],
                    ["history", "text", "-o", out], ["verify", "-o", out, "--json"], ["model", "info", model],
                    ["model", "info", model, "--json"], ["show", "text", "-o", out],
                    ["eval", world.source, "--model", model], train, ["tokenize", world.source]):
        with open("/dev/full", "wb") as full:
            process = world.place.start([world.place.riverrun, *command], stdout=full)
        assert world.place.end_of(process) == FULL, command
        assert "standard output: No space left on device" in world.place.said(process), command


def test_standard_output_that_is_closed_is_named(world):
    """A descriptor of ours in its place would be written to."""
    put(world.source, text(20000))
    for command in (["help"], world.arguments("--sink", "stdout"), ["follow", *world.arguments("--sink", "stdout")[1:]]):
        process = world.place.start(["sh", "-c", 'exec "$0" "$@" >&-', world.place.riverrun, *command])
        check_line(world.end(process), SINK, ["standard output"])
        shutil.rmtree(world.out, ignore_errors=True)
    process = world.place.start(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', world.place.riverrun, *world.arguments()])
    assert world.end(process).status == DONE and get(world.output) == world.undisturbed(text(20000))


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
