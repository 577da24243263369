"""What does not go with fsdp2 says so in one line, before it trains."""

import pytest

from tests.integration.command import nt, write_recipe

CASES = {
    "8 bits": (
        ("--model.quantization", "8bit", "--model.lora.r", "4"),
        "model.quantization is '8bit' under fsdp2; allowed there: 4bit",
    ),
    "an optimizer of 8 bits": (
        ("--model.optimizer", "bitsandbytes.optim.AdamW8bit", "--model.optimizer.lr", "1e-3"),
        "AdamW8bit under fsdp2; allowed there: those whose state is sharded",
    ),
    "by its other name, on a CPU": (("--trainer.strategy", "fsdp"), "fsdp"),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("refusals"))


@pytest.mark.parametrize("case", CASES)
def test_fit(recipe, tmp_path, case):
    options, line = CASES[case]
    done = nt(
        *("fit", "--config", recipe, "--trainer.strategy", "fsdp2", *options),
        *("--trainer.default_root_dir", tmp_path),
        check=False,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert line in done.stderr.splitlines()[-1]
    assert not [*tmp_path.glob("tiny-*/checkpoints/*")]


def test_predict(recipe):
    done = nt("predict", "--config", recipe, "--trainer.strategy", "fsdp2", check=False)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "predict does not run on a student that is shared out" in done.stderr.splitlines()[-1]
