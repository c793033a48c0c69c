"""Predictors that break the contract, each in one way."""

from __future__ import annotations

import os
import time

import torch.distributed as dist


class RaisesInSetup:
    """setup() raises on rank 1."""

    pipe = None

    def setup(self) -> None:
        dist.init_process_group("gloo")
        if dist.get_rank() == 1:
            raise RuntimeError("the weights are not there")

    def predict(self, output_path: str) -> None: ...


class Wordless(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        return f"code {self.code}"  # type: ignore[attr-defined]


class RaisesWithoutWords:
    """setup() raises on rank 1, and what it raises cannot be printed."""

    pipe = None

    def setup(self) -> None:
        dist.init_process_group("gloo")
        if dist.get_rank() == 1:
            raise Wordless

    def predict(self, output_path: str) -> None: ...


class NeverInitializes:
    """setup() forgets the process group."""

    pipe = None

    def setup(self) -> None: ...

    def predict(self, output_path: str) -> None: ...


class HasNoPipe:
    """No attribute `pipe`."""

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(self, output_path: str) -> None: ...


class HasNoPredict:
    """No predict()."""

    pipe = None

    def setup(self) -> None: ...


class TearsDownWithArguments:
    """teardown() wants what nobody has."""

    pipe = None

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(self, prompt: str) -> None: ...

    def teardown(self, reason: str) -> None: ...


class DiesInSetup:
    """The process ends in setup()."""

    pipe = None

    def setup(self) -> None:
        os._exit(9)

    def predict(self, output_path: str) -> None: ...


class HangsInSetup:
    """setup() never comes back on rank 0."""

    pipe = None

    def setup(self) -> None:
        time.sleep(3600 if os.environ["RANK"] == "0" else 0)
        dist.init_process_group("gloo")

    def predict(self, output_path: str) -> None: ...
