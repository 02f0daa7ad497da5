"""Downloads of the course's files, known by the last part of the address: there is no network here."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grader.kernel.compat.files import InputFiles, get_base_name, wrap


def redirect(files: InputFiles) -> None:
    """Let `urlretrieve` and `requests.get` find data files. Other addresses fail as they do without a network."""
    import urllib.request

    import requests

    def asked(url: Any) -> str | None:
        name = get_base_name(urlsplit(url).path) if isinstance(url, str) else None
        return files.inputs.get(name.lower()) if name else None

    wrap(urllib.request, "urlretrieve", lambda original: _retrieve(original, asked))
    wrap(requests, "get", lambda original: _get(original, asked))


def _retrieve(original: Callable[..., Any], asked: Callable[[Any], str | None]) -> Callable[..., Any]:
    def retrieve(url: Any, filename: Any = None, *args: Any, **kwargs: Any) -> Any:
        if (here := asked(url)) is None:
            return original(url, filename, *args, **kwargs)
        if filename is not None and os.path.realpath(filename) != os.path.realpath(here):
            shutil.copyfile(here, filename)
        return filename or here, None

    return retrieve


def _get(original: Callable[..., Any], asked: Callable[[Any], str | None]) -> Callable[..., Any]:
    import requests

    def get(url: Any, *args: Any, **kwargs: Any) -> Any:
        if (here := asked(url)) is None:
            return original(url, *args, **kwargs)
        response = requests.Response()
        response.status_code, response.url, response.encoding = 200, url, "utf-8"
        response.raw = io.BytesIO(Path(here).read_bytes())
        return response

    return get
