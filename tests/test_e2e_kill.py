#!/usr/bin/python3
"""Killed, stopped, paused at any instant and run again: the bytes of an undisturbed run (promise P3),
and little work done twice.

A kill costs at most what was submitted since the place of the newest checkpoint: the interval
(--checkpoint-every), and what may go to the engine while the next checkpoint is on its way through
emit and the store, which is the window (WINDOW tokens, stages/encode/schedule.c)."""
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

from e2e import (HANG_S, IN_USE, SOME_FAILED, SOURCE_CHANGED, STAGES, STOPPED, USAGE, Job, Pipe, check,
                 generated_text, main, same, undisturbed, wait_for)

KILLS, EVERY, WINDOW = 60, 2000, 4096
SIZE = 1000000
SHORT = ["--checkpoint-seconds", "0.2", "--checkpoint-every", str(EVERY)]


def targets(place, tokens, count):
    """Instants spread over the run, as tokens done, in order."""
    rng = random.Random(place.seed)
    return sorted(rng.randrange(tokens) for _ in range(count))


def check_computed(job, what):
    one = job.status()
    most = one["tokens"] + job.kills * (EVERY + WINDOW)
    check(one["state"] == "finished", f"{what}: state {one['state']}")
    check(one["tokens"] <= one["computed"] <= most,
          f"{what}: {one['computed']} tokens computed for {one['tokens']} and {job.kills} kills: more "
          f"than {most}")
    return (f"{job.kills} kills, {one['tokens']} tokens, {one['computed'] - one['tokens']} computed twice: "
            f"{(one['computed'] - one['tokens']) / max(job.kills, 1):.0f} a kill, at most {EVERY + WINDOW}")


def kill_all_along(place, source, model=None, options=()):
    want = undisturbed(place, "undisturbed", source, model, options)
    job = Job(place, "killed", source, model, [*options, *SHORT])
    for target in targets(place, want.status()["tokens"], place.times(KILLS)):
        process = job.start()
        job.wait_tokens(process, target)
        job.kill(process)
    job.run()
    job.validate()
    same(job, want.records(), f"{job.kills} kills")
    return check_computed(job, "kill -9")


def killed_at_many_instants(place):
    return kill_all_along(place, place.text("text.txt", generated_text(place.seed, SIZE)))


def a_book_by_a_trained_model_killed_at_many_instants(place):
    model = place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin")
    return kill_all_along(place, place.book("frankenstein.en.txt"), model)


def generated_log(seed, lines):
    """Lines of 40 statements, some of them rare, of one that each line is new, and bytes that are no text."""
    rng = random.Random(seed)
    statements = [" ".join(rng.choices("disk link user session open closed error retry ünder port job".split(), k=5))
                  for _ in range(40)]
    log = []
    for number in range(lines):
        statement = statements[min(int(rng.expovariate(0.25)), 39)]
        if rng.random() < 0.003:
            statement = "".join(rng.choices("abcdefgh ", k=rng.randint(1, 6000)))
        log.append(f"Jun {number // 5000 + 1} 10:{number % 60:02}:07 host app[{number}]: {statement} "
                   f"{rng.getrandbits(16):x}".encode() + rng.choice((b"", b"", b"", b" \xff\xfe", b"\r")))
    return b"\n".join(log) + b"\n"


def a_log_with_all_its_analysis_killed_at_many_instants(place):
    """What the parts of the analysis have learnt comes back as it was, or a line would say another rank."""
    said = kill_all_along(place, place.text("app.log", generated_log(place.seed, 12000)),
                          options=["--unit", "line", "--alerts-per-1000", "20", "--summary-lines", "700"])
    (lines,) = Job(place, "killed", []).records().values()
    records = [json.loads(line) for line in lines.splitlines()]
    kinds = collections.Counter(record["kind"] for record in records)
    check(kinds["line"] == 12000 and kinds["alert"] > 50 and records[-1]["templates"] > 40, f"{kinds}, {records[-1]}")
    check(sum(record.get("surprise") is not None for record in records) > 10000, "no surprise")
    check(kinds["summary"] > 12 and sum(one["lines"] for one in records if one["kind"] == "summary") == 12000, f"{kinds}")
    return f"{kinds['alert']} alerts, {kinds['summary']} summaries, {records[-1]['templates']} templates; {said}"


