"""Is Rationale Difficulty useful to people? RD against the human utility labels of Joshi et al.
2023 (ACL, Are Machine Rationales (Not) Useful to Humans?), github.com/INK-USC/RationaleHumanUtility.

    python3 benches/selection/utility.py STILLHOUSE DATA MODEL OUT

STILLHOUSE is the command, DATA the folder with rationale_utility.json and
generalisation_final_{dev,test}.json, MODEL a model folder or name, OUT a folder for the runs. A
rationale is useful (1) if people who were wrong before it are right after it, neutral (0) if they
are right before and after, and harmful (-1) if they are wrong after it. Shown are, for minus ln RD
(high should be useful): the mean of each group, the rank correlation with utility, and how often a
useful one stands above a harmful one (0.5 is chance), with a 95 % bootstrap interval over questions.
"""

import json
import math
import pathlib
import random
import subprocess
import sys

DATASET = """
name = "{name}"
source = "Joshi et al. 2023"
templated = true
order = "rationale-first"
prompt = "Question: {{{{ claim }}}}\\nAnswer:"

[fields]
id = "/id"
claim = "/question"
label = "/answer"

[answer]
kind = "yes-no"

[candidates]
list = "/rationales"
text = ""
"""

RUN = """
out = "{out}"
[data]
dataset = "{folder}/{name}.toml"
path = "{folder}/{name}.jsonl"
[data.split]
validation = 0.02
test = 0.001
near_duplicate = 1.0
[select]
method = {{ kind = "all" }}
record = ["rd", "rd-stripped", "rd-control", "perplexity"]
[student]
model = "{model}"
"""


def scores(command, folder, name, rows, model):
    """Scores by row id; the rows of the tiny test split are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(dict(id=str(at), **row)) for at, row in enumerate(rows)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.toml").write_text(DATASET.format(name=name))
    out = folder / f"run-{name}"
    run = folder / f"run-{name}.toml"
    run.write_text(RUN.format(out=out, folder=folder, name=name, model=model))
    subprocess.run([command, "run", str(run), "--to", "select", "--quiet"], check=True)
    found = {}
    for line in (out / "scores.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "answer" in record:
            found[int(record["example"])] = record
    return found


def ranks(values):
    order = sorted(range(len(values)), key=lambda at: values[at])
    found = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end + 1 < len(order) and values[order[end + 1]] == values[order[at]]:
            end += 1
        for place in order[at : end + 1]:
            found[place] = (at + end) / 2
        at = end + 1
    return found


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    cross = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    norm = math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))
    return cross / norm if norm else float("nan")


def above(pairs):
    """How often a useful one stands above a harmful one; ties count half."""
    useful = [value for value, utility in pairs if utility == 1]
    harmful = [value for value, utility in pairs if utility == -1]
    if not useful or not harmful:
        return float("nan")
    both = [value for value, _ in pairs if _ != 0]
    place = dict()
    for value, rank in zip(both, ranks(both)):
        place[value] = rank + 1
    sum_of_ranks = sum(place[value] for value in useful)
    n = len(useful)
    return (sum_of_ranks - n * (n + 1) / 2) / (n * len(harmful))


def line(title, rows):
    """One row of the table; rows are (question, value, utility)."""
    pairs = [(value, utility) for _, value, utility in rows]
    by_question = {}
    for question, value, utility in rows:
        by_question.setdefault(question, []).append((value, utility))
    questions, draw = list(by_question.values()), random.Random(7)
    drawn = []
    for _ in range(1000):
        sample = [pair for _ in questions for pair in draw.choice(questions)]
        drawn.append(above(sample))
    drawn = sorted(value for value in drawn if not math.isnan(value))
    group = lambda wanted: [value for value, utility in pairs if utility == wanted]
    means = [sum(own) / max(len(own), 1) for own in map(group, [1, 0, -1])]
    rho = spearman([v for v, _ in pairs], [u for _, u in pairs])
    low, high = drawn[25], drawn[974]
    cells = [f"{mean:+.4f}" for mean in means]
    cells += [f"{rho:+.3f}", f"{above(pairs):.3f} [{low:.3f}, {high:.3f}]", str(len(pairs))]
    print(f"| {title} | " + " | ".join(cells) + " |")


def main():
    command, data, model, out = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    out = pathlib.Path(out)
    rated = [json.loads(row) for row in (data / "rationale_utility.json").read_text().splitlines()]
    word = lambda truth: "yes" if truth else "no"
    own = [
        dict(question=r["question"], answer=word(r["ground_truth_label"]), rationales=[r["rationale"]])
        for r in rated
    ]
    siblings, parents = [], []
    variants = {}
    for split in ["dev", "test"]:
        variants |= json.loads((data / f"generalisation_final_{split}.json").read_text())
    for at, r in enumerate(rated):
        for question, answer, _ in variants.get(r["question"], []):
            answer = answer if isinstance(answer, bool) else str(answer).strip().lower() in ("yes", "true")
            siblings.append(dict(question=question, answer=word(answer), rationales=[r["rationale"]]))
            parents.append(at)
    found = scores(command, out, "own", own, model)
    of_siblings = scores(command, out, "siblings", siblings, model)

    print("| minus ln | useful | neutral | harmful | Spearman | useful above harmful | n |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    rows = lambda value: [
        (rated[at]["question"], value(record["answer"]), rated[at]["rationale_utility"])
        for at, record in found.items()
    ]
    line("RD", rows(lambda a: a["alone"] - a["given"]))
    line("RD, answer stripped", rows(lambda a: a["alone"] - a["stripped"]))
    control = lambda a: (a["told"] if a["mentions"] else a["alone"]) - a["given"]
    line("RD, against telling", rows(control))
    by_parent = {}
    for at, record in of_siblings.items():
        answer = record["answer"]
        by_parent.setdefault(parents[at], []).append(answer["alone"] - answer["given"])
    line(
        "RD on sibling questions",
        [
            (rated[at]["question"], sum(own) / len(own), rated[at]["rationale_utility"])
            for at, own in by_parent.items()
        ],
    )
    line("length in words", [(r["question"], len(r["rationale"].split()), r["rationale_utility"]) for r in rated])


main()
