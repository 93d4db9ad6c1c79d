#!/usr/bin/env python3
"""Diapason's trials run by Hugging Face Transformers' Trainer.

    [trainer]
    command = ["python", "trainers/transformers_trainer.py"]

One specification (JSON) is read from standard input, or from the file that DIAPASON_SPEC names; events are written
to standard output, one JSON object a line. Needs torch, transformers and accelerate, and peft for a study with
[lora]. The same under torchrun or DeepSpeed: torchrun_launch.py starts it, and rank 0 speaks.

Everything that makes one study's runs comparable is kept as Diapason's own engine keeps it: the learning rate of each
step is that of the whole horizon, wherever a run stops; a run goes on from its checkpoint with the same weights,
moments, random numbers and order of examples; the validation examples are the same in every evaluation.
"""

import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

# Events go to the real standard output; what libraries print goes to standard error.
EVENTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
RANK = int(os.environ.get("RANK", "0"))
WORLD = int(os.environ.get("WORLD_SIZE", "1"))



def read_spec():
    file = os.environ.get("DIAPASON_SPEC")
    return json.loads(Path(file).read_text()) if file else json.load(sys.stdin)


def show_one_card(device):
    """The Trainer would use every card it sees, and PyTorch looks for cards when it is imported."""
    name, index = (device.split(":") + ["0"])[:2]
    if name == "cuda" and WORLD == 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(index)] if visible else index


SPEC = read_spec() if __name__ == "__main__" else None
if SPEC:
    show_one_card(SPEC["device"])
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402
import transformers  # noqa: E402
from accelerate.utils import gather_object  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments  # noqa: E402
from transformers.trainer_utils import get_last_checkpoint  # noqa: E402

IGNORED = -100
HISTORY = "diapason.json"
# A smaller micro-batch is timed over at least so many examples.
TIMED_EXAMPLES = 16
# A refusal of memory on the processor is a plain RuntimeError.
REFUSED = "can't allocate memory"


def emit(event, **fields):
    if RANK == 0:
        print(json.dumps({"event": event, **fields}), file=EVENTS, flush=True)


class Diverged(Exception):
    """The loss is no number any more."""

    def __init__(self, step):
        super().__init__(f"diverged at step {step}")
        self.step = step


class Failed(Exception):
    """What a user can correct, with its kind."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


# Data: the file that Diapason prepared.


def examples_of(tensors, split):
    """One dictionary an example; the prompt is not scored."""
    ids, lengths = tensors[f"{split}.input_ids"].long(), tensors[f"{split}.lengths"].tolist()
    prompts = tensors[f"{split}.prompt_tokens"].tolist()
    examples = []
    for own, prompt in zip(torch.split(ids, lengths), prompts):
        labels = own.clone()
        # Nothing stands before the first token, so it is never predicted.
        labels[: max(prompt, 1)] = IGNORED
        examples.append({"input_ids": own, "labels": labels})
    return examples


def collate(examples):
    pad = torch.nn.utils.rnn.pad_sequence
    ids = [example["input_ids"] for example in examples]
    return {
        "input_ids": pad(ids, batch_first=True, padding_value=0),
        "attention_mask": pad([torch.ones_like(one) for one in ids], batch_first=True, padding_value=0),
        "labels": pad([example["labels"] for example in examples], batch_first=True, padding_value=IGNORED),
    }


def longest(examples, count, most=None):
    """The longest examples, a small set repeated."""
    order = sorted(examples, key=lambda example: -len(example["input_ids"]))
    cut = [{key: value[:most] for key, value in example.items()} for example in order]
    return [cut[index % len(cut)] for index in range(count)]


# The device.


class Memory:
    """Peaks of what the run holds for itself: by a card's allocator, or as data of the process."""

    def __init__(self, spec):
        name, *rest = spec["device"].split(":")
        self.is_card = name == "cuda"
        self.index = int(os.environ.get("LOCAL_RANK", "0"))
        size = rest[1:] if self.is_card else rest
        self.cap = bytes_of(size[0]) if size else None
        if self.is_card:
            if not torch.cuda.is_available():
                raise Failed("device", f"{spec['device']} was asked for, and PyTorch sees no card")
            torch.cuda.set_device(self.index)
            total = torch.cuda.get_device_properties(self.index).total_memory
            if self.cap:
                torch.cuda.set_per_process_memory_fraction(min(1.0, self.cap / total), self.index)

    def describe(self):
        ranks = f" × {WORLD}" if WORLD > 1 else ""
        what = torch.cuda.get_device_name(self.index) if self.is_card else f"cpu, threads: {torch.get_num_threads()}"
        return f"{what}{ranks} (Transformers {transformers.__version__}, PyTorch {torch.__version__})"

    def reset(self):
        if self.is_card:
            torch.cuda.reset_peak_memory_stats(self.index)
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                pass

    def peak(self):
        if self.is_card:
            return torch.cuda.max_memory_allocated(self.index)
        status = status_of_process()
        # What is set aside and was never touched counts, too, as it does for the cap.
        untouched = status.get("VmData", 0) - status.get("RssAnon", 0)
        return status.get("VmHWM", 0) - status.get("RssFile", 0) + untouched

    def live(self):
        if self.is_card:
            return torch.cuda.memory_allocated(self.index)
        return status_of_process().get("VmData", 0)

    def tell(self, phase):
        emit("memory", phase=phase, peak_bytes=self.peak(), live_bytes=self.live())
        self.reset()


