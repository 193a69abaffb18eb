#!/usr/bin/python3
"""What the control socket answers, savepoints, branches, exports and imports: made at rest and beside a run, killed at
every step, damaged at every place; and what is read from a point on is what an undisturbed run reads there."""
import ctypes
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import validate_records
from e2e import (HANG_S, IN_USE, OTHER_SETTINGS, SOURCE_CHANGED, STOPPED, Follow, Job, Pipe, check, generated_text,
                 main, make_model, read, same, undisturbed, wait_for, write)

QUICK = ["--unit", "line", "--checkpoint-seconds", "0.05", "--checkpoint-every", "3000"]
USAGE, INPUT, ABSENT, SINK, DAMAGED, KILLED = 2, 6, 7, 14, 16, -signal.SIGKILL


def ask(job, *words, want=0, program=None, crash=None):
    """riverrun WORDS about a job's store, to its end; the exit status and what it said."""
    environment = {name: value for name, value in os.environ.items() if name != "RIVERRUN_CRASH"}
    if crash:
        environment["RIVERRUN_CRASH"] = crash
    done = subprocess.run([program or job.place.riverrun, *words, "--store", job.store], stdin=subprocess.DEVNULL,
                          capture_output=True, check=False, timeout=HANG_S, env=environment)
    wanted = (want,) if isinstance(want, int) else want
    check(done.returncode in wanted,
          f"{words}: exit status {done.returncode} instead of {want}: {done.stderr.decode()}")
    if done.returncode > 0:
        check(done.stderr.count(b"\n") == 1 and done.stderr.startswith(b"riverrun: "), f"{words}: {done.stderr}")
    return done


def history(job, stream):
    return json.loads(ask(job, "history", stream, "--json").stdout)


def savepoints(job, stream):
    """Name -> what history says, of those that are whole; one that is not is a failure."""
    points = history(job, stream)["savepoints"]
    check(not any("wrong" in point for point in points), f"savepoints of {stream}: {points}")
    return {point["name"]: point for point in points}


def lines_of(path):
    return [json.loads(line) for line in read(path).splitlines()]


def tail(data, first):
    """The lines from the first-th on."""
    return b"".join(data.splitlines(keepends=True)[first:])


def text_of(place, name, seed, size, unit="line"):
    """A text that ends at the boundary of a unit."""
    data = generated_text(place.seed + seed, size)
    return place.text(name, data + (b"The last of it.\n\n" if unit == "paragraph" else b"\n"))


def problems(job, stream, base):
    return validate_records.validate(os.path.join(job.output, stream + ".jsonl"), base=base)


def pause_without_emit(job, pipe):
    """The run has lost its emit when `pause` asks: the command, which waits."""
    wait_for("records", lambda: sum(map(len, job.records().values())) > 20000)
    pipe.kill("emit")
    wait_for("encode to miss emit", lambda: job.answer().get("waiting") == "emit is not there")
    return job.place.start([job.place.riverrun, "pause", "--all", "--store", job.store])


def status_answers_while_a_pause_waits_for_emit(place):
    """A pause is answered when it is durable, which takes as long as emit is away; `status` is not kept."""
    source = place.text("text.txt", generated_text(place.seed, 400000))
    want = undisturbed(place, "want", source, options=QUICK).records()
    job = Job(place, "out", source, options=QUICK)
    pipe = Pipe(job).start()
    pause = pause_without_emit(job, pipe)
    wait_for("a status beside the pause", lambda: "pausing" in (job.status() or {"text": ""})["text"])
    check(pause.poll() is None, "a pause was answered without emit")
    pipe.start("emit")
    check(place.end_of(pause) == 0, f"pause: {place.said(pause)}")
    check(job.status()["state"] == "paused", f"state {job.status()['state']}")
    job.control("resume")
    pipe.end()
    same(job, want, "paused without emit")


def a_pause_that_is_not_waited_for_any_more_stands(place):
    """The command gives up and says what is missing; the pause is made once that is there."""
    job = Job(place, "out", place.text("text.txt", generated_text(place.seed, 400000)), options=QUICK)
    pipe = Pipe(job).start()
    pause = pause_without_emit(job, pipe)
    check(place.end_of(pause) == ABSENT, "a pause was answered without emit")
    check("emit is not there; what was asked stands" in place.said(pause), place.said(pause))
    pipe.start("emit")
    wait_for("the pause", lambda: job.status()["state"] == "paused")


