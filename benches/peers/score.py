"""Candidates scored a second: our scoring beside a loop with transformers, in turns, on the same machine.

    python benches/peers/score.py [--questions 6] [--candidates 10] [--threads 2] [--rounds 5] [--json]

Scores the log-probability of every token of several candidates a question (questions of about 60
tokens, candidates of about 80) with a random Llama of SmolLM-135M's shape, both sides in f32.
The other side is the loop that people write: the question goes through the model once, its
key-value cache is repeated for a padded batch of 8 candidates, and `log_softmax` of the logits is
gathered at the candidates' tokens; tcmalloc is preloaded where it is installed.
Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).

Prints medians over the rounds and of the rounds' ratios, the processor time of each side, and the
largest difference of a token's log-probability.
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
BATCH = 8


def make_asks(folder, questions, candidates):
    """Sentences of the repository's explanations, cut to lengths that differ by up to a quarter."""
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
        prompt = text(QUESTION_TOKENS)
        asks += [
            {"id": f"{question}.{n}", "prompt": prompt, "completion": text(CANDIDATE_TOKENS)}
            for n in range(candidates)
        ]
    return asks


def peer(folder, asks, threads):
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
    questions = {}
    for ask in asks:
        questions.setdefault(ask["prompt"], []).append(ask["completion"])

    @torch.inference_mode()
    def run():
        found = []
        for prompt, completions in questions.items():
            prompt = tokenizer(prompt, return_tensors="pt").input_ids
            read = model(prompt, use_cache=True)
            for i in range(0, len(completions), BATCH):
                batch = completions[i : i + BATCH]
                ids = [tokenizer(text, add_special_tokens=False).input_ids for text in batch]
                longest = max(map(len, ids))
                inputs = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
                mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
                cache = copy.deepcopy(read.past_key_values)
                cache.batch_repeat_interleave(len(batch))
                before = torch.ones(len(batch), prompt.shape[1], dtype=mask.dtype)
                logits = model(
                    inputs, attention_mask=torch.cat([before, mask], 1), past_key_values=cache
                ).logits
                first = read.logits[:, -1:].expand(len(batch), -1, -1)
                logits = torch.cat([first, logits[:, :-1]], 1)
                logprobs = logits.log_softmax(-1).gather(2, inputs[..., None])[..., 0]
                found += [row[: len(own)].tolist() for row, own in zip(logprobs, ids)]
        return found

    print(json.dumps({"asks": len(asks)}), flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "logprobs": found}), flush=True)


def largest_difference(ours, theirs):
    rows = zip(ours["logprobs"], theirs["logprobs"], strict=True)
    return max(abs(a - b) for row in rows for a, b in zip(*row, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=10, help="of each question")
    parser.add_argument("--layers", type=int, default=sides.SMOLLM_135M["num_hidden_layers"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        sides.random_llama(args.make, args.layers)
        asks = make_asks(args.make, args.questions, args.candidates)
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
        subprocess.run([python, __file__, "--make", work, *sizes], env=env, check=True)
        asks = work / "asks.jsonl"
        peer_command = [python, __file__, "--peer", work, asks, "--threads", args.threads]
        both = sides.Side([ours, work, asks], env), sides.Side(peer_command, their_env)
        worst = largest_difference(*[side.round() for side in both])
        rounds = [[side.round() for side in both] for _ in range(args.rounds)]
        peaks = [side.close() for side in both]
    n = args.questions * args.candidates
    median = statistics.median

    def side(at):
        return {
            "candidates_per_second": n / median(r[at]["seconds"] for r in rounds),
            "cpu_ms_per_candidate": 1000 * median(r[at]["cpu"] for r in rounds) / n,
            "peak_mib": peaks[at],
        }

    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in rounds]
    result = {
        "candidates": n,
        "threads": args.threads,
        "largest_difference": worst,
        "ours": side(0),
        "peer": side(1) | {"tcmalloc": "LD_PRELOAD" in their_env},
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cpu_ratio": median(t["cpu"] / o["cpu"] for o, t in rounds),
    }
    if worst > 1e-3:
        sys.exit(f"the sides disagree by {worst}: {json.dumps(result)}")
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


main()