def status_of_process():
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    sizes = (line.split() for line in lines if line.endswith("kB"))
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in sizes}


def bytes_of(text):
    units = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
    unit = next(unit for unit in units if text.endswith(unit))
    return int(text[: -len(unit)]) * units[unit]


def synchronize(memory):
    if memory.is_card:
        torch.cuda.synchronize(memory.index)


# The schedule.


def share_of_peak(step, train):
    """Learning rate of optimizer step `step` (from 1) as a share of its peak, by the whole horizon."""
    total = max(train["total_steps"], 1)
    # Half a step more is one, as in Rust; Python's round would take the even one.
    warmup = math.floor(train["warmup_fraction"] * total + 0.5)
    if step < warmup:
        return step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    schedule = train["schedule"]
    if schedule == "linear":
        return 1 - progress
    if schedule == "cosine":
        return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "wsd":
        return 1 - math.sqrt(max(progress - 0.8, 0) / 0.2)
    return 1.0


# The Trainer.


class Run(Trainer):
    """Hugging Face's Trainer with the study's schedule, order of data and evaluation."""

    def __init__(self, spec, memory, validation, in_order, **arguments):
        super().__init__(**arguments)
        self.spec, self.memory, self.validation, self.in_order = spec, memory, validation, in_order
        self.loss, self.tokens, self.examples_told = 0.0, 0, None

    def create_scheduler(self, num_training_steps, optimizer=None):
        train = self.spec["train"]
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, lambda done: share_of_peak(done + 1, train))
        self.lr_scheduler = self.lr_scheduler or rate
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset=None):
        if self.in_order:
            return torch.utils.data.SequentialSampler(train_dataset or self.train_dataset)
        return super()._get_train_sampler(train_dataset)

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.tokens += int(inputs["attention_mask"].sum())
        loss = super().training_step(model, inputs, num_items_in_batch)
        # Each part is already divided by the scored tokens of the whole step.
        self.loss += loss.detach().float().item()
        return loss

    def step_told(self):
        """Loss and tokens since this was last asked."""
        loss, tokens = self.loss, self.tokens
        self.loss, self.tokens = 0.0, 0
        if WORLD > 1:
            # The Trainer multiplies each rank's loss by their number before their gradients are averaged.
            told = gather_object([(loss, tokens)])
            loss, tokens = sum(one[0] for one in told) / WORLD, sum(one[1] for one in told)
        return loss, tokens

    @torch.no_grad()
    def losses(self, examples, at_once):
        """Nats of each example and its scored tokens; ranks share the work."""
        self.model.eval()
        found = []
        own = range(RANK, len(examples), WORLD)
        for start in range(0, len(own), at_once):
            indices = own[start : start + at_once]
            batch = {key: value.to(self.args.device) for key, value in collate([examples[i] for i in indices]).items()}
            labels = batch.pop("labels")[:, 1:]
            with self.compute_loss_context_manager():
                logits = self.model(**batch, use_cache=False).logits[:, :-1]
            flat = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), ignore_index=IGNORED, reduction="none"
            )
            nats, tokens = flat.view(labels.shape).double().sum(1), (labels != IGNORED).sum(1)
            found += zip(indices, nats.tolist(), tokens.tolist())
        self.model.train()
        found = sorted(gather_object(found) if WORLD > 1 else found)
        return [nats for _, nats, _ in found], [tokens for _, _, tokens in found]

    def evaluate(self, *_, **__):
        started, at_once = time.monotonic(), self.spec["train"]["eval_micro_batch_size"]
        self.memory.tell("backward")
        nats, tokens = self.losses(self.validation, at_once)
        synchronize(self.memory)
        self.memory.tell("evaluate")
        loss = sum(nats) / max(sum(tokens), 1)
        if not math.isfinite(loss):
            raise Diverged(self.state.global_step)
        event = {"step": self.state.global_step, "loss_nats": loss, "tokens": sum(tokens)}
        self.examples_told = {"nats": nats, "tokens": tokens}
        self.tell("eval", **event, seconds=time.monotonic() - started)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, {"eval_loss": loss})
        return {"eval_loss": loss}

    def tell(self, event, **fields):
        self.callback.said.append({"event": event, **fields})
        emit(event, **fields)

    def save_whole(self, folder):
        """The model in the Hugging Face layout, adapters merged, in the type of the base's files; in one step."""
        base = Path(self.spec["model"])
        dtype = AutoConfig.from_pretrained(base).dtype or torch.float32
        model = self.accelerator.unwrap_model(self.model)
        merged = model
        if hasattr(model, "merge_and_unload"):
            import copy

            merged = copy.deepcopy(model).merge_and_unload()
        writing = Path(f"{folder}.writing")
        shutil.rmtree(writing, ignore_errors=True)
        weights = {name: tensor.detach().to("cpu", dtype) for name, tensor in merged.state_dict().items()}
        merged.save_pretrained(writing, state_dict=weights)
        config = json.loads((writing / "config.json").read_text())
        config["dtype"] = config["torch_dtype"] = str(dtype).removeprefix("torch.")
        (writing / "config.json").write_text(json.dumps(config, indent=2))
        for file in base.glob("*token*"):
            shutil.copy(file, writing / file.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(writing, folder)


class Reporter(TrainerCallback):
    """Says steps, evaluates and saves where it is asked to, and stops at the rung's last step."""

    def __init__(self, task):
        self.task, self.said, self.best_loss, self.began = task, [], None, time.monotonic()

    def on_step_begin(self, args, state, control, **_):
        self.began = time.monotonic()

    def on_log(self, args, state, control, logs=None, **_):
        if not logs or "loss" not in logs:
            return
        loss, tokens = self.trainer.step_told()
        norm = logs.get("grad_norm")
        norm = float(norm) if norm is not None and math.isfinite(norm) else None
        if not math.isfinite(loss):
            raise Diverged(state.global_step)
        synchronize(self.trainer.memory)
        rate = args.learning_rate * share_of_peak(state.global_step, self.trainer.spec["train"])
        seconds = time.monotonic() - self.began
        self.trainer.tell("step", step=state.global_step, loss_nats=loss, learning_rate=rate, grad_norm=norm,
                          tokens=tokens, seconds=seconds)

    def on_step_end(self, args, state, control, **_):
        is_last = state.global_step >= self.task["stop_at_step"]
        if is_last or state.global_step % max(self.task["evaluate_every"], 1) == 0:
            control.should_evaluate = control.should_save = True
        control.should_training_stop = control.should_training_stop or is_last
        return control

    def on_evaluate(self, args, state, control, metrics=None, **_):
        if self.task.get("examples") and state.global_step >= self.task["stop_at_step"]:
            self.trainer.tell("examples", **self.trainer.examples_told)
        loss, folder = metrics["eval_loss"], self.task.get("best")
        if folder and (self.best_loss is None or loss < self.best_loss):
            self.best_loss = loss
            if RANK == 0:
                self.trainer.save_whole(folder)

    def on_save(self, args, state, control, **_):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if RANK == 0:
            history = {"stop": self.task["stop_at_step"], "said": self.said, "best_loss": self.best_loss}
            (folder / HISTORY).write_text(json.dumps(history))
            # Not by `save_total_limit`, which removes the old one before the new one is whole.
            for other in folder.parent.glob("checkpoint-*"):
                if other != folder:
                    shutil.rmtree(other)
        self.trainer.memory.tell("checkpoint")
        emit("checkpoint", path=args.output_dir, step=state.global_step)


def last_whole_checkpoint(folder):
    """The newest checkpoint whose last file was written; what a killed run left half written is removed."""
    while newest := get_last_checkpoint(folder) if os.path.isdir(folder) else None:
        if (Path(newest) / HISTORY).is_file():
            return newest
        if RANK == 0:
            shutil.rmtree(newest)
        else:
            time.sleep(0.1)
    return None


def model_of(spec):
    train = spec["train"]
    transformers.set_seed(train["seed"])
    try:
        model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32, attn_implementation="sdpa")
    except (OSError, ValueError) as error:
        raise Failed("model", str(error)) from error
    model.config.use_cache = False
    if lora := train.get("lora"):
        if lora.get("quantize_base"):
            raise Failed("model", "this adapter keeps the base as it is: leave `lora.quantize_base` out")
        from peft import LoraConfig, get_peft_model

        targets = lora["targets"]
        model = get_peft_model(model, LoraConfig(
            r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], use_rslora=lora["rslora"],
            target_modules=targets[0] if targets == ["all-linear"] else targets, task_type="CAUSAL_LM"))
        if train["gradient_checkpointing"]:
            model.enable_input_require_grads()
    return model