def a_question_ends_with_the_run_that_it_was_put_to(place):
    """A run that is killed before it answered is noticed, not waited for."""
    job = Job(place, "out", place.text("text.txt", generated_text(place.seed, 400000)), options=QUICK)
    pipe = Pipe(job).start()
    pause = pause_without_emit(job, pipe)
    wait_for("a status beside the pause", lambda: "pausing" in (job.status() or {"text": ""})["text"])
    pipe.kill("encode")
    check(place.end_of(pause) == ABSENT and "ended before it answered" in place.said(pause), place.said(pause))
    for stage in ("ingest", "tokenize"):
        pipe.kill(stage)


def a_savepoint_of_a_point_that_is_not_there_is_refused(place):
    """It is not said to be one already, at rest and beside a run; one that is there has its name already."""
    job = Job(place, "out", text_of(place, "text.txt", 1, 400000), options=[*QUICK, "--name", "text"])
    pipe = Pipe(Job(place, "out", job.inputs, options=QUICK))
    job.run(program=place.steps, crash="encode_committed:3", want=KILLED)
    ask(job, "savepoint", "text", "there")
    for beside in (False, True):
        if beside:
            pipe.start("encode")  # alone: it waits for its neighbours for ever
            wait_for("a run", lambda: job.answer().get("pid"))
        for point, words in (("WRONG", "no point 'WRONG'"), ("77777", "no such checkpoint"),
                             (str(2**64 - 1), "no such checkpoint"), ("9" * 30, "no such checkpoint")):
            said = ask(job, "savepoint", f"text@{point}", "new", want=ABSENT).stderr.decode()
            check(words in said, said)
        check("already" in ask(job, "savepoint", "text@there", "new", want=USAGE).stderr.decode(), "there")
    check(sorted(savepoints(job, "text")) == ["there"], f"{savepoints(job, 'text')}")
    pipe.kill("encode")


# ---- Branches ----

def a_branch_reads_as_the_stream_would_have_read_on(place):
    """Text A, a branch at its end, text B: the losses of B are, bit for bit, those of one stream over A and B."""
    units = 0
    for unit in ("line", "paragraph"):
        options = ["--unit", unit, "--checkpoint-seconds", "3600"]
        a, b = (text_of(place, f"{unit}-{name}", seed, 30000, unit) for name, seed in (("a", 1), ("b", 2)))
        both = place.text(f"{unit}-ab", read(a) + read(b))
        whole = undisturbed(place, f"whole-{unit}", both, options=[*options, "--name", "ab"])
        job = undisturbed(place, f"out-{unit}", a, options=[*options, "--name", "a"])
        before = job.records()
        ask(job, "savepoint", "a", "end")
        ask(job, "branch", "a@end", "b")
        first = history(job, "a")["checkpoints"][-1]  # nothing read yet, unless the run was so slow that it made several
        ask(job, "branch", f"a@{first['checkpoint']}", "early")
        for name in ("b", "early"):
            branch = Job(place, f"out-{unit}", b, options=[*options, "--name", name])
            branch.run()
            branch.run()  # finished is finished
        got = [record for record in lines_of(os.path.join(job.output, "b.jsonl")) if record["kind"] == unit]
        want = [record for record in lines_of(os.path.join(whole.output, "ab.jsonl")) if record["kind"] == unit]
        want = want[-len(got):]
        check(len(got) > 30 and got[0]["begin"] == 0, f"{len(got)} {unit}s")
        for one, other in zip(got, want):
            check(one["nats"] == other["nats"] and one["text"] == other["text"] and
                  one["begin"] + os.path.getsize(a) == other["begin"], f"{unit}: {one} instead of {other}")
        early = [record for record in lines_of(os.path.join(job.output, "early.jsonl")) if record["kind"] == unit]
        check(sum(one["nats"] != other["nats"] for one, other in zip(got, early)) > 1, "the state makes no difference")
        seq = got[0]["seq"]
        check(seq == lines_of(os.path.join(job.output, "a.jsonl"))[-1]["seq"] + 1, f"the branch begins at {seq}")
        wrong = problems(job, "b", seq) + problems(job, "early", first["records"])
        check(not wrong, f"{wrong[:3]}")
        check(all(job.records()[name] == data for name, data in before.items()), "the branched stream was touched")
        said = {one["stream"]: one for one in job.statuses()}
        table = ask(job, "history", "b").stdout.decode().splitlines()
        check(table[0] == "branched from a@end" and any(row.startswith("origin ") for row in table), f"{table}")
        check(said["b"]["state"] == "finished" and history(job, "b")["checkpoints"][0]["branched_from"] == "a@end",
              f"{said['b']}")
        units += len(got)
    return f"{units} units"