def killed_in_its_first_moments(place):
    """Kills so early that little or nothing is done, at random moments: opening is what is hit."""
    rng = random.Random(place.seed)
    source = place.text("text.txt", generated_text(place.seed, SIZE // 4))
    want = undisturbed(place, "undisturbed", source, options=["--unit", "line"])
    job = Job(place, "killed", source, options=["--unit", "line", *SHORT])
    for _ in range(place.times(100, 600)):
        process = job.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.random() * 0.04)
        job.kill(process)
    job.run()
    same(job, want.records(), f"{job.kills} early kills")
    return check_computed(job, "early kills")


def one_of_four_processes_killed(place):
    """A stage at random is killed and started again; the others live. Only encode's loss costs work."""
    rng = random.Random(place.seed)
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source)
    job = Job(place, "killed", source, options=SHORT)
    pipe, killed = Pipe(job).start(), dict.fromkeys(STAGES, 0)
    for target in targets(place, want.status()["tokens"], place.times(KILLS)):
        if not job.wait_tokens(pipe.running["encode"], target):
            break
        for stage in rng.sample(STAGES, rng.choice((1, 1, 1, 2, 3, 4))):
            killed[stage] += pipe.kill(stage)
            pipe.start(stage)
    pipe.end()
    job.kills = killed["encode"]
    same(job, want.records(), f"kills {killed}")
    return f"{killed}; {check_computed(job, 'stages killed')}"


