"""From model names and data folders to scores."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch

from dpm_cli.devices import pick_device, pick_dtype
from dpm_cli.errors import InputError, UsageError, WeightsError
from dpm_cli.predictors.protocol import Predictor
from dpm_cli.progress import Reporter
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.datasets import READERS, read_dataset
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.evaluate.baselines import STATIC, load_model
from dpm_cli.workshop.evaluate.cases import PairCase, pair_cases
from dpm_cli.workshop.evaluate.constant_video import constant_sequence
from dpm_cli.workshop.evaluate.pair_runs import RunOptions, score_pairs
from dpm_cli.workshop.evaluate.quick import MOVING, QUICK_MODELS, quick_cases, quick_clips
from dpm_cli.workshop.evaluate.results import Score
from dpm_cli.workshop.evaluate.sequence_runs import (
    has_sequence_truth,
    judge,
    knowing,
    reconstruction,
    run_settings,
    score_sequences,
)
from dpm_cli.workshop.settings import EvaluateSettings


def parse_data(entries: Iterable[str]) -> list[tuple[str, Path]]:
    """NAME=PATH entries of `--data`.

    Raises:
        UsageError: an entry without a name, or a name without a reader.
    """
    parsed = []
    for entry in entries:
        name, mark, path = entry.partition("=")
        if not mark or name not in READERS or not path:
            raise UsageError(f"--data {entry}: give NAME=PATH with a name of {', '.join(READERS)}")
        parsed.append((name, Path(path)))
    return parsed


def evaluate_models(
    models: list[str], data: list[tuple[str, Path]], settings: EvaluateSettings, reporter: Reporter
) -> list[Score]:
    """Every model on every data set.

    Raises:
        InputError: a folder does not hold what its reader expects, or nothing in it can be judged.
        UsageError, WeightsError: a model cannot be loaded.
    """
    sets = [
        [dataclasses.replace(t, dataset=name) for t in read_dataset(name, path)]
        for name, path in data
    ]
    scores = []
    for model in models:
        for truths in sets:
            scores += _evaluate_set(model, truths, settings, reporter)
    if not scores:
        raise InputError(
            "nothing could be judged: no pair and no sequence of these data has truth for the protocol"
        )
    return scores


def evaluate_quick(
    models: list[str], settings: EvaluateSettings, reporter: Reporter
) -> list[Score]:
    """The quick suite; without `models` the offline ones and the baselines, leaving out those without weights."""
    scores = []
    cases = [] if settings.protocols == "video" else list(quick_cases())
    clips = [] if settings.protocols == "pairs" else list(quick_clips())
    for model in models or QUICK_MODELS:
        try:
            predictor = _load(model, settings)
        except WeightsError as error:
            if models:
                raise
            reporter.note(f"{model} is left out: {error}")
            continue
        if cases:
            pairs = _pairs(predictor, model, cases, settings, reporter)
            moved = [s for s in pairs if "trans_dir_deg" in s.values]
            scores += pairs + [dataclasses.replace(s, dataset=MOVING) for s in moved]
        scores += _videos(model, clips, settings, reporter)
    return scores


def evaluate_run(run: Path, truth: str, reporter: Reporter) -> list[Score]:
    """A finished reconstruction (run folder or npz) against its truth: NAME=PATH, or a file of `dpm synth`.

    Raises:
        InputError: one of them cannot be read, or the truth holds several sequences and none has the run's name.
    """
    result = Sequence4D.open(run)
    name, mark, path = truth.partition("=")
    truths = (
        read_dataset(name, Path(path))
        if mark and name in READERS
        else read_dataset("synth", Path(truth))
    )
    return [judge(result.model, result, _sequence_of(truths, result.name), 0.0)]


def _sequence_of(truths: list[SequenceTruth], name: str) -> SequenceTruth:
    if len(truths) == 1:
        return truths[0]
    same = [t for t in truths if t.name.split("/")[-1] == name.removesuffix("_dpm")]
    if len(same) != 1:
        names = ", ".join(t.name for t in truths[:8])
        raise InputError(
            f"--truth holds {len(truths)} sequences and none is called like the run '{name}': {names}"
        )
    return same[0]


def _evaluate_set(
    model: str, truths: list[SequenceTruth], settings: EvaluateSettings, reporter: Reporter
) -> list[Score]:
    scores = []
    if settings.protocols != "video":
        cases = [case for t in truths for case in pair_cases(t, most=settings.max_pairs)]
        if cases:
            scores += _pairs(_load(model, settings), model, cases, settings, reporter)
    if settings.protocols != "pairs":
        whole = [t for t in truths if has_sequence_truth(t)]
        scores += _videos(model, whole, settings, reporter)
    return scores


def _load(model: str, settings: EvaluateSettings) -> Predictor:
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    return load_model(model, weights=settings.weights, device=device, dtype=dtype)


def _pairs(
    predictor: Predictor,
    model: str,
    cases: list[PairCase],
    settings: EvaluateSettings,
    reporter: Reporter,
) -> list[Score]:
    device = pick_device(settings.device)
    options = RunOptions(
        device=device,
        dtype=pick_dtype(settings.dtype, device),
        known_intrinsics=settings.known_intrinsics,
        long_side=settings.size,
    )
    scores = []
    with (
        reporter.task(f"{model}, {cases[0].dataset.split('/')[0]} pairs", len(cases)) as advance,
        torch.inference_mode(),
    ):
        for case in cases:
            scores += score_pairs(predictor, model, [case], options)
            advance()
    return scores


def _videos(
    model: str, truths: list[SequenceTruth], settings: EvaluateSettings, reporter: Reporter
) -> list[Score]:
    """Whole reconstructions; the baselines that only know pairs have none."""
    if not truths or model == "dis-flow" or model.startswith(STATIC):
        return []
    given = run_settings(
        model,
        weights=settings.weights,
        device=settings.device,
        dtype=settings.dtype,
        size=settings.size,
    )
    scores = []
    with reporter.task(f"{model}, {truths[0].dataset} video", len(truths)) as advance:
        for truth in truths:
            known = settings.known_intrinsics and truth.intrinsics is not None
            told = knowing(given, truth) if known else given
            run = constant_sequence if model == "constant-depth" else reconstruction(told)
            scores += score_sequences(
                model, run, [truth], most_frames=settings.max_frames, reporter=reporter
            )
            advance()
    return scores
