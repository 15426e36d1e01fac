"""Candidates scored a second: our scoring beside a loop with transformers, in turns, on the same machine.

    python benches/peers/score.py [--questions 6] [--candidates 10] [--threads 2] [--rounds 5] [--json]
    python benches/peers/score.py --answers [--cached] ...

Scores the log-probability of every token of several candidates a question (questions of about 60
tokens, candidates of about 80) with a random Llama of SmolLM-135M's shape, both sides in f32.
The other side is the loop that people write: the question goes through the model once, its
key-value cache is repeated for a padded batch of 8 candidates, and `log_softmax` of the logits is
gathered at the candidates' tokens; tcmalloc is preloaded where it is installed.

With `--answers`, what rationale difficulty needs: log p(answer | question, rationale) for every
candidate (a rationale of about 80 tokens and an answer of about 5, of which the answer alone is
scored) and log p(answer | question) once a question.
The other side is the straightforward loop: whole texts in padded batches of 8, `log_softmax` of all
logits, gathered and summed at the answers' tokens; with `--cached` also the loop with the
question's cache, as above.

Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).

Prints medians over the rounds and of the rounds' ratios, the processor time of each side, and the
largest difference of a token's log-probability (with `--answers`, of an answer's).
"""

import argparse
import copy
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sides

PEERS = ["torch==2.15.0", "transformers==5.23.0"]
QUESTION_TOKENS = 60
CANDIDATE_TOKENS = 80
ANSWER_TOKENS = 5
BATCH = 8


