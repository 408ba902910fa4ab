"""wordsight view: the page of explain, served live on this machine."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import suppress
from typing import Annotated

import typer
from typing_extensions import TypedDict

from wordsight.cli.common import AsJson, Model, load_vlm, print_json, say, takes_load_options
from wordsight.cli.explain import Book, Keeps, Pruners, request_factory
from wordsight.cli.signals import Stopped
from wordsight.models.load_options import LoadOptions

FORMAT = 1


class ViewRecord(TypedDict):
    """Where `wordsight view` serves which model."""

    format: int
    url: str
    model: str


@takes_load_options
def view(
    model: Model = "demo",
    codebook: Book = None,
    pruner: Pruners = None,
    keep: Keeps = None,
    host: Annotated[
        str, typer.Option(help="an address of this machine; any but the default lets others in")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks any that is free", min=0, max=65535)] = 8000,
    max_upload: Annotated[
        int, typer.Option(help="largest size of a question's files together, in MiB", min=1)
    ] = 32,
    open: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Serve the page of explain on this machine: drop a picture, ask, see what every visual token says."""
    from wordsight.viewer.listener import Listener

    with Listener.at(host, port) as listener:
        from wordsight.viewer.serve import serve  # the listener has checked for the extra

        make_request = request_factory(pruner, keep, codebook, model)
        request = make_request(names=())  # refuses wrong options before the model is loaded
        vlm = load_vlm(model, load)
        request.methods(vlm)  # and refuses what does not fit the model before anybody asks
        if as_json:
            print_json(ViewRecord(format=FORMAT, url=listener.url, model=vlm.name))
        sys.stdout.flush()  # a program that reads it waits for the address while the server goes on
        if open:
            webbrowser.open(listener.url)
        with suppress(Stopped):  # as after Ctrl-C
            serve(vlm, make_request, listener, max_upload=max_upload, notify=say)
