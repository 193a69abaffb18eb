#!/usr/bin/python3
"""A crash at every named step of the protocol (schemas/step.h), at its first and its second reach, in
every situation that a run may find: the job run again writes the bytes of an undisturbed one.

Situations are prepared once, and copied for each crash."""
import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from e2e import (OTHER_SETTINGS, SOME_FAILED, SOURCE_CHANGED, STAGES, Job, Pipe, check, generated_text, main,
                 make_model, same, undisturbed, wait_for, write)

SIZE = 24000
QUICK = ["--unit", "line", "--checkpoint-seconds", "0.05", "--checkpoint-every", "3000"]
ONCE = {"store_epoch_raised": "a process takes ownership of its store once",
        "ingest_announce": "ingest of one process meets tokenize once"}


# Where sources grow: test_e2e_follow; of other commands: test_e2e_repair.
ELSEWHERE = ("ingest_journal", "repair_", "gc_")


def all_steps(place):
    done = subprocess.run([place.steps, "steps"], capture_output=True, check=True)
    return [step for step in done.stdout.decode().split() if not step.startswith(ELSEWHERE)]


def killed_in_the_middle(place, name, inputs, crash="encode_commit:4"):
    """A job that was killed when it had some checkpoints."""
    job = Job(place, name, inputs, options=QUICK)
    status = job.run(program=place.steps, crash=crash, want=-signal.SIGKILL)
    check(status and job.status()["tokens"] > 0 and job.status()["state"] == "stopped", "not in the middle")
    return job


def write_on(job, lines, bytes_more):
    """So many records beyond what the killed run has written, and so many bytes of the next one."""
    (name, data), = job.records().items()
    (whole,) = undisturbed(job.place, job.output + "-whole", job.inputs, options=QUICK).records().values()
    check(whole.startswith(data), "a killed run's output is no beginning")
    at = data.rfind(b"\n") + 1
    for _ in range(lines):
        at = whole.index(b"\n", at) + 1
    write(os.path.join(job.output, name), whole[:at + bytes_more])


def situation_fresh(place, source):
    return Job(place, "fresh", source, options=QUICK), []


def situation_resumed(place, source):
    """With records beyond the last checkpoint."""
    job = killed_in_the_middle(place, "resumed", source)
    write_on(job, 20, 0)
    return job, []


def situation_torn(place, source):
    """The output ends in the middle of a record, which begins as it should."""
    job = killed_in_the_middle(place, "torn", source)
    write_on(job, 3, 33)
    return job, []


def situation_garbage(place, source):
    """As a machine leaves a file whose size was durable before its bytes: zeros, and half a line."""
    job = killed_in_the_middle(place, "garbage", source)
    (name, data), = job.records().items()
    write(os.path.join(job.output, name), data + bytes(5000) + b'"half": 1}\n{"stream":')
    return job, []


