"""Greedy decoding: our generation beside transformers', in turns, on the same machine.

    python benches/peers/decode.py [--batch 1] [--threads 2] [--rounds 5] [--tokens 64] [--json]

A random Llama of SmolLM-135M's shape with the quickstart's tokenizer; `--batch` prompts are each
continued by `--tokens` tokens.
The peer runs in f32 and in bf16 (the faster one counts), with tcmalloc where it is installed
(Debian: libtcmalloc-minimal4); ours with projections at rest in f32, bf16 and 8 bits.
Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).
Medians over the rounds; a round includes reading the prompts.
"""

import argparse
import glob
import json
import os
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
PROMPTS = [
    "Claim: The sea has risen by twenty centimetres since 1900. Explanation:",
    "Claim: Ice ages came and went without people. Explanation:",
    "Claim: A warmer air holds more water. Explanation:",
    "Claim: Volcanoes give off more than cars do. Explanation:",
]


class Worker:
    """A process that prints a JSON line when it is ready, and one for each line that it reads."""

    def __init__(self, command, env):
        command = [str(part) for part in command]
        self.process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.rounds = []
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended before it answered")
        return json.loads(line)

    def round(self, counts=True):
        before = self.cpu_seconds()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.read() | {"cpu": self.cpu_seconds() - before}
        if counts:
            self.rounds.append(answer)

    def cpu_seconds(self):
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def make_model(folder):
    import torch
    import transformers

    torch.manual_seed(7)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        source = ROOT / "examples/quickstart/base" / name
        (folder / name).write_bytes(source.read_bytes())


def peer(folder, dtype, prompts, tokens, threads):
    """The other side, run by the peers' Python."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    dtypes = {"f32": torch.float32, "bf16": torch.bfloat16}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtypes[dtype]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token_id = 0
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    print(json.dumps({"prompts": len(prompts)}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
            )
        n = (found.shape[1] - inputs["input_ids"].shape[1]) * len(prompts)
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": n}), flush=True)


def build():
    """Our bench's path; the whole workspace, so that no crate is built with other features."""
    command = ["cargo", "bench", "--workspace", "--bench", "decode", "--no-run"]
    command += ["--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    found = [json.loads(line) for line in lines.stdout.splitlines()]
    found = [m["executable"] for m in found if m.get("target", {}).get("name") == "decode"]
    return [path for path in found if path][-1]


def peer_python(folder):
    python = folder / "bin/python"
    if not python.exists():
        print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(args.batch)]
    if args.make:
        return make_model(args.make)
    if args.peer:
        return peer(*args.peer, prompts, args.tokens, args.threads)

    ours = args.ours or build()
    python = args.peer_python or peer_python(args.venv)
    threads = str(args.threads)
    env = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    env |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    tcmalloc = sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4"))
    if not tcmalloc:
        print("libtcmalloc_minimal.so.4 is missing: the peer is slower for it", file=sys.stderr)
    peer_env = env | ({"LD_PRELOAD": tcmalloc[0]} if tcmalloc else {})

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, __file__, "--make", folder], env=env, check=True)
        our = [ours, folder, json.dumps(prompts), args.tokens]
        their = [python, __file__, "--batch", args.batch, "--tokens", args.tokens]
        their += ["--threads", threads, "--peer", folder]
        workers = {f"ours {d}": Worker([*our, d], env) for d in ("f32", "bf16", "int8")}
        workers |= {f"peer {d}": Worker([*their, d], peer_env) for d in ("f32", "bf16")}
        for worker in workers.values():
            worker.round(counts=False)
        for _ in range(args.rounds):
            for worker in workers.values():
                worker.round()
        for worker in workers.values():
            worker.close()

    result = {"batch": args.batch, "tokens": args.tokens, "threads": args.threads}
    for name, worker in workers.items():
        result[name] = {
            "tokens_per_second": statistics.median(
                r["tokens"] / r["seconds"] for r in worker.rounds
            ),
            "cpu_ms_per_token": 1000
            * statistics.median(r["cpu"] / r["tokens"] for r in worker.rounds),
        }

    def best(side):
        names = [name for name in workers if name.startswith(side)]
        return max(names, key=lambda name: result[name]["tokens_per_second"])

    mine, others = best("ours"), best("peer")
    rate = "tokens_per_second"
    result["ratio"] = result[mine][rate] / result[others][rate]
    if args.json:
        return print(json.dumps(result))
    print(f"batch {args.batch}, {args.tokens} tokens each, {args.threads} threads", end="")
    print(f", {args.rounds} rounds")
    for name in workers:
        side = result[name]
        print(f"  {name:10} {side[rate]:7.1f} tokens/s", end="")
        print(f"  {side['cpu_ms_per_token']:7.2f} ms processor time a token")
    print(f"  {mine} / {others}: {result['ratio']:.2f} times the tokens/s")


main()
