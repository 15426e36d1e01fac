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
import glob
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ["torch==2.15.0", "transformers==5.23.0"]
SHAPE = dict(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
QUESTION_TOKENS = 60
CANDIDATE_TOKENS = 80
BATCH = 8


def make_model(folder, layers):
    import torch
    import transformers

    torch.manual_seed(7)
    config = transformers.LlamaConfig(**SHAPE | {"num_hidden_layers": layers})
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        source = ROOT / "examples/quickstart/base" / name
        (folder / name).write_bytes(source.read_bytes())


def make_asks(folder, questions, candidates):
    """Sentences of the repository's explanations, cut to lengths that differ by up to a quarter."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    path = ROOT / "datasets/climate-fever/explanations.jsonl"
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


class Side:
    """A process that prints a JSON line when it is ready, and one for each line that it reads."""

    def __init__(self, command, env):
        command = [str(part) for part in command]
        self.process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended before it answered")
        return json.loads(line)

    def round(self):
        before = self.cpu_seconds()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.read()
        return answer | {"cpu_seconds": self.cpu_seconds() - before}

    def cpu_seconds(self):
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self):
        """Ends the process; its peak memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self.process.stdin.close()
        self.process.wait()
        return int(peak.split()[1]) // 1024


def build():
    """Our bench's path; the whole workspace, so that no crate is built with other features."""
    command = ["cargo", "bench", "--workspace", "--bench", "score", "--no-run"]
    command += ["--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    found = [json.loads(line) for line in lines.stdout.splitlines()]
    found = [m["executable"] for m in found if m.get("target", {}).get("name") == "score"]
    return [path for path in found if path][-1]


def peer_python(folder):
    python = folder / "bin/python"
    if not python.exists():
        print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


def largest_difference(ours, theirs):
    rows = zip(ours["logprobs"], theirs["logprobs"], strict=True)
    return max(abs(a - b) for row in rows for a, b in zip(*row, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=10, help="of each question")
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make_model(args.make, args.layers)
        asks = make_asks(args.make, args.questions, args.candidates)
        return (args.make / "asks.jsonl").write_text("\n".join(map(json.dumps, asks)) + "\n")
    if args.peer:
        return peer(*args.peer, args.threads)

    ours = args.ours or build()
    python = args.peer_python or peer_python(args.venv)
    threads = str(args.threads)
    env = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    env |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    allocators = glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4")
    their_env = env | ({"LD_PRELOAD": allocators[0]} if allocators else {})
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        sizes = ["--layers", args.layers, "--questions", args.questions]
        sizes = [str(part) for part in [*sizes, "--candidates", args.candidates]]
        subprocess.run([python, __file__, "--make", work, *sizes], env=env, check=True)
        asks = work / "asks.jsonl"
        peer_command = [python, __file__, "--peer", work, asks, "--threads", threads]
        sides = Side([ours, work, asks], env), Side(peer_command, their_env)
        worst = largest_difference(*[side.round() for side in sides])
        rounds = [[side.round() for side in sides] for _ in range(args.rounds)]
        peaks = [side.close() for side in sides]
    n = args.questions * args.candidates
    median = statistics.median

    def side(at):
        return {
            "candidates_per_second": n / median(r[at]["seconds"] for r in rounds),
            "cpu_ms_per_candidate": 1000 * median(r[at]["cpu_seconds"] for r in rounds) / n,
            "peak_mib": peaks[at],
        }

    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in rounds]
    result = {
        "candidates": n,
        "threads": args.threads,
        "largest_difference": worst,
        "ours": side(0),
        "peer": side(1) | {"tcmalloc": bool(allocators)},
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cpu_ratio": median(t["cpu_seconds"] / o["cpu_seconds"] for o, t in rounds),
    }
    if worst > 1e-3:
        sys.exit(f"the sides disagree by {worst}: {json.dumps(result)}")
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


main()
