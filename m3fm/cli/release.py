"""Commands from a trained model to a registered one."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from m3fm.cli.app import (
    STEPS,
    AsJson,
    Checkpoint,
    Dataset,
    Out,
    Params,
    StateDirectory,
    app,
    check_inputs,
    enter_state,
    load_config,
)
from m3fm.cli.show import print_output, results
from m3fm.core.errors import InputError


class Split(StrEnum):
    """Parts of a dataset, by patient."""

    test = "test"
    val = "val"
    train = "train"


@app.command(rich_help_panel=STEPS)
def evaluate(
    checkpoint: Checkpoint,
    dataset: Dataset,
    out: Out,
    split: Annotated[Split, typer.Option(help="Split whose exams are evaluated.")] = Split.test,
    params: Params = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint: AUC with confidence intervals by task, and OUT/report.html."""
    run = load_config(params)
    check_inputs(checkpoint=checkpoint, dataset=dataset)
    enter_state()
    from m3fm.evaluation.measure import measure

    measure(checkpoint, dataset, out, run.evaluate, split.value)
    results(out, as_json)


@app.command(rich_help_panel=STEPS)
def export(
    checkpoint: Checkpoint,
    dataset: Dataset,
    evaluation: Annotated[Path, typer.Argument(help="Evaluation directory (output of m3fm evaluate).")],
    out: Out,
    dataset_version: Annotated[
        str, typer.Option(help="The dataset's version in DVC, md5:HASH.dir (see dvc.lock).")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Export a checkpoint as an ONNX bundle, after checking that both give the same answers."""
    check_inputs(checkpoint=checkpoint, dataset=dataset, evaluation=evaluation)
    enter_state()
    from m3fm.core.artifacts import Reference
    from m3fm.deploy.export import export

    lineage = {
        "dataset": Reference.to(dataset).digest,
        "dvc_digest": dataset_version,
    }
    export(checkpoint, out, lineage, dataset, evaluation)
    print_output(out, as_json)


@app.command(rich_help_panel=STEPS)
def register(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory (output of m3fm export).")],
    evaluation: Annotated[Path, typer.Argument(help="Evaluation directory (output of m3fm evaluate).")],
    checkpoint: Checkpoint,
    pretrained: Annotated[
        Path | None, typer.Option(help="Directory of the pretrained encoder (output of m3fm pretrain).")
    ] = None,
    params: Params = None,
    state: StateDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Register a bundle in MLflow with its lineage. Registering the same bundle again adds no version."""
    run = load_config(params)
    histories = {"train": checkpoint, **({} if pretrained is None else {"pretrain": pretrained})}
    check_inputs(bundle=bundle, evaluation=evaluation, checkpoint=checkpoint, pretrained=pretrained)
    _of_one_model(bundle, evaluation, checkpoint)
    root = enter_state(state).root
    from m3fm.config.steps import result_digest
    from m3fm.deploy.bundle import read
    from m3fm.pipeline import steps
    from m3fm.privacy.pseudonyms import with_salt
    from m3fm.tracking.registry import Registry

    version = Registry.of(root).register(
        bundle,
        evaluation,
        {
            "git_commit": steps.commit(),
            "dvc_digest": read(bundle).lineage["dvc_digest"],
            "config_digest": result_digest(with_salt(run)),
            "pipeline_run": "m3fm register",
        },
        run.registered_model,
        {name: path / "history.jsonl" for name, path in histories.items()},
        run.model_dump(mode="json"),
    )
    name = f"models:/{version.name}/{version.version}"
    typer.echo(json.dumps({"model": name, "run": version.run_id}) if as_json else name)


def _of_one_model(bundle: Path, evaluation: Path, checkpoint: Path) -> None:
    """Refuse an evaluation or a checkpoint of another model than the bundle."""
    from m3fm.core.artifacts import Reference
    from m3fm.deploy.bundle import read

    lineage = read(bundle).lineage
    for name, directory in (("evaluation", evaluation), ("checkpoint", checkpoint)):
        if lineage.get(name) != Reference.to(directory).digest:
            raise InputError(
                f"{directory} is not the {name} that {bundle} was made from; pass the one that belongs to it"
            )
