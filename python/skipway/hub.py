"""Weights from the network: nothing is downloaded, so this is an error that says what to do instead."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(name: str, what: Any) -> NoReturn:
    raise RuntimeError(
        f"{name}: skipway downloads nothing; get {what} yourself, then model.load_state_dict(skipway.load(path))"
    )


def load_state_dict_from_url(url: str, *args: Any, **kwargs: Any) -> Any:
    """A RuntimeError."""
    _refuse("load_state_dict_from_url", url)


def load(repo_or_dir: str, model: str, *args: Any, **kwargs: Any) -> Any:
    """A RuntimeError."""
    _refuse("hub.load", f"{repo_or_dir}:{model}")


def download_url_to_file(url: str, dst: str, *args: Any, **kwargs: Any) -> None:
    """A RuntimeError."""
    _refuse("download_url_to_file", url)
