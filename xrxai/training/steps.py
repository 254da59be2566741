"""One epoch of steps, or of looking, and where its random numbers come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from xrxai.errors import LabelError, note
from xrxai.training.history import Row
from xrxai.training.scores import confusion_of, scores


@dataclass
class Steps:
    """A net, its optimizer, and one epoch of either kind."""

    net: nn.Module
    score: Callable[[Tensor, Tensor], Tensor]
    device: torch.device
    amp: str | None
    seed: int
    batch_size: int
    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        free = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(free, lr=self.lr, weight_decay=self.weight_decay)
        # Gradients of float16 vanish below 6e-8 unless the loss is scaled up.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == "float16")

    def state(self) -> dict[str, Any]:
        """What has to be kept between epochs."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to what was kept."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def learn(self, tiles: Any, epoch: int, tick: Callable[[], object]) -> Row:
        """One epoch of steps; a batch without a labelled pixel is passed over."""
        if hasattr(tiles, "set_epoch"):
            tiles.set_epoch(epoch)
        self.net.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        order = np.random.default_rng([self.seed, epoch]).permutation(len(tiles))
        total, pixels, skipped = 0.0, 0, 0
        batches = list(self.batches(order))
        for step, at in enumerate(batches):
            self.sow(epoch, step)
            image, label = self.read(tiles, at)
            known = int((label != -1).sum())
            if known:
                logits = self.answer(image)
                value = self.score(logits, label)
                found = float(value.detach())
                if not np.isfinite(found):
                    raise FloatingPointError(_why(step, len(batches), found, image, logits))
                self.optimizer.zero_grad(set_to_none=True)
                self.scaler.scale(value).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                total, pixels = total + found * known, pixels + known
            skipped += not known
            for _ in at:
                tick()
        if not pixels:
            raise LabelError(
                f"No batch of epoch {epoch} holds a labelled pixel; choose windows that do, or "
                f"weaken the augmentation."
            )
        if skipped and epoch == 1:
            note(
                f"{skipped} of {len(batches)} batches of epoch 1 hold no labelled pixel and were "
                f"passed over; leave out tiles without labels."
            )
        if not all(bool(v.isfinite().all()) for v in self.net.state_dict().values()):
            raise FloatingPointError(f"after batch {len(batches)} the weights are not finite")
        return {"train_loss": total / pixels, "skipped": skipped}

    @torch.no_grad()
    def look(self, tiles: Any, count: int) -> Row:
        """Loss and scores on tiles that are not learned from."""
        self.net.eval()
        total, pixels = 0.0, 0
        confusion = np.zeros((count, count), np.int64)
        for at in self.batches(np.arange(len(tiles))):
            image, label = self.read(tiles, at)
            known = int((label != -1).sum())
            if known:
                logits = self.answer(image)
                total += float(self.score(logits, label)) * known
                pixels += known
                best = logits.argmax(1).cpu().numpy()
                confusion += confusion_of(label.cpu().numpy(), best, count)
        if not pixels:
            raise LabelError(
                "The validation tiles hold no labelled pixel, so no epoch is better than "
                "another; pass windows that do, or leave validation= out."
            )
        made = scores(confusion)
        kept = ("iou", "f1", "mean_iou", "accuracy")
        return {"validation_loss": total / pixels, **{name: made[name].tolist() for name in kept}}

    def batches(self, order: np.ndarray) -> list[np.ndarray]:
        """Even parts of an order: no last batch of one, of which batch norm knows no variance."""
        return np.array_split(order, -(-len(order) // self.batch_size))

    def read(self, tiles: Any, at: np.ndarray) -> tuple[Tensor, Tensor]:
        """Some tiles as a batch: image (n, band, y, x), label (n, y, x)."""
        image, label = default_collate([tuple(tiles[int(i)][:2]) for i in at])
        return image.to(self.device), label.to(self.device)

    def answer(self, image: Tensor) -> Tensor:
        """Logits in float32, whatever the net runs in."""
        if self.amp is None:
            found: Tensor = self.net(image)
            return found
        with torch.autocast(self.device.type, getattr(torch, self.amp)):
            found = self.net(image)
        return found.float()

    def sow(self, epoch: int, step: int) -> None:
        """Dropout and all else that draws globally: the same numbers whatever came before."""
        seeds = np.random.SeedSequence([self.seed, epoch, step])
        number = int(seeds.generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(number)


def _why(step: int, steps: int, found: float, image: Tensor, logits: Tensor) -> str:
    """What is not finite, from the input on."""
    where = f"in batch {step + 1} of {steps} the loss is {found:g}"
    for name, values in (("the image holds", image), ("the net answers", logits)):
        if not bool(values.isfinite().all()):
            return f"{where}, and {name} values that are not finite"
    return where
