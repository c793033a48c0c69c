"""The same work behind LitServe, in an environment that has it: python benchmarks/litserve_peer.py PORT

POST /predict answers when the job is done. Source: https://lightning.ai/docs/litserve/api-reference/litapi
"""

from __future__ import annotations

import sys
from typing import Any

import litserve
from sleeping import SleepingWork


class SleepingAPI(litserve.LitAPI):
    """One worker on the CPU."""

    def setup(self, device: str) -> None:
        """Runs once in the worker."""
        self.work = SleepingWork()

    def predict(self, request: dict[str, Any]) -> str:
        """One job."""
        return self.work.do(request["seed"], request["steps"], request["delay"])

    def encode_response(self, output: str) -> dict[str, str]:
        """As JSON."""
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(SleepingAPI(), accelerator="cpu", timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
