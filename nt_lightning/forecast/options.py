"""What would make a run fit, with the memory that each way would take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.forecast.activations import step_memory
from nt_lightning.forecast.memory import Memory, add_up, memory_of, weights_in
from nt_lightning.forecast.setup import Setup
from nt_lightning.student.loading import LoRA

GIB = 2**30
MOST_DEVICES, PER_NODE = 512, 8  # our choice
TIGHT = 0.9  # of a device's memory: fragments and the device's context need some, our choice


class Option(NamedTuple):
    """A change of the recipe, what has to be given for it, and the memory of one device then."""

    what: str
    arguments: str
    memory: Memory


def options(setup: Setup, room: int, longest: int) -> Iterator[Option]:
    """Ways to less memory, mildest first; recomputation is part of all that follow it.

    Args:
        setup: What does not fit.
        room: Bytes of a device.
        longest: Tokens of the longest trace: no row can be shorter.
    """
    if not setup.checkpointing:
        setup = replace(setup, checkpointing=1)
        what = "recompute activations"
        yield _option(what, "--model.activation_checkpointing true", setup)
    if setup.quantization is None:
        yield _over_more_devices(setup, room)
    if setup.lora is None:
        setup = replace(setup, lora=LoRA())
        yield _option("train adapters", f"--model.lora.r {LoRA().r}", setup)
    if setup.quantization is None:
        setup = replace(setup, quantization="4bit")
        how = f"--model.lora.r {setup.lora.r} --model.quantization 4bit"  # type: ignore[union-attr]
        yield _option("adapters on a base in 4 bits", how, setup)
    if setup.tokens > longest:
        yield _in_shorter_rows(setup, longest)


def verdict(memory: Memory, room: int | None) -> str:
    """Whether a run fits a device: ``fits``, ``is tight``, ``does not fit``, or unknown."""
    if room is None:
        return "unknown: the device's memory is not known"
    share = memory.total / room
    return "fits" if share <= TIGHT else "is tight" if share <= 1 else "does not fit"


def gib(size: float) -> str:
    """Bytes as text."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:,.1f} MiB"


def advice(setup: Setup, memory: Memory, room: int, longest: int) -> str:
    """What does not fit, and what would: a few lines.

    Args:
        setup: The run.
        memory: Its forecast.
        room: Bytes of a device.
        longest: Tokens of the longest trace.
    """
    lines = [
        f"the forecast for each device is {gib(memory.total)} of {gib(room)} "
        f"({gib(memory.fixed)} of it weights, gradients and optimizer states); instead:"
    ]
    for option in options(setup, room, longest):
        total = option.memory.total
        ending = f"{gib(total)}, {verdict(option.memory, room)}"
        lines.append(f"  {option.what}: {option.arguments} ({ending})")
    return "\n".join(lines)


def refuse(setup: Setup, memory: Memory, room: int, longest: int) -> str | None:
    """What is to be said of a run on a device; nothing where it fits.

    Raises:
        UserError: Weights, gradients and states alone are more than the device has.
    """
    if memory.total <= room:
        return None
    text = advice(setup, memory, room, longest)
    if memory.fixed > room:
        raise UserError(f"{setup.model_name} cannot be trained so: {text}")
    return f"may run out of memory: {text}"


def _option(what: str, arguments: str, setup: Setup) -> Option:
    return Option(what, arguments, memory_of(setup))


def _over_more_devices(setup: Setup, room: int) -> Option:
    """FSDP2 over as few devices as it takes, doubled until it fits."""
    number = setup.world_size * (2 if setup.strategy == "fsdp2" else 1)
    setup = replace(setup, strategy="fsdp2", world_size=max(2, number))
    weights, step = weights_in(setup), step_memory(setup)
    while True:
        memory = add_up(setup, weights, step)
        number = setup.world_size
        if verdict(memory, room) == "fits" or 2 * number > MOST_DEVICES:
            nodes = -(-number // PER_NODE)
            how = f"--trainer.strategy fsdp2 --trainer.devices {min(number, PER_NODE)}"
            how += f" --trainer.num_nodes {nodes}" if nodes > 1 else ""
            return Option(f"share out over {number} devices", how, memory)
        setup = replace(setup, world_size=2 * number)


def _in_shorter_rows(setup: Setup, longest: int) -> Option:
    """Rows of half the length, or of the longest trace."""
    tokens = max(longest, setup.tokens // 2)
    labels = round(setup.labels * tokens / setup.tokens)
    bins = round(setup.bins_per_step * setup.tokens / tokens)
    shorter = replace(setup, lengths=(tokens,), labels=labels, bins_per_step=bins)
    return _option("shorter rows as well", f"--data.max_tokens {tokens}", shorter)
