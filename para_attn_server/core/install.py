"""Commands that install what is missing, as errors and `doctor` print them: each works as written, with any pip."""

from __future__ import annotations

PARA_ATTN = "pip download --no-deps pip==26.2.1 && python pip-26.2.1-py3-none-any.whl/pip install para-attn==0.3.38"
"""pip 26.3 refuses para-attn's metadata, which names a direct URL in an extra. pip 26.2.1 takes it, and runs from its
wheel beside whatever pip is installed."""
VIDEO = 'pip install "imageio-ffmpeg>=0.6"'


def again(package: str, version: str) -> str:
    """A command that repairs an installed package, without touching any other."""
    return f"pip install --force-reinstall --no-deps {package}=={version.partition('+')[0]}"


def torch(build: str) -> str:
    """A command that replaces torch by another build of it, such as `cu126`, and leaves every other package."""
    index = f"https://download.pytorch.org/whl/{build}"
    return f'pip uninstall -y torch && pip install "torch>=2.6" --index-url {index}'
