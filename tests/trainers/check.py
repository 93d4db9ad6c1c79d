"""What tests/trainers.sh runs; see there."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACES = ROOT / "search-spaces"
HERE = Path(__file__).resolve().parent
PROGRAM = None
KILLS = 3


def tiny_llama(folder):
    """Random weights by Transformers, and the quickstart's tokenizer."""
    import shutil

    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(7)
    config = LlamaConfig(vocab_size=3072, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=0,
                         eos_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in (SPACES / "quickstart/model").glob("token*"):
        shutil.copy(file, folder / file.name)


def study_file(folder, name, trainer, *changes):
    """A shipped study file, smaller, with its trainer and these changes; paths as seen from the folder."""
    text = (SPACES / f"{trainer}.toml").read_text()
    text = text.replace('"trainers/', f'"{SPACES}/trainers/').replace('"quickstart/model"', f'"{folder}/llama"')
    text = text.replace('"quickstart/dev', f'"{SPACES}/quickstart/dev').replace('"python"', f'"{sys.executable}"')
    text = re.sub(r'^name = .*$', f'name = "{name}"\noutput = "{folder}/{name}"', text, flags=re.M)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


# A few dozen steps, in two rungs.
SMALL = (("epochs = 1", "epochs = 0.2"), ("rungs = 3", "rungs = 2"), ("[search]", "[search]\nvalidation_examples = 32"))
# So low that the largest micro-batch has a boundary that is met.
LOW_CAP = ("cpu:2GiB", "cpu:1GiB")
# One batch, so that no choice rests on the clock and a study can be repeated to the last bit.
ONE_BATCH = ("effective_batch_size = [4, 8, 16, 32]", "micro_batch_size = 4\ngradient_accumulation_steps = 2")


def run(file, *arguments, code=0):
    ran = subprocess.run([PROGRAM, *arguments, "--json", file], capture_output=True, text=True)
    if ran.returncode != code:
        sys.exit(f"diapason {' '.join(arguments)} {file} ended with {ran.returncode}:\n{ran.stderr[-4000:]}")
    return json.loads(ran.stdout) if code == 0 else ran.stderr


def children_of(pid):
    names = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for name in names for child in name.read_text().split()]


def losses(output):
    """Every evaluation of every run of a trial; what a probe evaluates rests on what others left free."""
    base = sqlite3.connect(f"file:{output}/study.db?mode=ro", uri=True)
    runs = "SELECT measurement FROM rung UNION SELECT measurement FROM confirmation"
    return sorted(base.execute(f"SELECT step, loss_nats FROM eval WHERE measurement IN ({runs})"))