def arguments_of(spec, memory, folder, steps):
    point, train = spec["hyperparams"], spec["train"]
    optimizers = {"adamw": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit"}
    known = TrainingArguments.__dataclass_fields__
    # Renamed in version 5.
    recompute = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=point["micro_batch_size"],
        gradient_accumulation_steps=point["gradient_accumulation_steps"],
        learning_rate=point["learning_rate"],
        bf16=point["precision"] == "bf16",
        fp16=point["precision"] == "f16",
        optim=optimizers[train["optimizer"]],
        weight_decay=train["weight_decay"],
        max_grad_norm=train["max_grad_norm"] or 0.0,
        **{recompute: train["gradient_checkpointing"]},
        seed=train["seed"],
        data_seed=train["seed"],
        use_cpu=not memory.is_card,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        remove_unused_columns=False,
        dataloader_pin_memory=memory.is_card,
        disable_tqdm=True,
        report_to="none",
    )


def make(spec, memory, task, folder, steps, train, validation, in_order):
    reporter = Reporter(task)
    model = model_of(spec)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    run = Run(spec, memory, validation, in_order, model=model, args=arguments_of(spec, memory, folder, steps),
              train_dataset=train, eval_dataset=validation, data_collator=collate, callbacks=[reporter])
    run.remove_callback(transformers.trainer_callback.PrinterCallback)
    reporter.trainer, run.callback = run, reporter
    return run, reporter, trainable


