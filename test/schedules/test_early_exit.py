# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Evaluations by early exit in one process: right where the whole network is, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import DataFacts, read_facts
from dff_nodes.runs.config import Config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.run_folder import RunFolder, create_run
from dff_nodes.schedules.exit_figures import exit_figures
from dff_nodes.schedules.plan import EvaluationPlan
from dff_nodes.schedules.reference import ReferenceRun
from dff_nodes.schedules.run_reference import run_reference
from dff_nodes.schedules.stream import StreamCoordinator

MakeRun = Callable[..., ResolvedRun]
MakeData = Callable[[DataFacts], Dataset]
LAYERS = ('all', 'without_first', 'last')
NOBODY = 1e9


def evaluated(
    run: ResolvedRun, dataset: Dataset, thresholds: list[float | None] | None
) -> StreamCoordinator:
    """Evaluate the first weights of a run."""
    settings = run.config.model_dump() | {'early_exit': {'thresholds': thresholds}}
    chosen = resolve(Config.model_validate(settings), run.facts)
    plan = EvaluationPlan(run.facts.test_samples, chosen.evaluation_batch)
    coordinator = StreamCoordinator(chosen, dataset, plan)
    ReferenceRun(chosen, coordinator).run()
    return coordinator


def some_run(made_run: MakeRun, rule: str, layers: str) -> ResolvedRun:
    return made_run(
        test_samples=25,
        network=[{'units': 6, 'rule': rule, 'type': 'dense'}] * 3,
        training={'batch_size': 12},
        classification={'layers': layers},
        compute={'device': 'cpu'},
    )


@pytest.mark.parametrize('layers', LAYERS)
@pytest.mark.parametrize('rule', ['swish', 'mean_goodness'])
def test_where_nobody_leaves_the_answers_are_those_of_the_whole_network(
    made_run: MakeRun, made_data: MakeData, rule: str, layers: str
) -> None:
    run = some_run(made_run, rule, layers)
    dataset = made_data(run.facts)
    whole = evaluated(run, dataset, None)
    for thresholds in ([None, None], [NOBODY, NOBODY]):
        early = evaluated(run, dataset, thresholds)
        for one, other in zip(whole.answers, early.answers, strict=True):
            assert torch.equal(one[0], other[0])
        figures = exit_figures(early.resolved, early)
        assert figures['answered'] == [0, 0, 25]
        assert figures['macs_saved'] == 0
        assert early.evaluations[0].accuracy == whole.evaluations[0].accuracy


@pytest.mark.parametrize('layers', LAYERS)
@pytest.mark.parametrize('rule', ['swish', 'mean_goodness'])
def test_each_sample_is_answered_as_the_layers_up_to_there_would(
    made_run: MakeRun, made_data: MakeData, rule: str, layers: str
) -> None:
    run = some_run(made_run, rule, layers)
    dataset = made_data(run.facts)
    whole = evaluated(run, dataset, None)
    first = torch.cat([each[1] for each in whole.answers])
    middle = float(first.amax(1).median())
    early = evaluated(run, dataset, [middle, None])
    scores = torch.cat([each[0] for each in early.answers])
    answered_by = torch.cat(early.answered_by)
    leaves = first.amax(1) >= middle
    assert 0 < int(leaves.sum()) < 25
    assert torch.equal(answered_by == 0, leaves)
    assert torch.equal(scores[leaves], first[leaves])
    # Fewer rows may be multiplied in another order.
    together = torch.cat([each[0] for each in whole.answers])
    torch.testing.assert_close(scores[~leaves], together[~leaves])
    figures = exit_figures(early.resolved, early)
    assert figures['answered'] == [int(leaves.sum()), 0, int((~leaves).sum())]
    assert sum(figures['right']) == round(25 * early.evaluations[0].accuracy)


