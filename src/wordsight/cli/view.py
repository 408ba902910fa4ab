"""wordsight view: the page of explain, served live on this machine."""

from __future__ import annotations

import sys
import webbrowser
from typing import Annotated

import typer

from wordsight.cli.common import AsJson, Model, load_vlm, say, show
from wordsight.cli.explain import Book, Keeps, Pruners, asks


def view(
    model: Model = "demo",
    codebook: Book = None,
    pruner: Pruners = None,
    keep: Keeps = None,
    host: Annotated[
        str, typer.Option(help="an address of this machine; any but the default lets others in")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 is any that is free", min=0, max=65535)] = 8000,
    max_upload: Annotated[int, typer.Option(help="of the files of a question, in MiB", min=1)] = 32,
    open: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve the page of explain on this machine: drop a picture, ask, see what every visual token says."""
    from wordsight.viewer.listener import Listener

    with Listener.at(host, port) as door:
        from wordsight.viewer.serve import serve  # the door has found the extra

        asking = asks(pruner, keep, codebook, model)
        asked = asking(names=())  # what is wrong with the options is told before the model is loaded
        vlm = load_vlm(model)
        asked.methods(vlm)  # and what does not fit the model, before anybody asks
        show({"url": door.url, "model": vlm.name}, as_json, "")
        sys.stdout.flush()  # whoever reads it waits for the address while the server goes on
        if open:
            webbrowser.open(door.url)
        serve(vlm, asking, door, max_upload=max_upload, say=say)
