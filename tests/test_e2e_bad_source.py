#!/usr/bin/python3
"""Sources that are missing, strange, endless, or not what they were: one line, a status, no damage."""
import gzip
import json
import os
import stat
import sys

import e2e_world
from e2e_world import (CHANGED, DAMAGED, DONE, NOBODY, SOURCE, STOPPED, check_line, fixture,
                       get, put, records, text, wait_until)

MIB = 1 << 20


def test_missing_file_is_named(world):
    world.refused(SOURCE, [world.source, "No such file"])
    assert not os.path.exists(world.out), "a refused job left a folder"
    put(world.source, text(20000))
    assert world.finish() == world.undisturbed(text(20000))


def test_one_missing_of_two_is_named_before_anything_is_read(world):
    put(world.source, text(20000))
    check_line(world.call(["read", world.source, world.path("in/no"), "--model", world.model,
                           "-o", world.out, "--quiet"]), SOURCE, [world.path("in/no")])
    assert not os.path.exists(world.out)


def test_unreadable_file_is_named(world):
    put(world.source, text(20000))
    os.chmod(world.folder, 0o777)
    user = NOBODY if os.getuid() == 0 else None
    os.chmod(world.source, 0)
    world.refused(SOURCE, [world.source, "Permission denied"], user=user)
    os.chmod(world.source, 0o644)
    assert world.finish(user=user) == world.undisturbed(text(20000))


def test_source_unreadable_again_and_again_goes_on_when_it_is_put_right(world):
    """A fault of the place is no poison in the text: four tries spoil nothing."""
    data, want = fixture(world)
    os.chmod(world.folder, 0o777)
    if os.getuid() == 0:
        for root, folders, files in os.walk(world.folder):
            for name in folders + files:
                os.chown(os.path.join(root, name), NOBODY, NOBODY)
    user = NOBODY if os.getuid() == 0 else None
    for _ in range(4):
        os.chmod(world.source, 0)
        world.refused(SOURCE, [world.source], user=user)
    os.chmod(world.source, 0o644)
    assert world.finish(user=user) == want


def test_standard_input_that_cannot_be_read_ends_the_run(world):
    """What fails is ingest, in a thread that encode does not hear of: the others have to be told."""
    for more in ([], ["--key", "^(.)"]):
        with open("/dev/null", "wb") as nothing:
            process = world.place.start([world.place.riverrun, "follow", "-", "--model", world.model, "-o", world.out,
                                         "--quiet", *more], stdin=nothing)
        check_line(world.end(process), SOURCE, ["standard input", "Bad file descriptor"])


def test_standard_input_that_is_closed_is_named(world):
    """A descriptor of ours in its place would be read as text, for ever."""
    for command in ("read", "follow"):
        process = world.place.start(["sh", "-c", 'exec "$0" "$@" <&-', world.place.riverrun, command, "-", "--model",
                                     world.model, "-o", world.path(command), "--quiet"])
        check_line(world.end(process), SOURCE, ["Bad file descriptor"])


def test_directory_without_files_is_named(world):
    os.makedirs(world.path("in/empty/deeper"))
    check_line(world.call(["read", world.path("in"), "--model", world.model, "-o", world.out,
                           "--quiet"]), SOURCE, [world.path("in"), "no files"])
    assert not os.path.exists(world.out)


def test_empty_file_has_a_document_record(world):
    put(world.source, b"")
    world.finish()
    (only,) = records(world.output)
    assert only["kind"] == "document" and only["tokens"] == 0 and only["bits_per_byte"] is None
    assert only["begin"] == only["end"] == 0 and only["nats"] == 0
    before = get(world.output)
    assert world.finish() == before


def test_file_with_text_and_no_size_is_named(world):
    """As /proc has them: it is not read as if it were empty."""
    world.source = "/proc/cpuinfo"
    world.refused(SOURCE, [world.source, "0 bytes", "riverrun read -"])