def started(spec, memory, trainable, step):
    emit("started", device=memory.describe(), dtype=spec["hyperparams"]["precision"],
         version=f"transformers {transformers.__version__}", resumed_at_step=step, parameters=trainable)


def train(spec, memory, tensors):
    task = spec["task"]
    validation = examples_of(tensors, "validation")[: spec["train"]["validation_examples"]]
    steps = spec["train"]["total_steps"]
    run, reporter, trainable = make(spec, memory, task, task["checkpoint"], steps, examples_of(tensors, "train"),
                                    validation, False)
    checkpoint, step = last_whole_checkpoint(task["checkpoint"]), 0
    if checkpoint:
        step = int(checkpoint.rsplit("-", 1)[1])
        history = json.loads((Path(checkpoint) / HISTORY).read_text())
        reporter.best_loss = history["best_loss"]
        if history["stop"] == task["stop_at_step"]:
            reporter.said = history["said"]
    started(spec, memory, trainable, step)
    # The driver may not have heard what was said on the way to this stop.
    for event in reporter.said:
        emit(**event)
    memory.reset()
    if step < task["stop_at_step"]:
        run.train(resume_from_checkpoint=checkpoint)


def probe(spec, memory, tensors):
    """The longest examples, an evaluation, a checkpoint; then the speed of smaller micro-batches."""
    task, point = spec["task"], spec["hyperparams"]
    accumulation = point["gradient_accumulation_steps"]
    count = point["micro_batch_size"] * accumulation * WORLD
    worst = longest(examples_of(tensors, "train"), count * task["steps"], task["max_length"])
    # Every step meets the very longest.
    worst = worst[:count] * task["steps"]
    validation = longest(examples_of(tensors, "validation"), spec["train"]["eval_micro_batch_size"] * WORLD,
                         task["max_length"])
    short = {"stop_at_step": task["steps"], "evaluate_every": task["steps"]}
    run, _, trainable = make(spec, memory, short, task["scratch"], task["steps"], worst, validation, True)
    started(spec, memory, trainable, 0)
    memory.tell("load")
    run.train()
    for micro in task["timed"]:
        emit("timed", **speed(run, worst, micro, accumulation))
    if RANK == 0:
        shutil.rmtree(task["scratch"], ignore_errors=True)