def a_branch_is_begun_again_where_it_was_branched(place):
    """--restart of a branch. Its unit is its own matter, its model is not."""
    a, b = text_of(place, "a", 1, 20000), text_of(place, "b", 2, 40000)
    job = undisturbed(place, "out", a, options=[*QUICK, "--name", "a"])
    ask(job, "branch", "a", "b")
    branch = Job(place, "out", b, options=[*QUICK, "--name", "b"])
    other = make_model(place, "other.safetensors", "--seed", "9")
    refused = Job(place, "out", b, model=other, options=[*QUICK, "--name", "b"])
    refused.run(want=OTHER_SETTINGS)
    process = refused.start("--restart")
    check(place.end_of(process) == OTHER_SETTINGS and "--restart" not in place.said(process), place.said(process))
    branch.run()
    want = branch.records()
    branch.run("--restart")
    same(branch, want, "begun again")
    for _ in range(4):
        branch.run("--restart", program=place.steps, crash="encode_commit:3", want=(0, KILLED))
    branch.run()
    same(branch, want, "begun again and killed")
    lines = Job(place, "out", b, options=["--unit", "paragraph", "--name", "c"])
    ask(job, "branch", "a", "c")
    lines.run()
    check(lines_of(os.path.join(job.output, "c.jsonl"))[0]["kind"] == "paragraph", "no unit of its own")
    ask(job, "savepoint", "b", "origin", "--drop")
    branch.run("--restart", want=ABSENT)
    same(branch, {**want, "c.jsonl": branch.records()["c.jsonl"]}, "refused")


