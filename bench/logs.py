#!/usr/bin/python3
"""bench/logs.py RIVERRUN MODEL LOGS [--hdfs-lines N] [PART...]: what novelty finds in labelled logs.

    block   HDFS_sample: of each block that lies in the last two thirds of the lines read (the first third settles, and no
            label of it is used) one score: the mean of its three highest lines. AUROC over blocks, and the best F1 of any
            threshold (which flatters every row alike).
    line    BGL_2k without its label column: AUROC and best F1 of the lines behind the first 200; the same with the first line of
            each run of one category alone, and the first of each category, since who adapts finds the others usual.
    false   alerts per 1,000 lines on BGL_head and Thunderbird_2k, where every line is normal, at 1 and 10 asked for.
    builds  three failed package builds: how far from the lines that state the cause (BUILDS, after the contributor's words) the
            ten most surprising passages lie: the nearest, which of the ten that is, how many are within NEAR_LINES.
    templates  the miner alone, against the templates of eight logs of loghub.

Beside novelty, from the same records of the same run: its two halves alone, surprisal per byte, surprise, and as
baselines new-template detection (1 where the template is new, by the same miner), the line's length, and a byte n-gram
model that learns as it goes (orders 0 to 4, each mixed with the one below by its counts; bits a byte). Prints Markdown.
"""
import argparse
import collections
import csv
import json
import lzma
import math
import os
import re
import subprocess
import tempfile

# The log, and what the lines of its cause have.
BUILDS = {"21ad14e5": ("build.log", rb"undefined reference to `(gf_)?estimate_kernel'"),
          "449ca0a3": ("build.log", rb"MsgHandler\.h:\d+:\d+: error:"),
          "bd0afcc7": ("builder-live.log", rb"undefined method 'to_model'")}
NEAR_LINES, PASSAGES = 5, 10
SETTLE_LINES = 200  # of BGL_2k, whose 2,000 lines cannot spare a third


def lines_of(data):
    return [line for line in data.replace(b"\r\n", b"\n").split(b"\n") if line.strip()]


class Ngram:
    """Bytes from the four before them: p_k = (count + c p_k-1) / (total + c), c the distinct followers (Witten-Bell)."""

    ORDER = 4

    def __init__(self):
        self.follow = collections.defaultdict(dict)

    def bits(self, line):
        data, sum_bits = b"\n" * self.ORDER + line + b"\n", 0.0
        for at in range(self.ORDER, len(data)):
            byte, p, seen = data[at], 1 / 256, []
            for order in range(self.ORDER + 1):
                counts = self.follow[data[at - order:at]]
                if counts:
                    total = counts[-1]
                    p = (counts.get(byte, 0) + (len(counts) - 1) * p) / (total + len(counts) - 1)
                seen.append(counts)
            sum_bits -= math.log2(p)
            for counts in seen:
                counts[byte] = counts.get(byte, 0) + 1
                counts[-1] = counts.get(-1, 0) + 1
        return sum_bits / (len(line) + 1)