def speed(run, worst, micro, accumulation):
    """Seconds of optimizer steps of so small a micro-batch, the first one left out."""
    batch, tokens = [worst[index % len(worst)] for index in range(micro)], 0
    for step in range(1 + -(-TIMED_EXAMPLES // (micro * accumulation))):
        if step == 1:
            synchronize(run.memory)
            tokens, began = 0, time.monotonic()
        for _ in range(accumulation):
            inputs = collate(batch)
            tokens += int(inputs["attention_mask"].sum()) * WORLD
            run.training_step(run.model_wrapped, inputs, (inputs["labels"] != IGNORED).sum() * accumulation)
        run.optimizer.step()
        run.optimizer.zero_grad()
    synchronize(run.memory)
    return {"micro_batch_size": micro, "tokens": tokens, "seconds": time.monotonic() - began}


def is_refusal(error):
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or REFUSED in str(error)


def main(spec):
    memory = None
    try:
        memory = Memory(spec)
        {"train": train, "probe": probe}[spec["task"]["kind"]](spec, memory, load_file(spec["dataset"]))
        emit("finished")
    except Diverged as error:
        emit("diverged", step=error.step)
    except Failed as error:
        emit("failed", **{"class": error.kind}, message=str(error))
    except Exception as error:  # noqa: BLE001: whatever it is, it is this run's end
        if not is_refusal(error):
            raise
        emit("out_of_memory", live=memory.live() if memory else 0, cap=memory.cap if memory else None)
        # The launcher of several ranks knows a rank that is not heard by its message.
        print(error, file=sys.stderr, flush=True)
        sys.exit(1)


if SPEC:
    main(SPEC)
