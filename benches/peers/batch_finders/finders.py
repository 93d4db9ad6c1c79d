"""How each tool looks for the largest batch, run on a predicate instead of a card.

Lightning, accelerate and Ultralytics are the installed packages themselves: what they call to train raises
the error a full card raises, and what they ask of CUDA is answered from the curve. Composer needs another
PyTorch than the rest, so its rule is written here in our words.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace

from curves import Case

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."
START = 128
"""Where tools begin that only go down: accelerate's default."""


@dataclass
class Search:
    """What a finder did."""

    probes: list[tuple[int, bool]] = field(default_factory=list)
    """Sizes in the order tried, and whether they passed."""
    result: int = 0
    """The size returned; 0 where it gave up."""

    def attempt(self, size: int, passes: bool) -> None:
        """Notes a try, and fails as a full card does."""
        self.probes.append((size, passes))
        if not passes:
            raise RuntimeError(OUT_OF_MEMORY)


@dataclass(frozen=True)
class Finder:
    """A tool's search."""

    name: str
    what: str
    package: str | None
    """What has to be installed; None: reimplemented."""
    search: Callable[[Case], Search]
    steps: int = 1
    """Optimizer steps of a try that passes."""


def lightning(mode: str) -> Callable[[Case], Search]:
    """`Tuner.scale_batch_size`; what it does depends on the true maximum alone."""

    @cache
    def of(truth: int) -> Search:
        import lightning.pytorch as pl
        import torch
        from lightning.pytorch.tuner import Tuner

        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        found = Search()

        class Toy(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.batch_size = torch.nn.Linear(1, 1), 2

            def training_step(self, batch, index):
                size = len(batch)
                if index == 0:
                    found.attempt(size, size <= truth)
                return self.layer(batch).sum()

            def train_dataloader(self):
                return torch.utils.data.DataLoader(torch.zeros(4096, 1), batch_size=self.batch_size)

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.0)

        with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1,
                                 enable_progress_bar=False, enable_model_summary=False, default_root_dir=root)
            found.result = Tuner(trainer).scale_batch_size(Toy(), mode=mode)
        return found

    return lambda case: of(case.truth)


@cache
def accelerate_of(truth: int) -> Search:
    """`find_executable_batch_size`; what it does depends on the true maximum alone."""
    from accelerate.utils import find_executable_batch_size

    found = Search()

    @find_executable_batch_size(starting_batch_size=START)
    def train(batch_size):
        found.attempt(batch_size, batch_size <= truth)
        return batch_size

    found.result = train()
    return found


def composer(case: Case) -> Search:
    """`device_train_microbatch_size="auto"`: half of it after each out-of-memory."""
    found = Search()
    size = START
    while True:
        try:
            found.attempt(size, case.curve.fits(size, case.cap))
        except RuntimeError:
            if size == 1:
                return found
            size = max(size // 2, 1)
            continue
        found.result = size
        return found


def ultralytics(case: Case) -> Search:
    """`autobatch` as shipped: a line through the peaks of five sizes, 60 % of the memory."""
    from ultralytics.utils import LOGGER
    from ultralytics.utils import autobatch as module

    LOGGER.setLevel(logging.ERROR)
    found = Search()
    device = SimpleNamespace(type="cuda", index=0)
    card = SimpleNamespace(
        get_device_properties=lambda _: SimpleNamespace(total_memory=case.cap, name="a curve"),
        memory_reserved=lambda _: 0,
        mem_get_info=lambda _: (case.cap, case.cap),
        empty_cache=lambda: None,
    )

    def profile(images, *_, **__):
        results = []
        for size in (image.shape[0] for image in images):
            try:
                found.attempt(size, case.curve.fits(size, case.cap))
                results.append([0, 0, case.curve.peaks[size - 1] / 2**30, 0, 0, (), ()])
            except RuntimeError:
                results.append(None)
        return results

    module.get_torch_device_backend, module.profile_ops = lambda _: card, profile
    model = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=device)]), yaml={})
    found.result = module.autobatch(model, imgsz=1)
    return found


FINDERS = {
    finder.name: finder
    for finder in (
        Finder("lightning-power", "Tuner.scale_batch_size, mode power", "lightning", lightning("power"), 3),
        Finder("lightning-binsearch", "the same, mode binsearch", "lightning", lightning("binsearch"), 3),
        Finder("accelerate", f"find_executable_batch_size from {START}", "accelerate",
               lambda case: accelerate_of(case.truth)),
        Finder("composer-halving", f"microbatching auto from {START}, its rule reimplemented", None, composer),
        Finder("ultralytics", "autobatch as shipped, 60 % of the memory", "ultralytics", ultralytics),
    )
}
