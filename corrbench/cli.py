"""The command line: one function a command. Heavy imports stand inside the command that needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from corrbench import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class OneSentence(click.Group):
    """Turns what a user can mend into one sentence on stderr and exit code 2; Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, FileNotFoundError, PermissionError) as error:
            click.echo(f"corrbench: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo(
                "\ncorrbench: stopped; what is finished is kept, the same command goes on from there",
                err=True,
            )
            ctx.exit(130)


@click.group(cls=OneSentence, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="corrbench")
def main() -> None:
    """The reproducibility benchmark for video correspondence.

    \b
    corrbench run methods/stt.py tasks/davis.py      evaluate (and train what is missing)
    corrbench ablate methods/stt.py tasks/davis.py   the method's ablations, side by side
    corrbench report                                 tables, plots, overlays
    """


def run_options(command: Any) -> Any:
    """The options that every command which evaluates shares."""
    options = [
        click.option("-p", "--protocol", help="Evaluate under this preset instead of the method's own."),
        click.option(
            "-o",
            "override",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change a known key, e.g. protocol.topk=5.",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            help="Data root (else $CORRBENCH_DATA, else the task's).",
        ),
        click.option(
            "--no-sample",
            is_flag=True,
            help="Missing data is an error, not a run on the synthetic benchmark.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            default=Path("runs"),
            show_default=True,
            help="Where records go.",
        ),
        click.option("--device", help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)."),
        click.option(
            "--autocast",
            type=click.Choice(["bfloat16", "float16"]),
            help="Reduced precision in the backbone.",
        ),
        click.option(
            "--compile", is_flag=True, help="torch.compile the backbone (other rounding; pays on long runs)."
        ),
        click.option(
            "--memory", metavar="SIZE", help="The most memory to take, e.g. 8GiB (no number depends on it)."
        ),
        click.option(
            "--schedule", help="Training schedule of the method file, for stages that have to be trained."
        ),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of training."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="METHOD... TASK...")
@run_options
@click.option("--when", type=click.Choice(["missing", "always", "never"]), default="missing", show_default=True,
              help="Compute what is missing, everything afresh, or nothing.")  # fmt: skip
@click.option(
    "--dry-run", is_flag=True, help="Print signature, key, what is cached and what would be computed."
)
@click.option("--json", "as_json", is_flag=True, help="Print the records' numbers as JSON.")
def run(files: tuple[str, ...], dry_run: bool, as_json: bool, when: str, **options: Any) -> None:
    """Evaluate methods on tasks: a record for each pair, one table of them all."""
    from corrbench import api, screen

    methods, tasks = api.sort_files(files)
    settings = screen.settings(options)
    if dry_run:
        for task in tasks:
            for method in methods:
                screen.show_plan(api.plan(method, task, **settings))
        return
    records = [
        screen.run_one(method, task, when=when, quiet=as_json, **settings)
        for task in tasks
        for method in methods
    ]
    screen.show_records(records, as_json=as_json)


@main.command()
@click.argument("method")
@click.argument("task")
@run_options
@click.option("--only", multiple=True, help="Only this ablation (may be given several times).")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many seeds of each.")
@click.option(
    "--dry-run", is_flag=True, help="Say what would be trained and evaluated, and how long it takes."
)
@click.option(
    "--report",
    "out_report",
    type=click.Path(path_type=Path),
    default=Path("reports/ablation"),
    show_default=True,
)
def ablate(
    method: str, task: str, only: tuple[str, ...], seeds: int, dry_run: bool, out_report: Path, **options: Any
) -> None:
    """Train and evaluate a method's ablations: differences to the full method, over seeds, paired over sequences."""
    from corrbench import screen

    screen.ablate(
        method, task, only=only, seeds=seeds, dry_run=dry_run, report=out_report, **screen.settings(options)
    )


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="METHOD... TASK")
@run_options
@click.option(
    "--over",
    multiple=True,
    required=True,
    metavar="SWITCH=V1,V2,...",
    help="protocol=stt,crw or a switch: topk=5,10",
)
@click.option(
    "--one-at-a-time", is_flag=True, help="Vary one switch at a time around the protocol, not the whole grid."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Where features and neighbours are kept.")
@click.option("--cache-size", default="20GiB", show_default=True, help="The most that the cache may hold.")
@click.option("--dry-run", is_flag=True, help="Print the settings and how much has to be computed.")
def sweep(files: tuple[str, ...], over: tuple[str, ...], one_at_a_time: bool, cache: Path | None, cache_size: str,
          dry_run: bool, **options: Any) -> None:  # fmt: skip
    """Evaluate methods over a grid of protocols and switches; features and neighbours are computed once."""
    from corrbench import screen

    screen.sweep(files, over, one_at_a_time=one_at_a_time, cache=cache, cache_size=cache_size, dry_run=dry_run,
                 **screen.settings(options))  # fmt: skip


@main.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("task")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Data root (else $CORRBENCH_DATA, else the task's)."
)
@click.option("-o", "override", multiple=True, metavar="KEY=VALUE", help="Change a known key of the task.")
@click.option("--name", help="What to call the method (default: the folder's name).")
@click.option("--out", type=click.Path(path_type=Path), help="Also write a record here.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def score(predictions: Path, task: str, data: Path | None, override: tuple[str, ...], name: str | None, out: Path | None,
          as_json: bool) -> None:  # fmt: skip
    """Score anyone's folder of predictions, strictly: PREDICTIONS/<sequence>/<frame>.png (or .csv, .mat for joints)."""
    from corrbench import external, screen

    screen.show_scores(
        external.score(predictions, task, data=data, overrides=override, name=name, out=out), as_json=as_json
    )


@main.command()
@click.argument("paths", nargs=-1, metavar="[RECORDS]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reports"),
    show_default=True,
    help="Where it goes.",
)
@click.option("--overlays", type=click.Choice(["all", "synthetic", "none"]), default="all", show_default=True,
              help="Pictures of which data: a report that is published may hold no pixel of non-free data.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="Data root, for the overlays' frames.")
@click.option("--ablations", is_flag=True, help="With the records of a training's ablations.")
def report(paths: tuple[str, ...], out: Path, overlays: str, data: Path | None, ablations: bool) -> None:
    """Write Markdown, HTML and LaTeX tables, plots and overlays of the records (default: those under runs/)."""
    from corrbench import reporting

    written = reporting.write_from(paths or ("runs",), out, overlays=overlays, data=data, ablations=ablations)
    for path in written:
        click.echo(str(path))


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="RECORDS...")
@click.option("--metric", help="The number to compare (default: the task's first).")
@click.option("--baseline", help="Compare every other method with this one (default: every pair).")
@click.option(
    "--allow", multiple=True, metavar="PART", help="Let signatures differ in this part too (e.g. protocol)."
)
@click.option("--against", type=click.Path(path_type=Path), help="Reference records: a gate for CI.")
@click.option("--fail-below", type=float, default=0.0, show_default=True, metavar="POINTS",
              help="With --against: exit 1 where a number fell by more points than this.")  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Write a per-sequence dumbbell plot (SVG) here."
)
def compare(paths: tuple[str, ...], metric: str | None, baseline: str | None, allow: tuple[str, ...], against: Path | None,
            fail_below: float, form: str, plot: Path | None) -> None:  # fmt: skip
    """Is one method better than another? Paired over sequences, from records alone."""
    from corrbench import comparison

    text, status = comparison.command(
        paths,
        metric=metric,
        baseline=baseline,
        allow=allow,
        against=against,
        fail_below=fail_below,
        form=form,
        plot=plot,
    )
    click.echo(text)
    sys.exit(status)


