"""The LightningCLI behind trainer commands."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from rich.console import Console

import nt_lightning.data.composition
import nt_lightning.data.naturalness
import nt_lightning.data.prompting
import nt_lightning.data.selections
import nt_lightning.data.semantic
import nt_lightning.data.strategies
import nt_lightning.student.evaluated
import nt_lightning.student.naturalness.data
import nt_lightning.student.naturalness.scorer
import nt_lightning.student.sft  # noqa: F401  (short class names resolve for what is imported)
from nt_lightning.data.certificate import copy_certificate
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import read_results
from nt_lightning.files import sweep, tidy_at_sigterm
from nt_lightning.forecast.before_fit import FitsInMemory
from nt_lightning.manners import ShortErrors, one_line
from nt_lightning.progress import RunProgressBar
from nt_lightning.report.matrix import mode_matrix
from nt_lightning.runs import (
    CHECKPOINTS,
    LAST,
    choose_run_folder,
    drop_if_empty,
    latest_checkpoint,
)
from nt_lightning.slurm import Job
from nt_lightning.stopping import StopTogether
from nt_lightning.student.checkpoint_io import with_checkpoints
from nt_lightning.traces.steps import StepSplitter
from nt_lightning.trainer import RecipeTrainer

log = logging.getLogger(__name__)
EXIT_SIGINT, EXIT_SIGTERM = 130, 143
_NO_STRATEGY = re.compile("invalid strategy name|The strategy `")
# a recipe for many devices is forecast where there are none
WITHOUT_DEVICES: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "precision": "32-true",
    "plugins": None,
    "callbacks": [],
    "logger": False,
    "enable_progress_bar": False,
}
_CLASSES: dict[str, type] = {
    "model": LightningModule,
    "data": LightningDataModule,
    "selections": LightningDataModule,
    "callbacks": Callback,
    "splitter": StepSplitter,
}


class Parser(ShortErrors, LightningArgumentParser):
    """Answers a mistake in a few lines that name the key and the nearest right one."""

    def class_names(self, key: str) -> list[str]:
        """Short names of models, selections or callbacks."""
        return [cls.__name__ for cls in _subclasses(_CLASSES[key])] if key in _CLASSES else []


class SaveRunConfig(SaveConfigCallback):
    """Writes the full config, and the data's mask certificate, into the run's folder."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml``; it runs again with ``--config``."""
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder / "config.yaml")
        self.parser.save(self.config, path, skip_unset=False, overwrite=True, multifile=False)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and isinstance(data, TraceDataModule):
            copy_certificate(data.folder, folder)


class CLI(LightningCLI):
    """LightningCLI with run folders, atomic checkpoints and the command line's word as the last."""

    # these outlive a constructor that Ctrl+C has left
    running: Trainer | None = None
    run_folder: Path | None = None
    job: Job | None = None
    stop: StopTogether | None = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's commands, and those of ``RecipeTrainer``."""
        names = ("doctor", "preview", "select", "score", "forecast")
        ours = {name: {"model", "datamodule"} for name in names}
        return {**LightningCLI.subcommands(), **ours}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The data's tokenizer is the student's."""
        parser.link_arguments("model.init_args.model_name", "data.init_args.model_name")

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone: it wins over hyper-parameters in a checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Find the checkpoint that ``last`` stands for, and the run's folder."""
        config = self.config[self.subcommand]
        root = Path(config.trainer.default_root_dir or "runs")
        name = _recipe_name(config.get("config"))
        CLI.job = Job.here(root) if self.subcommand == "fit" else None
        if CLI.job is not None and (checkpoint := CLI.job.checkpoint) is not None:
            config.ckpt_path = checkpoint  # newer than what the first start was given
            log.info("SLURM has started this job again; it goes on from %s", config.ckpt_path)
        if config.get("ckpt_path") == "last":
            config.ckpt_path = str(latest_checkpoint(root, name))
        ckpt_path = config.get("ckpt_path")
        if ckpt_path is not None:
            sweep(Path(ckpt_path))  # gives back what was being replaced when a run was killed
        if ckpt_path is not None and not Path(ckpt_path).exists():
            raise UserError(f"--ckpt_path {ckpt_path}: there is no such checkpoint")
        resumed = ckpt_path if self.subcommand == "fit" else None
        CLI.run_folder = choose_run_folder(root, name, str(self.subcommand), resumed)
        if CLI.job is not None:
            CLI.job.began(CLI.run_folder)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that keeps everything in the run's folder."""
        given = self._get(self.config_init, "trainer")
        folder = str(self.run_folder)
        kwargs["default_root_dir"] = folder
        if self.subcommand == "forecast":
            CLI.running = super().instantiate_trainer(**kwargs, **WITHOUT_DEVICES)
            CLI.running.recipe = given  # type: ignore[attr-defined]
            return CLI.running
        if given.logger is None and self.subcommand in ("fit", "validate", "test"):
            kwargs["logger"] = [
                CSVLogger(folder, name="", version=""),
                TensorBoardLogger(folder, name="", version="tensorboard"),
            ]
        if self.subcommand in ("predict", "score"):
            kwargs["logger"] = False
        plugins = given.plugins or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if self.job is not None:
            plugins = [*plugins, *self.job.environment(plugins)]
        kwargs["plugins"] = with_checkpoints(plugins)
        callbacks = given.callbacks or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        if self.subcommand == "fit" and not given.barebones:
            CLI.stop = StopTogether()
            kwargs["callbacks"] = callbacks = [CLI.stop, *callbacks, FitsInMemory()]
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if self.subcommand == "score":  # has a bar of its own, of responses
            kwargs["enable_progress_bar"] = False
        elif given.enable_progress_bar is not False and not (has_bar or given.barebones):
            kwargs["callbacks"] = [*callbacks, RunProgressBar()]
        CLI.running = super().instantiate_trainer(**kwargs)
        return CLI.running

    def after_fit(self) -> None:
        """Print the matrix of modes and where everything is."""
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert self.run_folder is not None
        run = read_results(self.run_folder)
        if run.results:
            Console().print(mode_matrix(run.results, run.baselines))
        print(f"run: {self.run_folder}")

    after_test = after_fit