def anonymous_kb(process):
    with open(f"/proc/{process.pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return 0


def has_sanitizer(world):
    """Sanitizers keep freed memory for a while."""
    program = get(world.place.riverrun)
    return b"__asan_init" in program or b"__tsan_init" in program


def test_endless_zero_bytes_stop_in_flat_memory(world):
    """1 GiB of them, without one line end: 2 MiB are read, then it is told to stop."""
    put(world.source, b"")
    os.truncate(world.source, 1 << 30)
    process = world.start("--plain")
    peaks = {}
    try:
        for mark in (200 * 1024, 2 * MIB if world.long else 700 * 1024):
            peak = 0

            def reached():
                nonlocal peak
                peak = max(peak, anonymous_kb(process))
                return peak and counted(world) >= mark
            wait_until(reached, f"{mark} bytes of zeros", process)
            peaks[mark] = peak
    finally:
        result = world.end(process, stop=True)
    (early, late) = peaks.values()
    print(f"    peak RssAnon {early} kB, then {late} kB")
    assert late <= early + 8 * 1024 or has_sanitizer(world)
    assert result.status == STOPPED, result.stderr
    assert world.status()["state"] == "stopped"


def counted(world):
    return world.status()["computed"] if os.path.exists(world.store + "/counters") else 0


def tile(world, data):
    """Units tile the source, tokens are bytes (the byte tokenizer), nothing is lost."""
    *made, document = records(world.output)
    units = [record for record in made if "tokens" in record]
    at = 0
    for unit in units:
        assert unit["begin"] == at and unit["tokens"] == unit["end"] - unit["begin"]
        at = unit["end"]
    assert at == len(data) == document["tokens"] == document["end"] and document["begin"] == 0
    get(world.output).decode("utf-8")


def test_binary_file_is_read_as_the_bytes_it_is(world):
    data = get(os.path.join(world.build, "riverrun"))[:120000]
    put(world.source, data)
    for unit in ("paragraph", "line"):
        world.out = world.path("out-" + unit)
        world.finish("--plain", "--unit", unit)
        tile(world, data)


def invalid(size=60000):
    """Every kind of sequence that UTF-8 does not allow, between lines that it does."""
    bad = [b"\x80", b"\xbf\xbf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xed\xa0\x80",
           b"\xf5\x80\x80\x80", b"\xff\xfe", b"\xf8\x88\x80\x80\x80", b"\x00", b"\xef\xbf\xbe"]
    data, i = b"", 0
    while len(data) < size:
        data += b"before " + bad[i % len(bad)] * (1 + i % 5) + "\u00e9\u4e2d".encode() + b"\n" * (i % 4)
        i += 1
    return data


def test_invalid_utf8_is_kept_as_it_is(world):
    data = invalid()
    put(world.source, data)
    for more in ([], ["--unit", "line"], ["--normalize", "nfc", "--unit", "line"]):
        world.out = world.path("out" + "".join(more))
        whole = world.finish("--plain", *more)
        if "nfc" not in more:
            tile(world, data)
        world.out += "-cut"
        assert world.finish("--plain", *more, "--read-bytes", "7") == whole


def test_unicode_test_file_is_kept_as_it_is(world):
    data = get(world.place.of_shared("data/unicode/UTF-8-test.txt"))
    put(world.source, data)
    world.finish()
    tile(world, data)


def test_line_of_4_mb_is_one_record(world):
    size = (4 if world.long else 1) * MIB
    data = (b"a word and " * (size // 11 + 1))[:size] + b"\nlast\n"
    put(world.source, data)
    world.finish("--unit", "line")
    tile(world, data)
    first, last, document = [record for record in records(world.output) if "tokens" in record]
    assert first["end"] == size + 1 and last["end"] == len(data) == document["end"]


def test_a_directory_takes_all_files_but_its_own_output(world):
    put(world.path("in/a.txt"), text(5000, 2))
    put(world.path("in/b/c.txt"), text(5000, 3))
    world.out = world.path("in/out")
    command = ["read", world.path("in"), "--model", world.model, "-o", world.out, "--quiet"]
    for _ in range(2):
        result = world.call(command)
        assert result.status == DONE and not result.lines, result.stderr
        assert len([n for n in os.listdir(world.out) if n.endswith(".jsonl")]) == 2
    world.out = command[-2] = world.path("in/later")  # another job's is none of its own
    result = world.call(command)
    assert result.status == DONE and len([n for n in os.listdir(world.out) if n.endswith(".jsonl")]) == 2


# ---- Not what it was: killed in the middle, then the source is another ----

def changed(world, make, words, want_status=CHANGED):
    """Refused after make(data) took the source's place; finished when the source is put back."""
    data, want = fixture(world)
    inode = stat.S_IMODE(os.stat(world.source).st_mode)
    make(data)
    for _ in range(2):
        world.refused(want_status, words)
    if os.path.isdir(world.source):
        os.rmdir(world.source)
    put(world.source, data)
    os.chmod(world.source, inode)
    assert world.finish() == want


def test_shorter_source_is_refused(world):
    changed(world, lambda data: put(world.source, data[:20000]),
            [world.source, "20000", "--restart"])


def test_longer_source_is_refused(world):
    changed(world, lambda data: put(world.source, data + b"more"),
            [world.source, "200000", "200004", "--restart"])


def test_source_changed_where_it_was_read_is_refused(world):
    """In the first 64 KiB, and in the 64 KiB before the place reached, which lies far behind them."""
    data, want = fixture(world, 400000, 20)
    at = world.status()["bytes"] - 9000
    assert at > 2 * 65536
    put(world.source, b"#" + data[1:])
    world.refused(CHANGED, [world.source, "first 64 KiB", "--restart"])
    put(world.source, data[:at] + b"#" + data[at + 1:])
    world.refused(CHANGED, [world.source, "64 KiB before", "--restart"])
    put(world.source, data)
    assert world.finish() == want


def test_read_and_follow_do_not_go_on_with_each_other(world):
    """Who began a stream is named; both write line by line here, so nothing else differs."""
    packed = world.path("in/text.gz")
    put(world.source, b"one\ntwo\n")
    put(packed, gzip.compress(b"one\ntwo\n"))

    def job(command, source, *more):
        return [command, source, *more, "--model", world.model, "--unit", "line", "--quiet",
                "-o", world.path("out-" + os.path.basename(source))]

    def follow(source):
        with open(world.source, "rb") as lines:
            return world.place.start([world.place.riverrun, *job("follow", source)], stdin=lines)

    def both_lines():
        """Stopped before, it would not have begun the stream."""
        answer = world.call(["status", "--json", "-o", world.path("out-text.txt")])
        return answer.status == DONE and [s["records"] for s in json.loads(answer.stdout)["streams"]] == [2]

    process = follow("-")
    assert world.end(process).status == DONE
    process = follow(world.source)
    wait_until(both_lines, "both lines", process)
    assert world.end(process, stop=True).status == STOPPED
    for source in ("-", world.source):
        check_line(world.call(job("read", source)), CHANGED, [source, "was begun by `follow`", "--restart"])
        assert world.call(job("read", source, "--restart")).status == DONE
    assert world.call(job("read", packed)).status == DONE
    for source in (world.source, packed):
        process = follow(source)
        wait_until(lambda: world.said(process), "its line", process)
        result = world.end(process, stop=True)
        assert result.lines[0].count(source) == result.lines[0].count("was begun by `read`") == 1, result.stderr


def test_restart_reads_what_the_source_is_now(world):
    fixture(world)
    other = text(90000, 5)
    put(world.source, other)
    world.refused(CHANGED, ["--restart"])
    assert world.finish("--restart") == world.undisturbed(other)


def test_source_that_became_a_directory_is_refused(world):
    def make(_):
        os.unlink(world.source)
        os.makedirs(world.source)
    changed(world, make, [world.source], e2e_world.USAGE)


def test_deleted_source_is_refused(world):
    changed(world, lambda data: os.unlink(world.source), [world.source, "No such file"], SOURCE)


def test_source_that_shrinks_while_it_is_read_is_refused(world):
    data = text(3 * MIB)
    put(world.source, data)
    process = world.start("--checkpoint-seconds", "0.1")
    wait_until(lambda: counted(world) > 20000, "some tokens", process)
    os.truncate(world.source, 1000)
    check_line(world.end(process), CHANGED, [world.source, "shorter", "--restart"])


def test_finished_and_then_changed_is_reported(world):
    data = text(20000)
    put(world.source, data)
    want = world.finish()
    put(world.source, data + b"more")
    world.refused(CHANGED, [world.source, "--restart"])
    put(world.source, data)
    assert "now it has" in status_text(world)
    assert world.finish() == want
    assert status_text(world) == ""


def test_finished_standard_input_ends_where_it_did(world):
    def read_again(data):
        put(world.source, data)
        with open(world.source, "rb") as file:
            return world.end(world.place.start([world.place.riverrun, "read", "-", "--model", world.model, "-o", world.out,
                                                "--name", "text", "--quiet", *world.options], stdin=file))

    data = text(20000)
    for _ in range(2):
        assert read_again(data).status == DONE
    want = get(world.output)
    for more in (b"more", b"\n" * 70000):
        check_line(read_again(data + more), CHANGED, ["20000 bytes", "--restart"])
    check_line(read_again(data[:-1]), CHANGED, ["19999", "--restart"])
    assert read_again(data).status == DONE and get(world.output) == want


def test_a_pipe_with_a_name_is_opened_once(world):
    """Whoever opened it before, to know what it is, would let its writer in, and out again."""
    data = text(3000)
    put(world.path("data.txt"), data)
    world.source = world.path("pipe")
    os.mkfifo(world.source)
    for _ in range(8):
        writer = world.place.start(["/bin/sh", "-c", 'cat "$1" > "$2"', "sh", world.path("data.txt"), world.source])
        assert world.read("--restart").status == DONE and world.end(writer).status == 0
        assert records(world.output)[-1]["end"] == len(data)


def status_text(world):
    (stream,) = json.loads(world.call(["status", "--json", "--store", world.store]).stdout)["streams"]
    return stream.get("text", "")


def test_a_stream_that_never_began_is_told_by_status(world):
    """It has no checkpoint, and stands among the others all the same; put right it is read."""
    put(world.source, gzip.compress(text(20000))[:500])
    world.refused(SOURCE, ["ends too early"])
    assert "ends too early" in status_text(world)
    put(world.source, text(20000))
    world.finish()
    assert status_text(world) == ""


def test_what_is_not_begun_is_told(world):
    """By status while it runs, and at the stop; with --restart the same command does not go on from there."""
    folder, count = world.path("in"), 40
    for i in range(count):
        put(os.path.join(folder, f"{i:02}.txt"), text(400000, i))
    command = [world.place.riverrun, "read", folder, "--model", world.model, "-o", world.out, "--quiet"]

    def waiting():
        answer = world.call(["status", "--json", "-o", world.out])
        return answer.status == DONE and 0 < json.loads(answer.stdout).get("not_begun", 0) < count
    for more, words in (([], "not begun: run the same command again to resume"),
                        (["--restart"], "not begun again: run the same command again without --restart to resume the others")):
        process = world.place.start(command + more)
        wait_until(lambda: waiting() or process.poll() is not None, "the first to begin")
        said = world.end(process, stop=True)
        assert said.status == STOPPED and f"of {count} streams {words}" in said.stderr, said.stderr


def test_names_that_are_no_utf8_are_escaped_in_json(world):
    """Of sources, folders and models, in every answer for programs; none is left out, and none ends the program."""
    world.source = world.path("in", os.fsdecode(b"caf\xe9.txt"))
    world.out, model = world.path(os.fsdecode(b"out\xe9")), world.path(os.fsdecode(b"model\xe9.safetensors"))
    out, where = world.path("out%E9"), ["-o", world.out]
    put(world.source, text(60000))
    put(model, get(world.model))

    def answer(*arguments, status=DONE):
        result = world.call([*arguments, "--json"])
        assert result.status == status, f"{arguments}: status {result.status}: {result.stderr}"
        assert "\N{REPLACEMENT CHARACTER}" not in result.stdout, result.stdout
        return json.loads(result.stdout)
    for said in (answer("read", world.source, "--model", model, *where, *world.options, "-q"), answer("status", *where)):
        assert [one["source"] for one in said["streams"]] == [world.path("in/caf%E9.txt")], said
    assert answer("report", world.out)["report"] == out + "/report.html"
    assert answer("embeddings", world.out)["array"] == out + "/embeddings.npy"
    assert answer("model", "info", model)["file"] == world.path("model%E9.safetensors")
    said = answer("eval", world.source, "--model", model)
    assert said["files"][0]["file"] == world.path("in/caf%E9.txt") and said["model"] == world.path("model%E9.safetensors")
    data = os.path.join(world.store, "data.mdb")
    put(data, bytes(len(get(data))))
    (found,) = answer("verify", *where, status=DAMAGED)["findings"]
    assert found["thing"] == out + "/state", found
    said = answer("repair", *where)
    assert said["repaired"] and out + "/state" in [one["thing"] for one in said["lines"]], said


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