@main.command()
@click.argument("method")
@click.argument("paths", nargs=-1, metavar="[RECORDS]...")
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True
)
def reproduce(method: str, paths: tuple[str, ...], form: str) -> None:
    """Published against measured, metric by metric, with a verdict."""
    from corrbench import reproduction

    click.echo(reproduction.command(method, paths or ("runs",), form=form))


@main.command(name="list")
@click.argument("what", type=click.Choice(["methods", "tasks", "protocols", "datasets", "checkpoints"]))
@click.option("--json", "as_json", is_flag=True)
def list_(what: str, as_json: bool) -> None:
    """What there is: methods, tasks, protocols, datasets or checkpoints."""
    from corrbench import listing

    listing.show(what, as_json=as_json)


@main.command()
@click.argument("files", nargs=-1, required=True)
def check(files: tuple[str, ...]) -> None:
    """Check plugin FILES without data: that they are data, resolve, build, and that a method's features are sound."""
    from corrbench import checking

    for file in files:
        for line in checking.check(file):
            click.echo(line)


@main.group()
def data() -> None:
    """Data sets: verify what is on disk, render the synthetic benchmark."""


@data.command(name="verify")
@click.argument("name")
@click.option("--data", "root", type=click.Path(path_type=Path), help="Data root (else $CORRBENCH_DATA).")
@click.option("--decode", is_flag=True, help="Decode every frame too (slow).")
@click.option("--manifest", type=click.Path(path_type=Path), metavar="FILE",
              help="Compare with the checksums in FILE, not with those that come with corrbench (davis).")  # fmt: skip
def verify(name: str, root: Path | None, decode: bool, manifest: Path | None) -> None:
    """Check every file of the data set NAME (davis, jhmdb, vip, badja, synthetic) against its manifest."""
    from corrbench.datasets import verify as verifying

    text, sound = verifying.command(name, root, decode=decode, manifest=manifest)
    click.echo(text)
    sys.exit(0 if sound else 1)


@data.command(name="render")
@click.argument("folder", type=click.Path(path_type=Path))
def render(folder: Path) -> None:
    """Write the synthetic benchmark to FOLDER in DAVIS's, JHMDB's and VIP's own layouts."""
    from corrbench.datasets import synthetic

    for path in synthetic.render(folder):
        click.echo(str(path))


@main.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch the checkpoint NAME of the zoo from its public address (sha256 checked)."""
    from corrbench import zoo

    found = zoo.locate(name)
    click.echo(f"{found.path}  sha256 {found.sha256}")


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell completion script: eval "$(corrbench completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(main, {}, "corrbench", "_CORRBENCH_COMPLETE").source())


if __name__ == "__main__":
    main()