def check_transformers(folder):
    file = study_file(folder, "whole", "transformers", *SMALL, LOW_CAP, ONE_BATCH, ("trials = 5", "trials = 3"))
    began = time.monotonic()
    summary = run(file, "run")
    seconds = time.monotonic() - began
    point, test = summary["frontier"][0], summary["test_loss_nats"]
    assert summary["trials"] == {"finished": 3}, summary["trials"]
    assert point["probes"] >= 2 and point["max_micro_batch"] >= 1, point
    assert test["tuned"] < test["base"] - 0.3, test
    assert summary["confirmation"]["contests"], summary["confirmation"]
    assert abs(summary["quantized"][0]["test_loss_nats"] - test["tuned"]) < 0.05
    print(f"transformers: {seconds:.0f} s; largest micro-batch {point['max_micro_batch']} ({point['boundary']}, "
          f"{point['probes']} probes, {point['peak_bytes'] / 2**20:.0f} MiB, {point['tokens_per_second']:.0f} tokens/s); "
          f"{summary['confirmation']['sentence']}; test loss {test['base']:.4f} -> {test['tuned']:.4f}")
    again = study_file(folder, "killed", "transformers", *SMALL, LOW_CAP, ONE_BATCH, ("trials = 5", "trials = 3"))
    kills = 0
    while kills < KILLS:
        # Later each time, so that runs are hit which go on from a checkpoint.
        driver = subprocess.Popen([PROGRAM, "run", "--quiet", again], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            driver.wait(seconds * (0.3 + 0.17 * kills))
            break
        except subprocess.TimeoutExpired:
            children = children_of(driver.pid)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            kills += 1
            time.sleep(0.5)
            alive = [pid for pid in children if Path(f"/proc/{pid}/cmdline").exists()
                     and Path(f"/proc/{pid}/cmdline").read_bytes()]
            assert not alive, f"trainers outlive their driver: {alive}"
    second = run(again, "run")
    assert second["best"] == summary["best"] and second["test_loss_nats"] == test, (second["best"], summary["best"])
    told, repeated = losses(folder / "whole"), losses(folder / "killed")
    assert told == repeated, f"other losses after the kills: {told} and {repeated}"
    print(f"  killed {kills} times: the same {len(told)} evaluations, best and test loss, to the last bit")


def check_torchrun(folder):
    changes = (*SMALL, ONE_BATCH, ("trials = 3", "trials = 1"), ("low = 3e-5", "low = 1e-3"))
    one = study_file(folder, "one-rank", "torchrun", *changes, ('"--nproc-per-node", "2"', '"--nproc-per-node", "1"'))
    two = study_file(folder, "two-ranks", "torchrun", *changes)
    began = time.monotonic()
    single, double = run(one, "tune"), run(two, "tune")
    assert "× 2" in double["device"] and "×" not in single["device"], double["device"]
    single, double = single["best"], double["best"]
    difference = abs(single["eval_loss_nats"] - double["eval_loss_nats"])
    assert difference < 1e-4, (single, double)
    print(f"torchrun: {time.monotonic() - began:.0f} s; two ranks and one end at {double['eval_loss_nats']:.5f}, "
          f"{difference:.1e} apart")
    spec = {"hyperparams": {"micro_batch_size": 2, "gradient_accumulation_steps": 1}, "task": {"kind": "train"}}
    for fault, word in (("dies", "failed"), ("refused", "out_of_memory"), ("well", "finished")):
        script = [SPACES / "trainers/torchrun_launch.py", "--nproc-per-node", "2", "--", HERE / "faulty_rank.py", fault]
        ran = subprocess.run([sys.executable, *script], input=json.dumps(spec), capture_output=True, text=True)
        words = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        assert [event["event"] for event in words] == [word], (words, ran.stderr[-2000:])
        print(f"  rank 1 {fault}: {json.dumps(words[0])}")


def check_metrics(folder):
    command = ["--model", "{model}", "--output_dir", "{checkpoint}", "--best", "{best}", "--max_steps", "{total_steps}",
               "--eval_steps", "{evaluate_every}", "--micro", "{micro_batch_size}", "--accumulation",
               "{gradient_accumulation_steps}", "--warmup_steps", "{warmup_steps}", "--seed", "{seed}",
               "--learning_rate={learning_rate}"]
    file = folder / "metrics.toml"
    file.write_text(f"""
[study]
output = "{folder}/metrics"
threads = 1
[trainer]
command = {json.dumps([sys.executable, str(HERE / "plain_trainer.py"), *command])}
metrics_file = "{{checkpoint}}/trainer_state.json"
examples = 48
probes = false
[model]
source = "llama"
[data]
source = "rows that count"
[space]
micro_batch_size = [4, 8]
learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
[search]
trials = 4
rungs = 1
""")
    began = time.monotonic()
    summary = run(file, "run")
    assert summary["trials"] == {"finished": 4}, summary["trials"]
    best = summary["best"]
    assert (folder / "metrics/model/model.safetensors").is_file() and summary["test_loss_nats"] is None
    assert 0 < best["eval_loss_nats"] < 8, best
    print(f"metrics: {time.monotonic() - began:.0f} s; best of 4 trials {best['eval_loss_nats']:.4f} at "
          f"{best['hyperparameters']['learning_rate']:.2e}; {len(losses(folder / 'metrics'))} evaluations were read")


def main():
    global PROGRAM
    PROGRAM, *wanted = sys.argv[1:]
    sys.stdout.reconfigure(line_buffering=True)
    PROGRAM = str(Path(PROGRAM).resolve())
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    checks = {"transformers": check_transformers, "torchrun": check_torchrun, "metrics": check_metrics}
    with tempfile.TemporaryDirectory() as folder:
        tiny_llama(Path(folder) / "llama")
        for name in wanted or checks:
            checks[name](Path(folder))


if __name__ == "__main__":
    main()