def make_asks(folder, questions, candidates, answers):
    """Sentences of the repository's explanations, cut to lengths that differ by up to a quarter.

    Each ask is a prompt and the pieces after it; `answers` says whether the last alone is scored.
    """
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    path = sides.ROOT / "datasets/climate-fever/explanations.jsonl"
    texts = [json.loads(line)["explanation"] for line in path.read_text().splitlines()]
    words = " ".join(texts).split()
    rng = random.Random(7)

    def text(about):
        wanted = rng.randint(about * 3 // 4, about * 5 // 4)
        start = rng.randrange(len(words) - 200)
        ids = tokenizer(" " + " ".join(words[start : start + 200]), add_special_tokens=False).input_ids
        return re.sub("\ufffd", "", tokenizer.decode(ids[:wanted]))

    asks = []
    for question in range(questions):
        prompt, answer = text(QUESTION_TOKENS), text(ANSWER_TOKENS)
        pieces = [[text(CANDIDATE_TOKENS)] for _ in range(candidates)]
        if answers:
            pieces = [[*rationale, answer] for rationale in [*pieces, [""]]]
        asks += [{"prompt": prompt, "pieces": p, "last_only": answers} for p in pieces]
    return asks


def peer(folder, asks, loop, threads):
    """The other side, run by the peers' Python."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    asks = [json.loads(line) for line in Path(asks).read_text().splitlines()]
    answers = asks[0]["last_only"]
    questions = {}
    for ask in asks:
        questions.setdefault(ask["prompt"], []).append(ask["pieces"])

    def ids_of(pieces):
        """The tokens after the prompt, and how many of the last are scored."""
        ids = [tokenizer(text, add_special_tokens=False).input_ids for text in pieces]
        return sum(ids, []), len(ids[-1])

    def padded(rows):
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask

    def scored(logprobs, ends, counts):
        """Of each row the scored tokens, or their sum; `ends` are where they end."""
        rows = [row[end - n : end] for row, end, n in zip(logprobs, ends, counts)]
        return [[row.sum().item()] if answers else row.tolist() for row in rows]

    @torch.inference_mode()
    def plain():
        found = []
        for i in range(0, len(asks), BATCH):
            batch = asks[i : i + BATCH]
            after = [ids_of(ask["pieces"]) for ask in batch]
            rows = [tokenizer(ask["prompt"]).input_ids + ids for ask, (ids, _) in zip(batch, after)]
            ids, mask = padded(rows)
            logits = model(input_ids=ids, attention_mask=mask).logits
            logprobs = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
            found += scored(logprobs, [len(row) - 1 for row in rows], [n for _, n in after])
        return found

    @torch.inference_mode()
    def cached():
        found = []
        for prompt, completions in questions.items():
            prompt = tokenizer(prompt, return_tensors="pt").input_ids
            read = model(prompt, use_cache=True)
            for i in range(0, len(completions), BATCH):
                rows, counts = zip(*map(ids_of, completions[i : i + BATCH]))
                inputs, mask = padded(rows)
                cache = copy.deepcopy(read.past_key_values)
                cache.batch_repeat_interleave(len(rows))
                before = torch.ones(len(rows), prompt.shape[1], dtype=mask.dtype)
                logits = model(
                    inputs, attention_mask=torch.cat([before, mask], 1), past_key_values=cache
                ).logits
                first = read.logits[:, -1:].expand(len(rows), -1, -1)
                logits = torch.cat([first, logits[:, :-1]], 1)
                logprobs = logits.log_softmax(-1).gather(2, inputs[..., None])[..., 0]
                found += scored(logprobs, list(map(len, rows)), counts)
        return found

    run = {"plain": plain, "cached": cached}[loop]
    print(json.dumps({"asks": len(asks)}), flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "logprobs": found}), flush=True)


def largest_difference(ours, theirs, answers):
    mine = [[sum(row)] if answers else row for row in ours["logprobs"]]
    rows = zip(mine, theirs["logprobs"], strict=True)
    return max(abs(a - b) for row in rows for a, b in zip(*row, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=10, help="of each question")
    parser.add_argument("--answers", action="store_true", help="score an answer after each")
    parser.add_argument("--cached", action="store_true", help="with --answers, both loops")
    parser.add_argument("--layers", type=int, default=sides.SMOLLM_135M["num_hidden_layers"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        sides.random_llama(args.make, args.layers)
        asks = make_asks(args.make, args.questions, args.candidates, args.answers)
        return (args.make / "asks.jsonl").write_text("\n".join(map(json.dumps, asks)) + "\n")
    if args.peer:
        return peer(*args.peer, args.threads)

    ours = args.ours or sides.build("score")
    python = args.peer_python or sides.peer_python(args.venv, PEERS)
    env, their_env = sides.environments(args.threads)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        sizes = ["--layers", args.layers, "--questions", args.questions]
        sizes = [str(part) for part in [*sizes, "--candidates", args.candidates]]
        sizes += ["--answers"] if args.answers else []
        subprocess.run([python, __file__, "--make", work, *sizes], env=env, check=True)
        asks = work / "asks.jsonl"
        loops = ["plain", "cached"] if args.cached else ["plain"]
        loops = loops if args.answers else ["cached"]

        def their(loop):
            peer_command = [python, __file__, "--peer", work, asks, loop, "--threads", args.threads]
            return sides.Side(peer_command, their_env)

        all_sides = [sides.Side([ours, work, asks], env), *map(their, loops)]
        mine, *others = [side.round() for side in all_sides]
        worst = max(largest_difference(mine, other, args.answers) for other in others)
        rounds = [[side.round() for side in all_sides] for _ in range(args.rounds)]
        peaks = [side.close() for side in all_sides]
    n = args.questions * args.candidates
    median = statistics.median

    def side(at):
        return {
            "candidates_per_second": n / median(r[at]["seconds"] for r in rounds),
            "cpu_ms_per_candidate": 1000 * median(r[at]["cpu"] for r in rounds) / n,
            "peak_mib": peaks[at],
        }

    def against(at):
        ratios = [r[at]["seconds"] / r[0]["seconds"] for r in rounds]
        return side(at) | {
            "tcmalloc": "LD_PRELOAD" in their_env,
            "ratio": median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "cpu_ratio": median(r[at]["cpu"] / r[0]["cpu"] for r in rounds),
        }

    result = {
        "scored": "answers" if args.answers else "candidates",
        "candidates": n,
        "threads": args.threads,
        "largest_difference": worst,
        "ours": side(0),
        "peers": {loop: against(at + 1) for at, loop in enumerate(loops)},
    }
    if worst > 1e-3:
        sys.exit(f"the sides disagree by {worst}: {json.dumps(result)}")
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


main()
