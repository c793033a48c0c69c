"""Packaging of para-attn-server; exact tested versions are in constraints.txt."""

import sys
from pathlib import Path

from setuptools import find_packages, setup

if sys.platform != "linux":
    sys.exit(
        "para-attn-server runs on Linux only: it needs pidfd, memfd and PR_SET_PDEATHSIG. Use Linux, WSL 2 or Docker."
    )

# The client and the command line, on any machine; what serves comes with the extra `server`.
CLIENT = ["click>=8.1", "httpx>=0.28", "pydantic>=2.10", "pydantic-settings>=2.7", "rich>=13", "tenacity>=9"]
SERVER = ["torch>=2.6", "diffusers>=0.42", "transformers>=4.56", "accelerate>=1.0", "sentencepiece>=0.2"]
SERVER += ["protobuf>=5", "numpy>=1.26", "pillow>=11", "flask>=3.1", "gunicorn[gevent]>=23", "sqlalchemy>=2.0.36"]
SERVER += ["alembic>=1.14", "structlog>=24.4", "cloudpickle>=3.1", "jsonschema>=4.23", "psutil>=6"]
POSTGRES = ["psycopg[binary]>=3.2.2"]
TEST = [*POSTGRES, "docstring-parser>=0.16", "pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.7"]
TEST += ["imageio-ffmpeg>=0.6", "hypothesis>=6.100", "openapi-spec-validator>=0.7", "schemathesis>=4"]
LINT = ["ruff>=0.8", "mypy>=1.13", "pre-commit>=4", "types-psutil", "types-jsonschema"]

setup(
    name="para-attn-server",
    version="0.1.0",
    description="Serve a diffusers pipeline that runs on several GPUs at once, behind an API that never loses a job",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["para_attn_server", "para_attn_server.*"]),
        "para_attn_predictors",
    ],
    package_dir={"para_attn_predictors": "predictors"},
    package_data={
        "para_attn_server": ["py.typed"],
        "para_attn_predictors": ["demo_weights/*", "demo_weights/*/*"],
    },
    install_requires=[*CLIENT],
    extras_require={
        "server": [*SERVER],
        "demo": [*SERVER],
        # para-attn 0.3.38's metadata names a direct URL, which pip 26.3 refuses: as an extra, it keeps nobody from
        # installing the server. README and Makefile install it with pip 26.2.1, run from its wheel.
        "para-attn": [*SERVER, "para-attn>=0.3.38"],
        "gpu": [*SERVER, "nvidia-ml-py>=12"],
        "video": ["imageio-ffmpeg>=0.6"],
        "lora": ["peft>=0.17"],
        "postgres": [*SERVER, *POSTGRES],
        "test": [*SERVER, *TEST],
        "dev": [*SERVER, *TEST, *LINT],
    },
    entry_points={
        "console_scripts": ["para-attn-server = para_attn_server.__main__:main"],
        "para_attn_server.predictors": [
            "demo = para_attn_predictors.demo:DemoPredictor",
            "flux = para_attn_predictors.flux:FluxPredictor",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Operating System :: POSIX :: Linux",
        "License :: OSI Approved :: Apache Software License",
    ],
)
