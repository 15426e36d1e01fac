"""Turns human judgements of explanations (Wiegreffe et al., NAACL 2022) into files for `--human`.

    python benches/peers/human_explanations.py \
        acceptability_annotations/snli_test.csv \
        fine_grained_absolute_quality_annotations/snli/esnli.csv OUT

Both files are of https://github.com/allenai/few_shot_explanations (Apache-2.0), folder `data`.
The first has five explanations by GPT-3 for each of 250 instances, and three people who say which
of them are acceptable; the second has a human reference for each instance.

Writes into the folder OUT:

- `PREDICTIONS.jsonl`: `id`, `system` (greedy, sample-0 to sample-3), `prediction`, `reference`,
  `claim` (the hypothesis), `evidence` (the premise);
- `RATINGS.jsonl`: `id`, `system`, `rating` (1 if this person accepts the explanation, else 0), one
  line a person.

An instance is joined by its id *and* its premise and hypothesis: another file of the same data set
(`snli_train.csv`) uses the same ids for other texts.
Prints what was joined and what was left out.
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

CANDIDATES = range(1, 6)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def key(row):
    """The id with what it stands for; white space does not matter."""
    texts = (row["Input.premise"], row["Input.hypothesis"])
    return (row["Input.id"], *(" ".join(text.split()) for text in texts))


def system(row, candidate):
    sample = row[f"Input.source_sample_{candidate}"]
    return sample if sample == "greedy" else f"sample-{sample}"


def write(path, records):
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    judged, references, out = sys.argv[1:]
    judged = rows(judged)
    references = {key(row): row["Input.explanation"].strip() for row in rows(references)}
    reference_ids = {id for id, _, _ in references}

    count = Counter()
    predictions, ratings = {}, []
    for row in judged:
        count["judgement lines"] += 1
        instance = key(row)
        reference = references.get(instance, "")
        if not reference:
            other = instance[0] in reference_ids
            count["lines left out: the id has another text" if other else "lines left out: no reference"] += 1
            continue
        accepted = {int(n) for n in row["Answer.acceptable"].split("|") if n}
        for candidate in CANDIDATES:
            text = row[f"Input.explanation_{candidate}"].strip()
            if not text:
                count["candidates left out: no text"] += 1
                continue
            name = system(row, candidate)
            known = predictions.setdefault((instance[0], name), {
                "id": instance[0],
                "system": name,
                "prediction": text,
                "reference": reference,
                "claim": row["Input.hypothesis"],
                "evidence": [row["Input.premise"]],
            })
            if known["prediction"] != text:
                count["judgements left out: another text under the same name"] += 1
                continue
            ratings.append({"id": instance[0], "system": name, "rating": int(candidate in accepted)})

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write(out / "PREDICTIONS.jsonl", predictions.values())
    write(out / "RATINGS.jsonl", ratings)
    count["instances joined"] = len({id for id, _ in predictions})
    count["candidates written"] = len(predictions)
    count["ratings written"] = len(ratings)
    for what, n in count.items():
        print(f"{n:6}  {what}")


main()