def situation_restarted(place, source):
    """Begun with other texts, which are there no more."""
    folder = place.path("changing")
    os.makedirs(folder)
    for i in range(2):
        write(os.path.join(folder, f"{i}.txt"), generated_text(place.seed + 7 + i, SIZE * 2))
    job = killed_in_the_middle(place, "restarted", folder, crash="encode_commit:8")
    for i in range(2):
        write(os.path.join(folder, f"{i}.txt"), generated_text(place.seed + 9 + i, SIZE // (i + 1)))
    return job, ["--restart"]


def situation_accepted(place, source):
    """Another model goes on where the first one was killed, and a lineage record says so."""
    job = killed_in_the_middle(place, "accepted", source)
    write_on(job, 20, 9)
    job.model = make_model(place, "other.safetensors", "--seed", "9")
    return job, ["--accept-model"]


def situation_finished(place, source):
    job = Job(place, "finished", source, options=QUICK)
    job.run()
    return job, []


def situation_several(place, source):
    folder = place.path("texts")
    os.makedirs(folder)
    for i in range(5):
        write(os.path.join(folder, f"{i}.txt"), generated_text(place.seed + i, SIZE // 8 * (i % 3 + 1)))
    write(os.path.join(folder, "empty.txt"), b"")
    return Job(place, "several", folder, options=QUICK), []


SITUATIONS = (situation_fresh, situation_resumed, situation_torn, situation_garbage, situation_restarted,
              situation_accepted, situation_finished, situation_several)


def finish(job, more):
    """Run it to its end, as a user would: with --restart or the like where the run says so."""
    if job.run(want=(0, SOURCE_CHANGED, OTHER_SETTINGS, SOME_FAILED)):
        check(more, "a change is told that nobody made")
        job.run(*more)


def expected(job, more):
    """The records of job when nothing disturbs it from here on; of a new one where it begins again."""
    accepted = "--accept-model" in more
    want = job.copy(job.output + "-expected") if accepted else Job(job.place, job.output + "-expected",
                                                                   job.inputs, options=QUICK)
    want.run(*(more if accepted else []))
    want.validate()
    return want.records()


def crash_at_first_and_second(job, more, want, step):
    """Crash copies of job at step; returns the instants reached and the number of runs."""
    reached = set()
    for time in (1, 2):
        one = job.copy(f"{job.output}-{step}-{time}")
        status = one.run(*more, program=job.place.steps, crash=f"{step}:{time}", want=(0, -signal.SIGKILL))
        if status == 0:
            return reached, time  # and so it is not reached the second time either
        reached.add((step, time))
        finish(one, more)
        same(one, want, f"{os.path.basename(job.output)}, crash at {step}:{time}")
    return reached, 2


def crashed_at_every_step_at_its_first_and_second_reach(place):
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    steps, reached, runs = all_steps(place), set(), 0
    with ThreadPoolExecutor(2) as pool:
        for situation in SITUATIONS:
            job, more = situation(place, source)
            crash = functools.partial(crash_at_first_and_second, job, more, expected(job, more))
            for instants, count in pool.map(crash, steps):
                reached |= instants
                runs += count
    missed = [f"{step}:{time}" for step in steps for time in (1, 2)
              if (step, time) not in reached and not (time == 2 and step in ONCE)]
    check(not missed, f"never reached: {missed}")
    return f"{len(steps)} steps, {len(SITUATIONS)} situations, {len(reached)} instants, {runs} crash runs"


def owner_of(step):
    return "encode" if step.startswith("store") else step.split("_")[0]


def one_process_of_four_crashes_at_every_step(place):
    """The stage that owns the step crashes and is started again; the others live on. In one of two
    situations the step must be reached; what happens once in a stage's life is not asked for twice."""
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    jobs = [situation(place, source)[0] for situation in (situation_fresh, situation_torn)]
    want, steps = expected(jobs[0], []), all_steps(place)

    def crash(instant):
        step, time = instant
        for job in jobs:
            one = job.copy(f"{job.output}-{step}{time}")
            died = crash_one(place, one, step, time)
            same(one, want, f"four processes, {os.path.basename(job.output)}, crash at {step}:{time}")
            if died:
                return None
        return f"{step}:{time}"

    with ThreadPoolExecutor(3) as pool:  # most of it is waiting for sockets to connect again
        missed = set(pool.map(crash, [(step, time) for step in steps for time in (1, 2)]))
    wrong = {f"{step}:1" for step in steps} & missed
    check(not wrong, f"never reached: {sorted(wrong)}")
    return f"{2 * len(steps) - len(missed - {None})} instants"


def crash_one(place, job, step, time):
    stage = owner_of(step)
    pipe = Pipe(job, program=place.steps)
    pipe.start(*(name for name in STAGES if name != stage))
    pipe.start(stage, crash=f"{step}:{time}")
    wait_for(f"an end, or a crash at {step}:{time}", lambda: any(
        pipe.running[name].poll() is not None for name in (stage, "encode")))
    with contextlib.suppress(subprocess.TimeoutExpired):
        pipe.running[stage].wait(1)  # at its end every stage hears goodbye
    died = pipe.running[stage].poll() == -signal.SIGKILL
    if died and pipe.running["encode"].poll() != 0:
        pipe.start(stage)
    pipe.end()
    return died


def crashes_upon_crashes(place):
    """Random steps at random reaches, crash after crash, --restart and signals among them."""
    rng = random.Random(place.seed)
    steps, crashes = all_steps(place), 0
    text = place.path("changing.txt")
    for turn in range(place.times(8, 60)):
        texts = [generated_text(place.seed + 100 * turn + i, rng.randrange(SIZE)) for i in range(2)]
        write(text, texts[0])
        job, restart = Job(place, f"turn{turn}", text, options=QUICK), []
        for blow in range(12):
            if blow == 6:
                write(text, texts[1])
                restart = ["--restart"]
            crash = f"{rng.choice(steps)}:{rng.choice((1, 1, 2, 3, 5, 20))}"
            want = (0, -signal.SIGKILL, SOURCE_CHANGED)
            crashes += job.run(*(restart if rng.random() < 0.5 else []), program=place.steps, crash=crash,
                               want=want) == -signal.SIGKILL
        finish(job, restart or ["--restart"])
        same(job, expected(job, []), f"turn {turn}")
    return f"{crashes} crashes"


def processes_crash_upon_crashes(place):
    """All four started again and again in any order, each to crash at a random step of its own, while
    the others open, resume, or crash themselves."""
    rng = random.Random(place.seed)
    of_stage = {stage: [step for step in all_steps(place) if owner_of(step) == stage] for stage in STAGES}
    total = 0
    for turn in range(place.times(4, 30)):
        source = place.text(f"{turn}.txt", generated_text(place.seed + turn, rng.randrange(8 * SIZE)))
        job = Job(place, f"turn{turn}", source, options=QUICK)
        pipe, crashes = Pipe(job, program=place.steps), 0

        def start(stage):
            crash = f"{rng.choice(of_stage[stage])}:{rng.choice((1, 1, 1, 2, 2, 3, 8, 30))}"
            pipe.start(stage, crash=crash if crashes < 25 else None)

        def fallen():
            return [stage for stage in STAGES if pipe.running[stage].poll() is not None]

        for stage in rng.sample(STAGES, 4):
            start(stage)
        while pipe.running["encode"].poll() != 0:
            for stage in rng.sample(wait_for("an end, or a crash", fallen), 1):
                status = pipe.running[stage].poll()
                if status == 0 and stage != "encode":
                    status = place.end_of(pipe.running["encode"])  # who said goodbye
                    stage = "encode"
                check(status in (0, -signal.SIGKILL), f"{stage}: {status}: {place.said(pipe.running[stage])}")
                if status:
                    crashes += 1
                    start(stage)
        pipe.end()
        total += crashes
        same(job, expected(job, []), f"turn {turn}, {crashes} crashes")
    return f"{total} crashes"


CASES = (crashed_at_every_step_at_its_first_and_second_reach, one_process_of_four_crashes_at_every_step,
         crashes_upon_crashes, processes_crash_upon_crashes)

if __name__ == "__main__":
    sys.exit(main(CASES))
