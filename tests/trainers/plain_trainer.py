"""An ordinary script for Hugging Face's Trainer, which knows nothing of Diapason."""

import argparse

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

parser = argparse.ArgumentParser()
for name in ("model", "output_dir", "best"):
    parser.add_argument(f"--{name}", required=True)
for name in ("max_steps", "eval_steps", "micro", "accumulation", "warmup_steps", "seed"):
    parser.add_argument(f"--{name}", type=int, required=True)
parser.add_argument("--learning_rate", type=float, required=True)
options = parser.parse_args()

# Rows that count upwards, each from another start: 48 to train on, 8 to validate.
rows = [(torch.arange(16) * 3 + start) % 97 for start in range(56)]
rows = [{"input_ids": row, "labels": row.clone()} for row in rows]
arguments = TrainingArguments(
    output_dir=options.output_dir, max_steps=options.max_steps, learning_rate=options.learning_rate,
    per_device_train_batch_size=options.micro, gradient_accumulation_steps=options.accumulation,
    warmup_steps=options.warmup_steps, seed=options.seed, use_cpu=True, report_to="none", logging_steps=2,
    eval_strategy="steps", eval_steps=options.eval_steps, save_strategy="steps", save_steps=options.eval_steps,
    save_total_limit=1, include_num_input_tokens_seen=True)
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
trainer = Trainer(model=model, args=arguments, train_dataset=rows[:48], eval_dataset=rows[48:])
trainer.train()
trainer.evaluate()
trainer.save_state()
trainer.save_model(options.best)