def a_stage_started_twice(place):
    """A second process of a stage, while the first one lives, does no harm: the endpoint, the store and the output
    are the first one's."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source)
    said = {}
    for stage in STAGES:
        job = Job(place, f"twice-{stage}", source, options=SHORT)
        pipe = Pipe(job).start()
        job.wait_tokens(pipe.running["encode"], SIZE // 4)
        first, ingest = pipe.running[stage], pipe.running["ingest"]
        if stage != "emit":  # one that is busy reads the text to its end before the second has begun
            ingest.send_signal(signal.SIGSTOP)
        pipe.start(stage)
        second = pipe.running[stage]
        wait_for("an end", lambda: second.poll() is not None or pipe.running["encode"].poll() is not None
                 or first.poll() is not None)
        said[stage] = [first.poll(), second.poll()]
        if stage != "emit":
            ingest.send_signal(signal.SIGCONT)
            wait_for("the first one's end", lambda: first.poll() is not None)
            check(first.poll() == 0, f"the first {stage}: exit status {first.poll()}: {place.said(first)}")
        for process in (second, first, *pipe.running.values()):
            place.kill(process)
        job.run()
        same(job, want.records(), f"{stage} started twice")
    for stage in STAGES[:3]:
        check(said[stage][1] == IN_USE, f"a second {stage}: exit status {said[stage][1]}")
    return f"exit statuses {said}"


def ingest_back_with_other_paths(place):
    """The stream is refused in one line, and goes on once ingest has its path again."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    other = place.text("other.txt", b"another text\n")
    want = undisturbed(place, "undisturbed", source).records()
    job = Job(place, "other", source, options=SHORT)
    pipe = Pipe(job).start()
    job.wait_tokens(pipe.running["encode"], SIZE // 4)
    pipe.kill("ingest")
    job.inputs = [other]
    pipe.start("ingest")
    pipe.end(want=SOME_FAILED)
    check("same paths" in place.said(pipe.running["encode"]), place.said(pipe.running["encode"]))
    (other_name,) = set(job.records()) - set(want)
    job.inputs = [source]
    job.run()
    os.remove(os.path.join(job.output, other_name))
    same(job, want, "ingest has its path again")


def ingest_and_encode_follow_both_or_neither(place):
    source = place.text("text.txt", generated_text(place.seed, SIZE // 20))
    for ingest, encode in ((["--follow"], []), ([], ["--follow"])):
        pipe = Pipe(Job(place, f"follow{len(ingest)}", source, options=encode), ingest=ingest).start()
        check(place.end_of(pipe.running["encode"]) == USAGE, place.said(pipe.running["encode"]))
        check("--follow" in place.said(pipe.running["encode"]), place.said(pipe.running["encode"]))


def a_signal_while_it_opens(place):
    """SIGTERM at random moments of a run's first 40 ms, and then to the end."""
    rng = random.Random(place.seed)
    source = place.text("text.txt", generated_text(place.seed, SIZE // 4))
    want = undisturbed(place, "undisturbed", source).records()
    job = Job(place, "stopped", source, options=SHORT)
    for _ in range(place.times(50, 300)):
        process = job.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.random() * 0.04)
        process.send_signal(rng.choice((signal.SIGTERM, signal.SIGINT)))
        status = place.end_of(process)
        check(status in (0, STOPPED, -signal.SIGTERM, -signal.SIGINT), f"{status}: {place.said(process)}")
    job.run()
    same(job, want, "signals while it opens")


def stages_started_in_any_order(place):
    rng = random.Random(place.seed)
    source = place.text("text.txt", generated_text(place.seed, SIZE // 20))
    want = undisturbed(place, "undisturbed", source).records()
    for turn in range(8):
        job = Job(place, f"order{turn}", source, options=SHORT)
        pipe = Pipe(job)
        for stage in rng.sample(STAGES, 4):
            pipe.start(stage)
            if rng.random() < 0.4:
                pipe.kill(stage)  # before it has met anybody
                pipe.start(stage)
        pipe.end()
        same(job, want, f"order {turn}")


def stopped_by_signals(place):
    """SIGTERM and SIGINT, once or twice: exit status 3, nothing lost. After one signal nothing is done
    twice either, for the last checkpoint is of the end."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source)
    job, slowest, stops = Job(place, "stopped", source, options=SHORT), 0.0, 0
    for i, target in enumerate(targets(place, want.status()["tokens"], 12)):
        process, twice = job.start(), i % 3 == 2
        if not job.wait_tokens(process, target):
            break
        begin = time.monotonic()
        process.send_signal(signal.SIGINT if i % 2 else signal.SIGTERM)
        if twice:
            process.send_signal(signal.SIGINT if i % 2 else signal.SIGTERM)
        status = place.end_of(process)
        slowest = max(slowest, time.monotonic() - begin)
        check(status in (0, STOPPED), f"exit status {status}: {place.said(process)}")
        stops += status == STOPPED
        job.kills += twice
        if status == STOPPED:
            check(job.status()["state"] == "stopped", f"state {job.status()['state']}")
    check(slowest < 10, f"{slowest:.1f} s from the signal to the end")
    check(stops, "no run was stopped by its signal")
    job.run()
    same(job, want.records(), "stopped by signals")
    return f"{stops} stops, slowest {slowest:.2f} s; {check_computed(job, 'signals')}"


def a_signal_costs_no_work(place):
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source).records()
    job = Job(place, "stopped", source, options=["--checkpoint-seconds", "600"])
    for target in (SIZE // 10, SIZE // 3):
        process = job.start()
        check(job.wait_tokens(process, target), "the run ended before it could be stopped")
        process.terminate()
        process.send_signal(signal.SIGINT)  # at once, which is no second thought
        check(place.end_of(process) == STOPPED, place.said(process))
    job.run()
    same(job, want, "stopped")
    one = job.status()
    check(one["computed"] == one["tokens"], f"{one['computed']} computed for {one['tokens']} tokens")


def a_signal_that_was_ignored_stays_so(place):
    """As under nohup, and behind `&` in a script."""
    job = Job(place, "nohup", place.text("text.txt", generated_text(place.seed, SIZE)), options=SHORT)
    ignored = (signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    process = job.start()
    for number, was in zip(ignored, before):
        signal.signal(number, was)
    for tokens in (SIZE // 20, SIZE // 10):
        check(job.wait_tokens(process, tokens), f"ended: {place.said(process)}")
        for number in ignored:
            process.send_signal(number)
    check(place.end_of(process) == 0, place.said(process))


def four_processes_stopped(place):
    """SIGTERM to encode stops the run; SIGTERM to another stage stops that one alone, and encode waits
    for it to come back."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source)
    tokens = want.status()["tokens"]
    job = Job(place, "stopped", source, options=SHORT)
    pipe = Pipe(job).start()
    for i, stage in enumerate(("ingest", "tokenize", "emit", "tokenize")):
        check(job.wait_tokens(pipe.running["encode"], tokens * (i + 1) // 12), "ended too early")
        pipe.running[stage].terminate()
        check(place.end_of(pipe.running[stage]) == STOPPED, f"{stage}: {place.said(pipe.running[stage])}")
        check(f"{stage} stopped: start it again" in place.said(pipe.running[stage]), place.said(pipe.running[stage]))
        pipe.start(stage)
    check(job.wait_tokens(pipe.running["encode"], tokens // 2), "ended too early")
    pipe.running["encode"].terminate()
    pipe.end(want=STOPPED)
    pipe.start().end()
    same(job, want.records(), "stages stopped")


def a_goodbye_is_heard_late(place):
    """Emit stands still while encode says goodbye: it hears it when it goes on, for encode goes last."""
    job = Job(place, "out", place.text("text.txt", generated_text(place.seed, SIZE)))
    pipe = Pipe(job).start()
    check(job.wait_tokens(pipe.running["encode"], 10000), "ended too early")
    pipe.running["emit"].send_signal(signal.SIGSTOP)
    pipe.running["encode"].terminate()
    for stage in ("tokenize", "ingest"):
        check(place.end_of(pipe.running[stage]) == 0, f"{stage}: {place.said(pipe.running[stage])}")
    pipe.running["emit"].send_signal(signal.SIGCONT)
    for stage, status in (("emit", 0), ("encode", STOPPED)):
        check(place.end_of(pipe.running[stage]) == status, f"{stage}: {place.said(pipe.running[stage])}")


def paused_and_resumed_while_it_runs(place):
    """From another process; the pause survives a restart and a kill."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source)
    tokens = want.status()["tokens"]
    job = Job(place, "paused", source, options=SHORT)
    process = job.start()
    for target in targets(place, tokens * 3 // 4, 6):
        check(job.wait_tokens(process, target), "ended too early")
        job.control("pause")
        check(job.status()["state"] == "paused", f"state {job.status()['state']} after pause")
        before = job.status()["tokens"]
        job.kill(process)
        process = job.start()
        wait_for("the paused stream is announced", lambda: any(
            one["state"] == "paused" for one in job.statuses()) and owned(place, job))
        check(job.status()["tokens"] == before, "it read on though paused")
        job.control("resume")
    check(place.end_of(process) == 0, place.said(process))
    same(job, want.records(), "paused and resumed")
    return check_computed(job, "pauses")


def owned(place, job):
    done = subprocess.run([place.riverrun, "status", "--json", "--store", job.store], capture_output=True,
                          check=False, timeout=HANG_S)
    return b'"running": true' in done.stdout


def a_run_that_stands_still_is_not_called_stopped(place):
    job = Job(place, "still", place.text("text.txt", generated_text(place.seed, SIZE)), options=SHORT)
    process = job.start()
    check(job.wait_tokens(process, SIZE // 10), "ended too early")
    process.send_signal(signal.SIGSTOP)
    answer = job.answer()
    check(answer["running"] and "does not answer" in answer["waiting"], f"{answer}")
    check([one["state"] for one in answer["streams"]] == ["unknown"], f"{answer}")
    job.kill(process)
    answer = job.answer()
    check(not answer["running"] and [one["state"] for one in answer["streams"]] == ["stopped"], f"{answer}")


def paused_while_nothing_runs(place):
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    want = undisturbed(place, "undisturbed", source)
    job = Job(place, "paused", source, options=SHORT)
    process = job.start()
    check(job.wait_tokens(process, SIZE // 10), "ended too early")
    job.kill(process)
    job.control("pause")
    check(job.status()["state"] == "paused", f"state {job.status()['state']}")
    before = job.records()
    process = job.start()
    wait_for("the run is there", lambda: owned(place, job))
    process.terminate()
    check(place.end_of(process) == STOPPED, "a run with everything paused stays until it is stopped")
    check(job.records() == before, "a paused stream was written to")
    job.control("resume")
    job.run()
    same(job, want.records(), "paused at rest")


def a_pause_that_was_answered_holds(place):
    """Whatever phase a stream is in when the pause comes: what was answered is durable, and a stream
    that is finished is finished."""
    rng = random.Random(place.seed)
    source = place.text("text.txt", generated_text(place.seed, SIZE // 8))
    want = undisturbed(place, "undisturbed", source).records()
    states = collections.Counter()
    for turn in range(place.times(24, 60)):
        job = Job(place, f"paused{turn}", source, options=SHORT)
        process = job.start()
        command = [place.riverrun, "pause", "--all", "--store", job.store]
        wait_for("the run", lambda: process.poll() is not None or owned(place, job))
        if turn % 2:
            job.wait_tokens(process, rng.randrange(SIZE // 8))
        answer = place.start(command)
        if turn % 3 == 0:
            process.send_signal(signal.SIGTERM)
        wait_for("an answer, or an end", lambda: answer.poll() is not None or process.poll() is not None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            answer.wait(1)  # an answer may be on its way; who comes too late for one is not waited for
        answered = answer.poll() == 0
        job.kill(process)
        place.kill(answer)
        state = (job.status() or {"state": "unknown"})["state"]
        if answered:
            check(state in ("paused", "finished"), f"turn {turn}: {state} though the pause was answered")
        states[state] += 1
        if state == "paused":
            job.control("resume")
        job.run()
        same(job, want, f"turn {turn}")
    return f"when the pause was answered, or was not: {dict(states)}"


def standard_input_fed_again(place):
    """`read -` is the document from its first byte: fed again after a kill, it goes on."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    name = ["--name", "text"]
    want = undisturbed(place, "undisturbed", source, options=name)
    job = Job(place, "killed", "-", options=[*name, *SHORT])
    for target in targets(place, want.status()["tokens"], 10):
        feeder = place.start(["cat", source], stdout=subprocess.PIPE)
        process = job.start(stdin=feeder.stdout)
        feeder.stdout.close()
        job.wait_tokens(process, target)
        job.kill(process)
        feeder.wait()
    with open(source, "rb") as standard_input:
        job.run(stdin=standard_input)
    same(job, want.records(), "standard input fed again")
    return check_computed(job, "standard input")


def other_standard_input_is_refused(place):
    data = generated_text(place.seed, SIZE)
    job = Job(place, "killed", "-", options=["--name", "text", *SHORT])
    with open(place.text("text.txt", data), "rb") as standard_input:
        process = job.start(stdin=standard_input)
        job.wait_tokens(process, SIZE // 10)
        job.kill(process)
    before = job.records()
    with open(place.text("other.txt", b"X" + data[1:]), "rb") as standard_input:
        job.run(stdin=standard_input, want=SOURCE_CHANGED)
    check(job.records() == before, "the output was touched")


def several_streams_killed(place):
    folder = place.path("texts")
    os.makedirs(folder)
    for i in range(20):
        with open(os.path.join(folder, f"{i}.txt"), "wb") as out:
            out.write(generated_text(place.seed + i, SIZE // 60 * (1 + i % 5)))
    want = undisturbed(place, "undisturbed", folder)
    tokens = sum(one["tokens"] for one in want.statuses())
    job = Job(place, "killed", folder, options=SHORT)
    for target in targets(place, tokens, 20):
        process = job.start()
        job.wait_tokens(process, target)
        job.kill(process)
    job.run()
    same(job, want.records(), "several streams")


CASES = (killed_at_many_instants, a_book_by_a_trained_model_killed_at_many_instants,
         a_log_with_all_its_analysis_killed_at_many_instants,
         killed_in_its_first_moments, one_of_four_processes_killed, stages_started_in_any_order,
         a_stage_started_twice, ingest_back_with_other_paths, ingest_and_encode_follow_both_or_neither,
         a_signal_while_it_opens, stopped_by_signals, a_signal_costs_no_work, a_signal_that_was_ignored_stays_so,
         four_processes_stopped, a_goodbye_is_heard_late,
         paused_and_resumed_while_it_runs, a_run_that_stands_still_is_not_called_stopped, paused_while_nothing_runs,
         a_pause_that_was_answered_holds, standard_input_fed_again, other_standard_input_is_refused,
         several_streams_killed)

if __name__ == "__main__":
    sys.exit(main(CASES))