def cli_arguments() -> dict[str, Any]:
    """Arguments of the LightningCLI, for ``run`` and for tests of recipes."""
    return {
        "model_class": LightningModule,
        "datamodule_class": LightningDataModule,
        "subclass_mode_model": True,
        "subclass_mode_data": True,
        "parser_class": Parser,
        "trainer_class": RecipeTrainer,
        "trainer_defaults": {"use_distributed_sampler": False},
        "auto_configure_optimizers": False,
        "seed_everything_default": 42,
        "save_config_callback": SaveRunConfig,
        "save_config_kwargs": {"save_to_log_dir": False},
    }


def run(argv: Sequence[str] | None) -> int:
    """Parse and run a trainer command; returns the exit code."""
    CLI.running = CLI.run_folder = CLI.job = CLI.stop = None
    if argv is not None:
        sys.argv = [sys.argv[0], *argv]  # what a strategy that launches processes runs again
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _quieten()
    with tidy_at_sigterm(_trainer_stops):  # otherwise the trainer's loops alone hear it
        return _run()


def _run() -> int:
    try:
        CLI(**cli_arguments())
        if _trainer_stops():  # heard behind the last step, where no loop looks
            raise SIGTERMException
    except SystemExit as stop:
        trainer = CLI.running
        if isinstance(stop, SIGTERMException) or stop.code == EXIT_SIGTERM:
            _say_how_to_go_on()
            if CLI.job is not None:
                CLI.job.requeue()
            return EXIT_SIGINT if CLI.stop and CLI.stop.by_ctrl_c else EXIT_SIGTERM
        if trainer is not None and trainer.state.status == TrainerStatus.INTERRUPTED:
            _say_how_to_go_on()
            return EXIT_SIGINT
        return stop.code if isinstance(stop.code, int) else 1
    except MisconfigurationException as error:  # Lightning's, such as a GPU that is not here
        text = one_line(str(error))
        hint = "; `forecast` needs no GPU" if "gpu backend" in text else ""
        raise UserError(text + hint) from error
    except (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(str(error)) from error
    except UserError:
        raise
    except ValueError as error:
        if CLI.running is None and _NO_STRATEGY.search(str(error)):  # Lightning's
            raise UserError(
                f"trainer.strategy: {one_line(str(error))}; allowed: auto, ddp or fsdp2"
            ) from error
        # jsonargparse swallows what a constructor says into the story of a union that did not fit
        if not str(error).startswith("Does not validate"):
            raise
        raise UserError(one_line(str(error))) from error
    finally:
        if CLI.run_folder is not None:
            drop_if_empty(CLI.run_folder)
    return 0


def _trainer_stops() -> bool:
    return CLI.running is not None and CLI.running.received_sigterm


def _say_how_to_go_on() -> None:
    folder = CLI.run_folder
    first = CLI.running is not None and CLI.running.is_global_zero
    if first and folder is not None and (folder / CHECKPOINTS / LAST).exists():
        print(f"stopped; the same command with --ckpt_path last goes on in {folder}")


def _subclasses(cls: type) -> Iterator[type]:
    """Classes below one that a recipe can name."""
    sub: type
    for sub in cls.__subclasses__():
        if not (sub.__name__.startswith("_") or inspect.isabstract(sub)):
            yield sub
        yield from _subclasses(sub)


def _recipe_name(configs: Any) -> str:
    """Names of the config files, ``run`` without one."""
    return "+".join(Path(str(config)).stem for config in configs or []) or "run"


def _quieten() -> None:
    """Drop warnings that a user of this command cannot act on; one line each says why."""
    for name in ("httpx", "httpcore", "bitsandbytes", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(
            logging.ERROR if name == "bitsandbytes" else logging.WARNING
        )
    # packing a row takes a millisecond, workers are no bottleneck
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # the run's folder is chosen by us and a resumed run goes on in it
    warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    # a checkpoint of another run is asked, not gone on with; predict writes a file
    warnings.filterwarnings("ignore", message=".*The dirpath has changed.*")
    warnings.filterwarnings("ignore", message=".*predict returned None.*")
    # these are torchmetrics, which gather over ranks
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # torch's own deprecation inside Lightning
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # the summary's size estimate
    warnings.filterwarnings("ignore", message=".*is not supported by the model summary.*")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