def a_branch_crashes_at_every_step(place):
    """Its first reading, killed at the first and second reach of every step, writes what it writes undisturbed."""
    a, b = text_of(place, "a", 1, 4000), text_of(place, "b", 2, 24000)
    first = undisturbed(place, "first", a, options=[*QUICK, "--name", "a"])
    ask(first, "branch", "a", "b")
    branch = Job(place, "first", b, options=[*QUICK, "--name", "b"])
    expected = branch.copy("expected")
    expected.run()
    want, steps = expected.records(), subprocess.run([place.steps, "steps"], capture_output=True,
                                                     check=True).stdout.decode().split()

    def crash(instant):
        one = branch.copy("crash-" + instant.replace(":", "-"))
        died = one.run(program=place.steps, crash=instant, want=(0, KILLED)) == KILLED
        one.run()
        same(one, want, f"crash at {instant}")
        shutil.rmtree(one.output)
        return died

    instants = [f"{step}:{reach}" for step in steps for reach in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        died = sum(pool.map(crash, instants))
    check(died > 30, f"{died} crashes of {len(instants)}")
    return f"{died} crashes"


# ---- Savepoints beside a run ----

def reads_on_elsewhere(job, stream, name, source, want, options):
    """A savepoint exported, imported into another store and read on: the rest of the undisturbed output."""
    file = os.path.join(job.output, f"{name}.export")
    ask(job, "export", f"{stream}@{name}", file)
    other = Job(job.place, f"{os.path.basename(job.output)}-{name}", source, options=options)
    ask(other, "import", file)
    first = history(other, stream)["checkpoints"][0]["records"]
    other.run()
    got = b"".join(other.records().values())  # of a finished point there is nothing more to write
    check(got == tail(want, first), f"savepoint {name} at record {first}: other bytes from there on")
    shutil.rmtree(other.output)
    return first


def points_of_a_running_stream_do_not_disturb_it(place):
    """Savepoints and branches while it is read: its output is undisturbed, each is right, and they outlive the
    checkpoints that they were copied from."""
    options = [*QUICK, "--name", "text"]
    source = text_of(place, "text.txt", 1, 600000)
    (want,) = undisturbed(place, "want", source, options=options).records().values()
    job, asked = Job(place, "out", source, options=options), 0
    process = job.start()
    job.wait_tokens(process, 2000)
    seen = []

    def tokens():
        return sum(one["tokens"] for one in job.statuses() if one["stream"] == "text")

    while asked < 6:
        seen.append(tokens())
        status = ask(job, "savepoint", "text", f"s{asked}", want=(0, 3, ABSENT)).returncode
        if status:
            break  # through already
        asked += 1
        if ask(job, "branch", f"text@s{asked - 1}", f"branch{asked - 1}", want=(0, ABSENT)).returncode == ABSENT or \
                ask(job, "savepoint", "text", f"s{asked - 1}", want=(USAGE, ABSENT)).returncode == ABSENT:
            break  # through while it was asked
        for _ in range(5):  # what the run drops while it is listed is no point any more, and not a wrong one
            told = history(job, "text")["checkpoints"]
            check(told and not any("wrong" in one for one in told), told)
        goal = tokens() + 30000
        if wait_for(f"{goal} tokens", lambda: process.poll() is not None and "ended" or tokens() >= goal) == "ended":
            break
    check(place.end_of(process) == 0, place.said(process))
    check({name: data for name, data in job.records().items() if name == "text.jsonl"} == {"text.jsonl": want},
          "the stream was disturbed")
    points, kept = savepoints(job, "text"), [point["checkpoint"] for point in history(job, "text")["checkpoints"]]
    check(asked >= 3 and len(points) == asked, f"{asked} savepoints asked for, {len(points)} there")
    firsts = [reads_on_elsewhere(job, "text", name, source, want, options) for name in sorted(points)]
    check(firsts == sorted(set(firsts)), f"savepoints at records {firsts}")
    check(all(points[f"s{i}"]["tokens"] >= seen[i] for i in range(asked)), f"not made when asked for: {seen}, {points}")
    check(points["s0"]["checkpoint"] not in kept, "the first savepoint is still a checkpoint")
    # What was branched beside the run is what is branched from its savepoint at rest.
    other = place.text("other.txt", generated_text(place.seed + 5, 5000))
    ask(job, "branch", "text@s1", "rest")
    for name in ("branch1", "rest"):
        Job(place, "out", other, options=[*QUICK, "--name", name]).run()
    got = [read(os.path.join(job.output, name + ".jsonl")).replace(f'"{name}"'.encode(), b'"x"')
           for name in ("branch1", "rest")]
    check(got[0] == got[1] and len(got[0]) > 1000, "a branch beside a run is another than one at rest")
    return f"{asked} savepoints at records {firsts}"


def killed_at_every_step_while_points_are_made(place):
    """A run that is asked for savepoints and branches all the time dies at a step; what was answered is there, what is
    there is whole, and the run ends as undisturbed."""
    options = [*QUICK, "--name", "text"]
    source = text_of(place, "text.txt", 1, 60000)
    (want,) = undisturbed(place, "want", source, options=options).records().values()
    steps = subprocess.run([place.steps, "steps"], capture_output=True, check=True).stdout.decode().split()
    rng = random.Random(place.seed)

    def crash(instant):
        job, answered, turn = Job(place, "at-" + instant.replace(":", "-"), source, options=options), [], 0
        process = job.start(program=place.steps, crash=instant)
        while process.poll() is None:
            verb = (("savepoint", "text", f"s{turn}"), ("branch", "text", f"b{turn}"))[turn % 2]
            done = subprocess.run([place.riverrun, *verb, "--store", job.store], capture_output=True, check=False,
                                  timeout=HANG_S)
            if done.returncode == 0:
                answered.append(verb)
            turn += 1
        died = process.returncode == KILLED
        check(process.returncode in (0, KILLED), f"{instant}: {place.said(process)}")
        job.run()
        check(read(os.path.join(job.output, "text.jsonl")) == want, f"{instant}: other bytes")
        points = savepoints(job, "text")
        streams = {one["stream"] for one in job.statuses()}
        for verb, _, name in answered:
            check(name in (points if verb == "savepoint" else streams), f"{instant}: {verb} {name} was promised")
        if points:
            reads_on_elsewhere(job, "text", rng.choice(sorted(points)), source, want, options)
        shutil.rmtree(job.output)
        return died, len(points), len(answered)

    counts = (1, 2, 4, 7, 12)
    instants = [f"{step}:{count}" for step in steps for count in (counts if place.nightly else (rng.choice(counts),))]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(crash, instants))
    died, points = sum(one[0] for one in results), sum(one[1] for one in results)
    check(died > len(instants) // 2 and points > 10, f"{died} crashes, {points} savepoints")
    return f"{len(instants)} instants, {died} crashes, {points} savepoints, {sum(one[2] for one in results)} answers"


def commands_at_rest_are_killed_at_every_step(place):
    """savepoint, branch, drop and import without a run: done whole or not at all, and done when asked again."""
    source = text_of(place, "text.txt", 1, 9000)
    job = undisturbed(place, "out", source, options=[*QUICK, "--name", "text"])
    file = place.path("text.export")
    ask(job, "savepoint", "text", "there")
    ask(job, "export", "text@there", file)
    kills = 0
    instants = ("store_commit_begin:1", "store_commit_end:1", "store_epoch_raised:1",  # of the owner epoch
                "store_commit_begin:2", "store_commit_end:2")
    for turn, instant in enumerate(instants):
        for verb, after in (("savepoint", USAGE), ("branch", USAGE), ("drop", ABSENT), ("import", USAGE)):
            name = f"{verb}{turn}"
            words = {"savepoint": ("savepoint", "text", name), "branch": ("branch", "text@there", name),
                     "drop": ("savepoint", "text", name, "--drop"), "import": ("import", file, "--as", name)}[verb]
            if verb == "drop":
                ask(job, "savepoint", "text", name)
            ask(job, *words, program=place.steps, crash=instant, want=KILLED)
            durable = instant == "store_commit_end:2"
            ask(job, *words, want=after if durable else 0)
            kills += 1
            there = name in savepoints(job, "text") or name in {one["stream"] for one in job.statuses()}
            check(there == (verb != "drop"), f"{verb} killed at {instant}: {'there' if there else 'not there'}")
    got = set()
    for turn in range(len(instants)):
        Job(place, "out", source, options=[*QUICK, "--name", f"branch{turn}"]).run()
        got.add(read(os.path.join(job.output, f"branch{turn}.jsonl")).replace(f"branch{turn}".encode(), b"x"))
    check(len(got) == 1, "branches that were killed differ")
    return f"{kills} kills"


def a_branch_does_not_take_the_name_of_a_stream_of_the_run(place):
    """Of which the store knows nothing yet, since nothing was read of it."""
    paths = [place.text("a.log", b"The first.\n"), place.text("b.log", b"")]
    job, base = Follow(place, "out", paths, options=QUICK), place.folder.strip("/").replace("/", "+")
    process = job.start()
    wait_for("a record", lambda: os.path.isdir(job.output) and any(job.records().values()))
    said = ask(job, "branch", f"{base}+a.log", f"{base}+b.log", want=USAGE).stderr.decode()
    check("is there already" in said, said)
    write(paths[1], b"The second.\n")
    wait_for("its record", lambda: job.records().get(f"{base}+b.log.jsonl"))
    process.terminate()
    check(place.end_of(process) == STOPPED, place.said(process))


def points_of_a_followed_stream(place):
    """One that waits for more has a savepoint of all it read; a branch of it is followed, and reads on as it would."""
    lines, options = read(text_of(place, "all.txt", 1, 60000)), ["--checkpoint-seconds", "0.1", "--alerts-per-1000", "0"]
    cut = lines.index(b"\n", len(lines) // 2) + 1

    def follow(name, source):
        job = Job(place, "out", source, options=[*options, "--name", name])
        return job, place.start([place.riverrun, "follow", *job.command()[2:]])

    def count(name):
        path = os.path.join(place.path("out"), name + ".jsonl")
        return len(read(path).splitlines()) if os.path.exists(path) else 0

    first, second = place.text("first.log", lines[:cut]), place.text("second.log", lines[cut:])
    job, process = follow("log", first)
    wait_for("the lines that are there", lambda: count("log") == lines[:cut].count(b"\n"))
    ask(job, "savepoint", "log", "here")
    check(savepoints(job, "log")["here"]["offset"] == cut, f"{savepoints(job, 'log')}")
    ask(job, "branch", "log", "branch")
    with open(first, "ab") as file:
        file.write(lines[cut:])
    wait_for("all lines", lambda: count("log") == lines.count(b"\n"))
    process.terminate()
    place.end_of(process)
    job, process = follow("branch", second)
    wait_for("the branch's lines", lambda: count("branch") == lines[cut:].count(b"\n"))
    process.terminate()
    place.end_of(process)
    whole, rest = (lines_of(os.path.join(job.output, name + ".jsonl")) for name in ("log", "branch"))
    check(len(rest) > 20, f"{len(rest)} lines")
    check([one["seq"] for one in rest] == [one["seq"] for one in whole[-len(rest):]], "the branch's numbers")
    check([one["nats"] for one in rest] == [one["nats"] for one in whole[-len(rest):]], "the branch's losses")
    return f"{len(rest)} lines"


# ---- Export and import ----

def an_export_goes_on_in_another_store(place):
    """A run dies; its newest checkpoint is carried to another store and read on: joined, the undisturbed bytes."""
    options = [*QUICK, "--name", "text"]
    source = text_of(place, "text.txt", 1, 60000)
    (want,) = undisturbed(place, "want", source, options=options).records().values()
    job = Job(place, "out", source, options=options)
    job.run(program=place.steps, crash="encode_committed:6", want=KILLED)
    file = place.path("point.export")
    ask(job, "export", "text", file)
    moved = place.text("moved.txt", read(source))
    other = Job(place, "elsewhere", moved, options=options)
    ask(other, "import", file)
    first = history(other, "text")["checkpoints"][0]["records"]
    check(0 < first < want.count(b"\n"), f"exported at record {first}")
    for crash in ("encode_commit:2", "emit_fsync_end:3"):
        other.run(program=place.steps, crash=crash, want=(0, KILLED))
    other.run()
    old = b"".join(read(os.path.join(job.output, "text.jsonl")).splitlines(keepends=True)[:first])
    check(old + other.records()["text.jsonl"] == want, "joined, they are not the undisturbed output")
    wrong = problems(other, "text", first)
    check(not wrong, f"{wrong[:3]}")
    # Refusals, each of which leaves what is there.
    ask(other, "import", file, want=USAGE)
    ask(other, "import", file, "--as", "a/b", want=USAGE)
    ask(other, "import", file, "--as", "other")
    write(moved, b"!" + read(source)[1:])
    changed = Job(place, "elsewhere", moved, options=[*QUICK, "--name", "other"])
    changed.run(want=SOURCE_CHANGED)
    write(moved, read(source))
    model = make_model(place, "other.safetensors", "--seed", "9")
    Job(place, "elsewhere", moved, model=model, options=[*QUICK, "--name", "other"]).run(want=OTHER_SETTINGS)
    changed.run()
    check(read(os.path.join(other.output, "other.jsonl")).replace(b'"other"', b'"text"') == tail(want, first),
          "under another name")
    return f"joined at record {first} of {len(want.splitlines())}"


def ask_out(job, out, name):
    """Export to what standard output is."""
    subprocess.run([job.place.riverrun, "export", "text", name, "--store", job.store], stdout=out,
                   stderr=subprocess.PIPE, check=True, timeout=HANG_S)


def an_export_to_standard_output_is_the_file(place):
    """A pipe and a file, by each name; what is said of it is beside it."""
    job = undisturbed(place, "out", text_of(place, "text.txt", 1, 9000), options=[*QUICK, "--name", "text"])
    file, redirected = place.path("point.export"), place.path("redirected")
    ask(job, "export", "text", file)
    for name in ("-", "/dev/stdout"):
        for more in ((), ("--json",)):
            done = ask(job, "export", "text", name, *more)
            check(done.stdout == read(file), f"{name}: {len(done.stdout)} bytes of {len(read(file))}")
            check(b"exported stream 'text'" in done.stderr, f"{name}: {done.stderr}")
            with open(redirected, "wb") as out:
                said = subprocess.run([place.riverrun, "export", "text", name, "--store", job.store, *more], stdout=out,
                                      stderr=subprocess.PIPE, check=True, timeout=HANG_S).stderr
            check(read(redirected) == read(file) and said == done.stderr, f"{name}, redirected: {said}")
        with open(redirected, "wb") as out:  # what others write there stays, before and behind it
            subprocess.run(f"echo head; {place.riverrun} export text {name} --store {job.store}; echo tail", shell=True,
                           stdout=out, stderr=subprocess.PIPE, check=True, timeout=HANG_S)
        check(read(redirected) == b"head\n" + read(file) + b"tail\n", f"{name}, between others")
        with open(redirected, "ab") as out:
            ask_out(job, out, name)
        check(read(redirected) == b"head\n" + read(file) + b"tail\n" + read(file), f"{name}, appended")
        with tempfile.TemporaryFile() as out:  # without a name
            ask_out(job, out, name)
            out.seek(0)
            check(out.read() == read(file), f"{name}, a file without a name")
        done = subprocess.run(f"{place.riverrun} export text {name} --store {job.store} >&-", shell=True, check=False,
                              stderr=subprocess.PIPE, timeout=HANG_S)
        check(done.returncode == SINK, f"{name}, closed: {done}")
    check(b"exported" in ask(job, "export", "text", file).stdout, "nothing is said of a file")
    check(os.path.islink("/dev/stdout"), "/dev/stdout is no link any more")


def an_export_does_not_take_the_place_of_a_link(place):
    """Through a link its file is written; a link to no file is refused."""
    job = undisturbed(place, "out", text_of(place, "text.txt", 1, 9000), options=[*QUICK, "--name", "text"])
    file, link = place.path("point.export"), place.path("link")
    os.symlink(file, link)
    ask(job, "export", "text", link, want=SINK)
    check(os.path.islink(link) and not os.path.exists(file), "a link to no file")
    write(file, b"")
    ask(job, "export", "text", link)
    check(os.path.islink(link) and os.path.getsize(file) > 0, "a link to a file")


def a_stream_is_named_by_its_file_too(place):
    """By any path of it, or the end of its name alone where that is one stream's; @POINT behind it as behind a name."""
    for folder in ("a", "b"):
        os.makedirs(place.path(folder))
        place.text(os.path.join(folder, "book.txt"), f"The book of {folder}.\n".encode())
    place.text("a/one@home.txt", b"Another.\n")
    os.symlink("a", place.path("link"))
    job = Job(place, "out", [place.path("a"), place.path("b")], options=QUICK)
    job.run()
    base = place.folder.strip("/").replace("/", "+")
    for words, stream in ((("a/book.txt",), "a+book.txt"), (("link/book.txt",), "a+book.txt"),
                          (("one@home.txt",), "a+one@home.txt"), (("b+book.txt",), "b+book.txt"),
                          ((place.path("b/book.txt"),), "b+book.txt"), ((f"{base}+b+book.txt",), "b+book.txt")):
        path = os.path.join(place.folder, words[0]) if "/" in words[0] else words[0]
        check(history(job, path)["stream"] == f"{base}+{stream}", f"{words}: {history(job, path)}")
    for name in ("ook.txt", "c/book.txt", ""):
        ask(job, "history", name, want=ABSENT)
    for words in (["history"], ["show"], ["pause"], ["export", place.path("x")], ["savepoint", "x"]):
        said = ask(job, words[0], "book.txt", *words[1:], want=USAGE).stderr.decode()
        check(f"'{base}+a+book.txt' and '{base}+b+book.txt' end so" in said, said)
    ask(job, "savepoint", "one@home.txt", "here")
    check("here" in savepoints(job, "one@home.txt"), "no savepoint")
    ask(job, "export", "one@home.txt@here", place.path("point"))
    ask(job, "branch", "one@home.txt@here", "sequel")
    shown = subprocess.run([place.riverrun, "show", "one@home.txt", "-o", job.output], check=True, capture_output=True,
                           timeout=HANG_S)
    check(shown.stdout.strip() == b"Another.", shown)
    ask(job, "pause", place.path("a/book.txt"), "one@home.txt")


def import_needs_a_store_that_nobody_runs(place):
    source = text_of(place, "text.txt", 1, 400000)
    job = undisturbed(place, "done", place.text("small.txt", b"small\n"), options=[*QUICK, "--name", "small"])
    file = place.path("point.export")
    ask(job, "export", "small", file)
    pipe = Pipe(Job(place, "out", source, options=QUICK))
    pipe.start("encode")  # alone: it waits for its neighbours for ever
    wait_for("a store", lambda: pipe.job.answer().get("pid"))
    done = ask(pipe.job, "import", file, want=IN_USE)
    check(b"stop" in done.stderr, f"{done.stderr}")
    pipe.running["encode"].terminate()
    place.end_of(pipe.running["encode"])
    ask(pipe.job, "import", file)


def a_damaged_export_is_refused_whole(place):
    """Bits flipped through the whole file, and every so many lengths of it: nothing is imported."""
    source = text_of(place, "text.txt", 1, 9000)
    job = undisturbed(place, "out", source, options=[*QUICK, "--name", "text"])
    file = place.path("point.export")
    ask(job, "export", "text", file)
    data, rng, tried = read(file), random.Random(place.seed), 0
    other = Job(place, "other", source)
    ask(other, "import", file, "--as", "before")
    places = sorted({*range(40), *rng.sample(range(len(data)), place.times(120, 400)), len(data) - 1})
    lengths = sorted({0, 1, 7, 8, 23, 24, *rng.sample(range(len(data)), 30), len(data) - 1})
    broken = place.path("broken.export")
    for at in places:
        write(broken, data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:])
        ask(other, "import", broken, want=INPUT if at < 8 else DAMAGED)
        tried += 1
    for length in lengths:
        write(broken, data[:length])
        ask(other, "import", broken, want=INPUT if length < 8 else DAMAGED)
        tried += 1
    write(broken, data + b"x")
    ask(other, "import", broken, want=DAMAGED)
    check([one["stream"] for one in other.statuses()] == ["before"], f"{other.statuses()}")
    ask(other, "import", file)
    return f"{tried} damaged files"


def xxhash():
    hashes = ctypes.CDLL("libxxhash.so.0")
    for function in (hashes.XXH3_64bits, hashes.XXH3_64bits_withSeed):
        function.restype = ctypes.c_uint64
    hashes.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    hashes.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return hashes


def renamed(data, name):
    """An export whose stream has another name, with checksums that fit."""
    hashes, (was, point) = xxhash(), struct.unpack_from("<II", data, 16)
    head = data[:16] + struct.pack("<II", len(name), point) + name + data[24 + was:24 + was + point]
    whole = head + struct.pack("<Q", hashes.XXH3_64bits(head, len(head))) + data[24 + was + point + 8:-8]
    return whole + struct.pack("<Q", hashes.XXH3_64bits(whole, len(whole)))


def mended(data, piece):
    """An export whose last piece is another, with checksums that fit."""
    hashes = xxhash()
    count, name, point = struct.unpack_from("<III", data, 12)
    at = 24 + name + point + 8
    for _ in range(count - 1):
        at += 16 + struct.unpack_from("<Q", data, at)[0]
    whole = data[:at] + struct.pack("<Q", len(piece)) + piece
    whole += struct.pack("<Q", hashes.XXH3_64bits_withSeed(piece, len(piece), count))
    return whole + struct.pack("<Q", hashes.XXH3_64bits(whole, len(whole)))


def an_export_of_a_name_that_is_none_is_refused(place):
    """Whoever made the file chose it: it is not printed; another can be given."""
    job = Job(place, "out", text_of(place, "text.txt", 1, 9000), options=[*QUICK, "--name", "text"])
    job.run(program=place.steps, crash="encode_committed:3", want=KILLED)
    file, named = place.path("point.export"), place.path("named")
    ask(job, "export", "text", file)
    for i, name in enumerate((b"a\0b", b"\x1b[2J", b"a\x7f", b"x\xc2\x9b2J", b"a/b", b"../x", b"\xff", b"n" * 250)):
        write(named, renamed(read(file), name))
        said = ask(job, "import", named, want=USAGE).stderr
        check(b"--as" in said and name not in said and b"\x1b" not in said, f"{name}: {said}")
        ask(job, "import", named, "--as", f"given{i}")
    ask(job, "import", file, "--as", "x\x9b2J", want=USAGE)


def a_state_that_is_none_is_refused(place):
    """A file whose checksums fit, and whose state is too short or too long for the model: one line, nothing read."""
    source = text_of(place, "text.txt", 1, 9000)
    job = Job(place, "out", source, options=[*QUICK, "--name", "text"])
    job.run(program=place.steps, crash="encode_committed:3", want=KILLED)
    file = place.path("point.export")
    ask(job, "export", "text", file)
    ask(job, "branch", "text", "branch")
    ask(job, "export", "branch", place.path("branch.export"))
    for name in (file, place.path("branch.export")):
        for size in (0, 100, 1000000):
            write(place.path("mended"), mended(read(name), b"s" * size))
            other = Job(place, f"{os.path.basename(name)}-{size}", source, options=[*QUICK, "--name", "text"])
            ask(other, "import", place.path("mended"), "--as", "text")
            other.run(want=(DAMAGED, OTHER_SETTINGS))
            check(not b"".join(other.records().values()), "records of a state that is none")
    # Checkpoint 0 is metadata alone: with a field `branched_from` that would reach the terminal.
    ask(job, "export", "text@1", file)
    data, text = read(file), b"\x1b[2J"
    name, point = struct.unpack_from("<II", data, 16)
    at = 24 + name + point + 16
    meta = data[at:at + struct.unpack_from("<Q", data, at - 8)[0]] + bytes([0xA2, 1, len(text)]) + text
    write(file, mended(data, meta))
    ask(job, "import", file, "--as", "terminal", want=DAMAGED)
    write(file, mended(data, meta[:-len(text)] + b"text"))
    ask(job, "import", file, "--as", "terminal")
    # The same in a field `reader` of the fingerprints: a second message of a field is merged with the first.
    reader = bytes([0x52, len(text) + 2, 0x4A, len(text)])
    write(file, mended(data, meta[:-len(text) - 3] + reader + text))
    ask(job, "import", file, "--as", "reader", want=DAMAGED)
    write(file, mended(data, meta[:-len(text) - 3] + reader + b"text"))
    ask(job, "import", file, "--as", "reader")


CASES = (status_answers_while_a_pause_waits_for_emit, a_pause_that_is_not_waited_for_any_more_stands,
         a_question_ends_with_the_run_that_it_was_put_to, a_savepoint_of_a_point_that_is_not_there_is_refused,
         a_branch_reads_as_the_stream_would_have_read_on, a_branch_is_begun_again_where_it_was_branched,
         a_branch_crashes_at_every_step, points_of_a_running_stream_do_not_disturb_it,
         killed_at_every_step_while_points_are_made, commands_at_rest_are_killed_at_every_step,
         a_branch_does_not_take_the_name_of_a_stream_of_the_run, points_of_a_followed_stream,
         an_export_goes_on_in_another_store, an_export_to_standard_output_is_the_file,
         an_export_does_not_take_the_place_of_a_link, a_stream_is_named_by_its_file_too,
         import_needs_a_store_that_nobody_runs,
         a_damaged_export_is_refused_whole, an_export_of_a_name_that_is_none_is_refused, a_state_that_is_none_is_refused)

if __name__ == "__main__":
    sys.exit(main(CASES))