def read_log(arguments, lines, rate=1):
    """The records of lines, each with its alert under "alert"."""
    with tempfile.TemporaryDirectory(prefix="riverrun-logs-") as folder:
        path = os.path.join(folder, "log")
        with open(path, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        subprocess.run([arguments.riverrun, "read", path, "--name", "log", "--unit", "line", "-q", "--model",
                        arguments.model, "--alerts-per-1000", str(rate), "-o", os.path.join(folder, "out")], check=True)
        records = []
        with open(os.path.join(folder, "out", "log.jsonl"), encoding="utf-8") as file:
            for record in map(json.loads, file):
                if record["kind"] == "line":
                    records.append(record)
                elif record["kind"] == "alert":
                    records[-1]["alert"] = record
    assert len(records) == len(lines), (len(records), len(lines))
    return records


def scores_of(lines, records):
    """For each way to score, a number for each line: higher is more novel."""
    ngram, scores = Ngram(), collections.defaultdict(list)
    for number, (line, record) in enumerate(zip(lines, records)):
        rarity = math.log2((number + 2) / (record["template_count"] - 0.5))
        scores["novelty"].append(record["novelty"])
        scores["its rarity alone"].append(rarity)
        scores["its excess alone"].append(record["novelty"] - rarity)
        scores["surprisal, bits a byte"].append(record["bits_per_byte"])
        scores["surprisal, bits a line"].append(record["nats"])
        scores["`surprise`"].append(record["surprise"] or 0)
        scores["new template"].append(float(record["template_count"] == 1))
        scores["length of the line"].append(len(line))
        scores["byte n-grams, bits a byte"].append(ngram.bits(line))
    return scores


def auroc(scores, labels):
    """The chance that an anomaly's score is above a normal one's; equal ones count a half."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    ranks, at = [0.0] * len(scores), 0
    while at < len(order):
        end = at
        while end < len(order) and scores[order[end]] == scores[order[at]]:
            end += 1
        for i in order[at:end]:
            ranks[i] = (at + end + 1) / 2
        at = end
    positive = sum(labels)
    negative = len(labels) - positive
    return (sum(rank for rank, label in zip(ranks, labels) if label) - positive * (positive + 1) / 2) / positive / negative


def best_f1(scores, labels):
    """Of all thresholds: F1, precision, recall."""
    order, found, best = sorted(range(len(scores)), key=lambda i: -scores[i]), 0, (0.0, 0.0, 0.0)
    for place, i in enumerate(order, 1):
        found += labels[i]
        if place < len(order) and scores[order[place]] == scores[i]:
            continue
        best = max(best, (2 * found / (place + sum(labels)), found / place, found / sum(labels)))
    return best


def table(title, columns, rows):
    print(f"\n{title}\n\n| score | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def block_score(values):
    best = sorted(values)[-3:]
    return sum(best) / len(best)


def blocks(arguments):
    folder = os.path.join(arguments.logs, "HDFS_sample")
    with lzma.open(os.path.join(folder, "HDFS_sample.log.xz")) as file:
        lines = lines_of(file.read())
    with lzma.open(os.path.join(folder, "line_block_label.tsv.xz"), "rt") as file:
        rows = [row.rstrip("\n").split("\t") for row in file]
    rows = rows[len(rows) - len(lines):]  # without a heading, if there is one
    whole = len(lines)
    count = min(arguments.hdfs_lines or whole, whole)
    first, last, labels, of_line = {}, {}, {}, []
    for number, row in enumerate(rows):
        block = next(field for field in row if field.startswith("blk_"))
        first.setdefault(block, number)
        last[block] = number
        labels[block] = int(row[-1] in ("1", "Anomaly"))
        of_line.append(block)
    assert all(block.encode() in line for block, line in zip(of_line[:1000], lines[:1000]))
    chosen = [block for block in first if first[block] >= count // 3 and last[block] < count]
    scores = scores_of(lines[:count], read_log(arguments, lines[:count]))
    wanted, truth, out = set(chosen), [labels[block] for block in chosen], {}
    for name, values in scores.items():
        of_block = collections.defaultdict(list)
        for block, value in zip(of_line, values):
            if block in wanted:
                of_block[block].append(value)
        values = [block_score(of_block[block]) for block in chosen]
        f1, precision, recall = best_f1(values, truth)
        out[name] = [f"{auroc(values, truth):.3f}", f"{f1:.3f}", f"{precision:.2f} / {recall:.2f}"]
    table(f"HDFS_sample, {count} of {whole} lines: {len(chosen)} blocks behind the first third, {sum(truth)} anomalous",
          ["AUROC", "best F1", "precision / recall there"], out)


def bgl_lines(arguments):
    with open(os.path.join(arguments.logs, "BGL/BGL_2k.log"), "rb") as file:
        whole = lines_of(file.read())
    labels = [line.split(b" ", 1)[0] for line in whole]
    lines = [line.split(b" ", 1)[1] for line in whole]
    scores, out = scores_of(lines, read_log(arguments, lines)), {}
    behind = range(SETTLE_LINES, len(lines))
    firsts = [i for i in behind if labels[i] == b"-" or labels[i] not in labels[:i]]
    starts = [i for i in behind if labels[i] == b"-" or labels[i] != labels[i - 1]]
    for name, values in scores.items():
        cells = []
        for chosen in (list(behind), starts, firsts):
            truth = [int(labels[i] != b"-") for i in chosen]
            of_chosen = [values[i] for i in chosen]
            cells += [f"{auroc(of_chosen, truth):.3f}", f"{best_f1(of_chosen, truth)[0]:.3f}"]
        out[name] = cells
    counts = [sum(labels[i] != b"-" for i in chosen) for chosen in (behind, starts, firsts)]
    table(f"BGL_2k without its labels: {len(behind)} lines behind the first {SETTLE_LINES}, {counts[0]} alerts, {counts[1]} "
          f"first of a run, {counts[2]} first of their category",
          ["AUROC", "best F1", "AUROC, first of a run", "F1", "AUROC, first of a category", "F1"], out)


def false_alarms(arguments):
    out = {}
    for name, path in (("BGL_head", "BGL_head/BGL_5000.log"), ("Thunderbird_2k", "Thunderbird/Thunderbird_2k.log")):
        with open(os.path.join(arguments.logs, path), "rb") as file:
            whole = lines_of(file.read())
        assert all(line.startswith(b"- ") for line in whole), name
        lines = [line.split(b" ", 1)[1] for line in whole]
        for rate in (1, 10):
            records = read_log(arguments, lines, rate)
            alerts = [record["alert"] for record in records if "alert" in record]
            new = sum(record["template_count"] == 1 for record in records)
            reasons = collections.Counter(re.sub(r"[0-9.,]+", "N", alert["reason"]) for alert in alerts)
            out[f"{name}, {rate} asked for"] = [
                str(len(lines)), f"{len(alerts)}", f"{1000 * len(alerts) / len(lines):.2f}", f"{1000 * new / len(lines):.1f}",
                "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3))]
    table("False alarms where every line is normal", ["lines", "alerts", "per 1,000 lines", "new templates per 1,000", "reasons"], out)


def passages(values):
    """The places of the highest values, none within NEAR_LINES of a higher one."""
    chosen = []
    for i in sorted(range(len(values)), key=lambda i: -values[i]):
        if all(abs(i - other) > NEAR_LINES for other in chosen):
            chosen.append(i)
            if len(chosen) == PASSAGES:
                break
    return chosen


def builds(arguments):
    for name, (file_name, pattern) in BUILDS.items():
        with open(os.path.join(arguments.logs, "rpm-build-failures", name, file_name), "rb") as file:
            lines = lines_of(file.read())
        causes, out = [i for i, line in enumerate(lines) if re.search(pattern, line)], {}
        scores = scores_of(lines, read_log(arguments, lines))
        scores["says error, fatal or fail"] = [float(bool(re.search(rb"(?i)error|fatal|fail", line))) for line in lines]
        for score, values in scores.items():
            away = [min(abs(i - cause) for cause in causes) for i in passages(values)]
            out[score] = [str(min(away)), str(away.index(min(away)) + 1), str(sum(d <= NEAR_LINES for d in away))]
        table(f"Build {name}: {len(lines)} lines, {len(causes)} of them state the cause",
              ["nearest passage, lines away", "which of the ten", f"within {NEAR_LINES} lines"], out)


def templates(arguments):
    """Share of lines whose template holds exactly the lines of one true template."""
    out = {}
    for system in ("Apache", "BGL", "HDFS", "Linux", "OpenSSH", "Spark", "Thunderbird", "Zookeeper"):
        with open(os.path.join(arguments.logs, system, system + "_2k.log"), "rb") as file:
            lines = lines_of(file.read())
        if system in ("BGL", "Thunderbird"):
            lines = [line.split(b" ", 1)[1] for line in lines]
        with open(os.path.join(arguments.logs, system, system + "_2k.log_structured.csv"), encoding="utf-8",
                  newline="") as file:
            truth = [row["EventId"] for row in csv.DictReader(file)]
        ours, theirs = collections.defaultdict(set), collections.defaultdict(set)
        for i, record in enumerate(read_log(arguments, lines)):
            ours[record["template_id"]].add(i)
            theirs[truth[i]].add(i)
        exact = {frozenset(group) for group in theirs.values()}
        right = sum(len(group) for group in ours.values() if frozenset(group) in exact)
        out[system] = [str(len(ours)), str(len(theirs)), f"{right / len(lines):.3f}"]
    table("Templates of whole lines, headers and all", ["found", "true", "grouping accuracy"], out)


PARTS = {"line": bgl_lines, "false": false_alarms, "templates": templates, "builds": builds, "block": blocks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("riverrun")
    parser.add_argument("model")
    parser.add_argument("logs")
    parser.add_argument("--hdfs-lines", type=int, default=0, help="of 147,917; default: all")
    parser.add_argument("parts", nargs="*", help="of: " + " ".join(PARTS))
    arguments = parser.parse_args()
    print(f"Model: {os.path.basename(arguments.model)}")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments)


if __name__ == "__main__":
    main()
