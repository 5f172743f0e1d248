"""The commands about training data: data preview, annotate, marks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import Overrides, run_of, several
from lift_harness.console import say_where, typed

app = App(help="Training data.", no_args_is_help=True)


@app.command("preview")
def data_preview(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    set_: Overrides = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Examples to show.")] = 3,
    t: Annotated[float, typer.Option("--t", help="Diffusion time: the share hidden, in (0, 1].")] = 0.5,
    method: Annotated[str | None, typer.Option(help="Of the recipe; default: its first.")] = None,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Load the model, for methods that ask it what to hide.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="[[Brackets]] in place of colour.")] = False,
) -> None:
    """Show what a recipe trains on: decoded examples, what is hidden at t, counts, lengths and hash."""
    from lift_harness.pipeline.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    from lift_harness.pipeline.evaluation import quiet
    from lift_harness.pipeline.preview import preview_recipe

    quiet()
    preview_recipe(loaded, n=n, t=t, method=method, with_model=with_model, plain=plain)
    say_where(train=run_of(loaded, recipe, set_ or []))


Source = Annotated[str, typer.Argument(metavar="DATA", help="A source of a recipe's data: a name or a path.")]
SourceKeys = Annotated[list[str] | None, several("A further key of the source, e.g. n=2000, kind=code.")]


@app.command("annotate")
def data_annotate(
    data: Source,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server: http://localhost:8000/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="By the server's name for it.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="JSON lines, a new file (default: DATA-annotated.jsonl).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    kind: Annotated[
        Literal["auto", "code", "math"], typer.Option(help="Whose rules; auto: by the example.")
    ] = "auto",
    set_: SourceKeys = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many examples.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer.")] = 120,
    tries: Annotated[int, typer.Option(min=1, help="Of one request.")] = 6,
    request: Annotated[
        list[str] | None,
        several("Of the requests, e.g. max_tokens=2000, temperature=null.", "--request"),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where the replies are kept (default: OUTPUT.replies).")
    ] = None,
    key_variable: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The environment's variable with the key (OPENAI_API_KEY)."),
    ] = None,
    show: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Print what N examples ask, and send nothing.")
    ] = None,
) -> None:
    """Have a language model mark what the density objective masks more often; run it again to go on."""
    from lift_harness.pipeline import annotate

    source = annotate.source_of(data, set_ or [])
    if show is not None:
        annotate.show_requests(source, kind, show)
        return
    server = annotate.server_of(endpoint, key_variable, timeout, tries)
    annotated = annotate.output_of(source, output, overwrite)
    annotate.annotate_source(
        source,
        server,
        model,
        annotated,
        cache=cache,
        kind=kind,
        request=annotate.request_of(request or []),
        concurrency=concurrency,
        limit=limit,
    )
    say_where(look=typed("data", "marks", annotated), recipe=f"data: [{{source: {annotated}}}]")


@app.command("marks")
def data_marks(
    data: Source,
    set_: SourceKeys = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Examples to show.")] = 3,
) -> None:
    """Show in brackets what the rules mark in a source's answers, and what its `priority_spans` do."""
    from lift_harness.pipeline.annotate import show_marks, source_of

    show_marks(source_of(data, set_ or []), n)
