"""A callback for tests of signals that come where no loop of the trainer listens."""

from __future__ import annotations

import os
import signal
from typing import Any

from lightning.pytorch import Callback


class SignalAt(Callback):
    """Sends this process a signal at one place.

    Args:
        place: ``setup``, ``setup of the first`` (on that rank alone), ``restoring`` (between loops
            and optimizers), ``listening`` (Lightning listens, our callback not yet), ``predict``,
            ``end`` or ``teardown``.
        name: The signal's, such as SIGTERM.
    """

    def __init__(self, place: str, name: str) -> None:
        self.place, self.number = place, signal.Signals[name]

    def send(self, place: str) -> None:
        """The signal, if this is the place."""
        if place == self.place:
            os.kill(os.getpid(), self.number)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.send("setup")
        if trainer.is_global_zero:
            self.send("setup of the first")
        restore = trainer.strategy.load_optimizer_state_dict

        def signalled(*args: Any, **kwargs: Any) -> None:
            self.send("restoring")
            restore(*args, **kwargs)

        trainer.strategy.load_optimizer_state_dict = signalled
        listen = trainer._signal_connector.register_signal_handlers

        def listens() -> None:
            listen()
            self.send("listening")

        trainer._signal_connector.register_signal_handlers = listens

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.send("end")

    def on_predict_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self.send("predict")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.send("teardown")
