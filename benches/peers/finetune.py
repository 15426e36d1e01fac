"""Explanations learnt a second: our training beside TRL's SFTTrainer, in turns, on the same machine.

    python benches/peers/finetune.py [--items ITEMS.jsonl] [--order prompts] [--updates 12]
                                     [--rounds 3] [--json]

Trains LoRA (r 16, seven projections) on a random Llama of SmolLM-135M's shape with prompts and
completions, loss on the completion only, both sides from the same adapter.
ITEMS.jsonl holds lines {"prompt", "completion"}; without it they are made of the repository's
explanations of Climate-FEVER, the claims before them.
Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).

- curve: the same order on both sides, f32: the largest difference of a step's loss;
- speed: examples a second, medians over the rounds; ours in the given order or, with
  `--order prompts`, with all that follows one prompt together, which then shares the prompt; TRL at its best of {f32, bf16 autocast} x
  {as it comes, grouped by length}, with tcmalloc where it is installed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sides

PEERS = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "trl==1.16.0"]
BATCH = 8
RATE = 1e-3


def default_items():
    path = sides.ROOT / "datasets/climate-fever/explanations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    prompt = "Claim: {}\nExplain how the evidence bears on the claim.\nExplanation:"
    texts = [row["explanation"] for row in rows]
    # The repository has no claims of Climate-FEVER: another explanation stands in a claim's place.
    others = texts[1:] + texts[:1]
    return [
        {"prompt": prompt.format(other), "completion": " " + text}
        for text, other in zip(texts, others)
    ]


# The peer's side: started with `--peer`, does one training per line that it reads.


def make_model(folder, layers):
    import peft

    model = sides.random_llama(folder, layers)
    lora = peft.LoraConfig(
        r=16, lora_alpha=32, target_modules=sides.PROJECTIONS, task_type="CAUSAL_LM"
    )
    peft.get_peft_model(model, lora).save_pretrained(folder / "adapter")


def peer(folder, items, updates, dtype, grouping):
    import datasets
    import peft
    import torch
    import transformers
    import trl

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in Path(items).read_text().splitlines()]
    rows = rows[: updates * BATCH]
    print(json.dumps({"examples": len(rows)}), flush=True)
    for _ in sys.stdin:
        with tempfile.TemporaryDirectory() as out:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="sdpa"
            )
            model = peft.PeftModel.from_pretrained(
                model, Path(folder) / "adapter", is_trainable=True
            )
            options = trl.SFTConfig(
                output_dir=out,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                learning_rate=RATE,
                lr_scheduler_type="constant",
                warmup_steps=0,
                weight_decay=0.0,
                max_grad_norm=1.0,
                max_length=None,
                completion_only_loss=True,
                bf16=dtype == "bf16",
                use_cpu=True,
                gradient_checkpointing=False,
                train_sampling_strategy="group_by_length" if grouping == "length" else "sequential",
                logging_steps=1,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                shuffle_dataset=False,
            )
            trainer = trl.SFTTrainer(
                model=model,
                args=options,
                train_dataset=datasets.Dataset.from_list(rows),
                processing_class=tokenizer,
            )
            trainer.remove_callback(transformers.PrinterCallback)
            before = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - before
            losses = [float(e["loss"]) for e in trainer.state.log_history if "loss" in e]
        print(json.dumps({"seconds": seconds, "losses": losses}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=Path, help="JSON lines with `prompt` and `completion`")
    parser.add_argument("--order", choices=["given", "prompts"], default="given", help="ours")
    parser.add_argument("--updates", type=int, default=12, help=f"of {BATCH} items each")
    parser.add_argument("--layers", type=int, default=sides.SMOLLM_135M["num_hidden_layers"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--best", nargs=2, metavar=("DTYPE", "GROUPING"), help="TRL's best, if known")
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv-trl")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        return make_model(args.make, args.layers)
    if args.peer:
        return peer(args.peer[0], args.peer[1], args.updates, *args.peer[2:])

    ours = args.ours or sides.build("finetune")
    python = args.peer_python or sides.peer_python(args.venv, PEERS)
    env, their_env = sides.environments(args.threads)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        layers = ["--layers", str(args.layers)]
        subprocess.run([python, __file__, "--make", work, *layers], env=env, check=True)
        rows = default_items() if args.items is None else None
        text = "\n".join(map(json.dumps, rows)) if rows else args.items.read_text()
        items = work / "items.jsonl"
        items.write_text("\n".join(text.splitlines()[: args.updates * BATCH]) + "\n")

        def our(precision, order):
            options = {
                "method": "lora",
                "epochs": 1.0,
                "batch_size": BATCH,
                "learning_rate": RATE,
                "schedule": {"kind": "constant"},
                "warmup": {"steps": 0},
                "precision": precision,
                "order": order,
            }
            return sides.Side([ours, work, work / "adapter", items, json.dumps(options)], env)

        def their(dtype, grouping):
            peer = ["--peer", work, items, dtype, grouping, "--updates", str(args.updates)]
            return sides.Side([python, __file__, *peer], their_env)

        both = our("f32", "given"), their("f32", "none")
        losses = [side.round()["losses"] for side in both]
        for side in both:
            side.close()
        worst = max(abs(a - b) for a, b in zip(*losses, strict=True))
        ways = [(d, g) for d in ("f32", "bf16") for g in ("none", "length")]
        best = tuple(args.best) if args.best else None
        tried = {}
        for way in [] if best else ways:
            side = their(*way)
            tried[" ".join(way)] = side.round()["seconds"]
            side.close()
        best = best or min(ways, key=lambda way: tried[" ".join(way)])
        both = our("fastest", args.order), their(*best)
        rounds = [[side.round()["seconds"] for side in both] for _ in range(args.rounds)]
        peaks = [side.close() for side in both]
    n = args.updates * BATCH
    ratios = [theirs / ours for ours, theirs in rounds]
    result = {
        "examples": n,
        "threads": args.threads,
        "largest_difference_of_losses": worst,
        "ours": {
            "examples_per_second": n / statistics.median(r[0] for r in rounds),
            "peak_mib": peaks[0],
            "order": args.order,
        },
        "trl": {
            "examples_per_second": n / statistics.median(r[1] for r in rounds),
            "peak_mib": peaks[1],
            "best": " ".join(best),
            "tried_seconds": tried,
            "tcmalloc": "LD_PRELOAD" in their_env,
        },
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


main()