def test_a_sample_that_two_layers_answer_fails_the_evaluation(
    made_run: MakeRun, made_data: MakeData
) -> None:
    run = made_run(
        test_samples=3,
        network=[{'units': 6}] * 2,
        training={'batch_size': 5},
        early_exit={'thresholds': [0.0]},
    )
    coordinator = StreamCoordinator(run, made_data(run.facts), EvaluationPlan(3, 3, 5))
    coordinator.add_scores(0, 5, torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match='item 5: sample 1 was answered 2 times'):
        coordinator.add_scores(1, 5, torch.zeros(2, 3), torch.tensor([1, 2]))


# ---- with the files of a run -----------------------------------------------------------------


def new_run(runs: Path, name: str = 'r', **sections: Any) -> RunFolder:
    settings = {
        'data': {'validation_samples': 300},
        'network': [{'units': 20}] * 3,
        'training': {'epochs': 3},
        'evaluation': {'train_samples': 0},
        'compute': {'device': 'cpu'},
    } | sections
    config = Config.model_validate(settings)
    return create_run(runs, name, resolve(config, read_facts(config.data)))


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def do(task: str, folder: RunFolder, *overrides: str) -> dict[str, Any]:
    return run_reference(task, folder, list(overrides), ignore, time.monotonic())


def test_thresholds_keep_their_promise_on_the_samples_they_were_chosen_on(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    do('train', folder)
    found = do('calibrate', folder, 'early_exit.max_loss=3')
    assert found == folder.early_exit()
    assert found['config_hash'] == folder.identity().config_hash
    assert found['validation_samples'] == 300
    assert found['macs_saved'] > 0.2
    assert found == do('calibrate', folder, 'early_exit.max_loss=3')
    chosen = [
        f'early_exit.thresholds={found["thresholds"]}'.replace('None', 'null'),
        f'early_exit.confidence={found["confidence"]}',
    ]
    evaluated = do('evaluate', folder, *chosen)
    # Other batches may round another way, for a sample or two.
    assert evaluated['early_exit']['answered'] == pytest.approx(found['answered'], abs=2)
    assert evaluated['test_accuracy'] == pytest.approx(found['accuracy'], abs=0.01)
    assert evaluated['early_exit']['macs_saved'] == pytest.approx(found['macs_saved'], abs=0.01)


def test_a_run_without_validation_samples_cannot_be_calibrated(tmp_path: Path) -> None:
    folder = new_run(tmp_path, data={})
    with pytest.raises(ConfigError, match='--set data.validation_samples=143$'):
        do('calibrate', folder)


def test_one_layer_has_no_exit(tmp_path: Path) -> None:
    folder = new_run(tmp_path, network=[{'units': 20}])
    with pytest.raises(ConfigError, match='has one layer'):
        do('calibrate', folder)


def test_a_run_that_is_not_calibrated_says_how(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    with pytest.raises(ConfigError, match=f'dff calibrate {folder.path}'):
        folder.early_exit()


def test_thresholds_of_other_weights_are_refused(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    do('train', folder)
    found = do('calibrate', folder)
    folder.write_early_exit(found | {'weights_sha256': {}})
    with pytest.raises(ConfigError, match='of other weights'):
        folder.early_exit()


def test_training_takes_no_thresholds(tmp_path: Path) -> None:
    folder = new_run(tmp_path, early_exit={'thresholds': [1.0, 1.0]})
    with pytest.raises(ConfigError, match=r'early_exit\.thresholds must be null for training'):
        do('train', folder)


def test_thresholds_change_no_hash_and_are_one_for_each_layer_before_the_last() -> None:
    network = [{'units': 20}] * 3
    plain = Config.model_validate({'network': network})
    exits = Config.model_validate({'network': network, 'early_exit': {'thresholds': [1, None]}})
    facts = read_facts(plain.data)
    assert resolve(plain, facts).hash == resolve(exits, facts).hash
    with pytest.raises(ValueError, match='the 2 layers before the last, got 1'):
        Config.model_validate({'network': network, 'early_exit': {'thresholds': [1]}})
