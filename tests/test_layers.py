"""Imports point down and never in a circle, between packages and inside them; the product never needs the workshop."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "dpm_cli"

LAYERS: list[set[str]] = [
    {"errors", "outputs", "knobs", "version", "ahead", "ram"},
    {"progress", "files", "devices"},
    {"config", "checked_array", "picture_limit"},
    {"structures"},
    {"geometry", "video", "formats"},
    {"twoview"},
    {"network", "sequence", "clip_store", "matching"},
    {"weights", "focal"},
    {"predictors", "align", "tracking", "objects", "prior"},
    {"motion"},
    {"passes", "export"},
    {"pipeline", "doctor"},
    {"pair_flow"},
    {"workshop"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

WORKSHOP: list[set[str]] = [
    {"__init__", "losses", "metrics", "settings"},
    {"synthetic"},
    {"datasets", "published_aligner", "network_cost"},
    {"train", "benchmark", "clip_speed", "evaluate"},
]
WORKSHOP_LEVEL = {name: level for level, names in enumerate(WORKSHOP) for name in names}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def parts(module: Path) -> tuple[str, ...]:
    return module.relative_to(PACKAGE).with_suffix("").parts


@cache
def imported(path: Path) -> list[tuple[tuple[str, ...], int]]:
    """Modules or names of dpm_cli that a file imports anywhere, also inside functions."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        found += [(tuple(n.split(".")[1:]), node.lineno) for n in names if n.startswith("dpm_cli.")]
    return found


def module_of(name: tuple[str, ...]) -> tuple[str, ...]:
    """The module that `name`, a module or something in one, stands in."""
    for end in (len(name), len(name) - 1):
        path = PACKAGE.joinpath(*name[:end])
        if path.with_suffix(".py").is_file():
            return name[:end]
        if (path / "__init__.py").is_file():
            return (*name[:end], "__init__")
    raise AssertionError(f"no module {name}")


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_a_layer():
    assert {parts(p)[0] for p in FILES} - set(LEVEL) == set()
    workshop = {parts(p)[1] for p in FILES if parts(p)[0] == "workshop"}
    assert workshop - set(WORKSHOP_LEVEL) == set()


def test_no_relative_imports_and_imports_point_down():
    wrong = []
    for path in FILES:
        own = parts(path)
        for name, line in imported(path):
            if name[0] != own[0]:
                up = LEVEL[name[0]] >= LEVEL[own[0]]
            elif own[0] == "workshop" and name[1] != own[1]:
                up = WORKSHOP_LEVEL[name[1]] >= WORKSHOP_LEVEL[own[1]]
            else:
                up = False
            if up:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {'.'.join(name)}")
    assert wrong == []


def test_no_module_imports_itself_in_a_circle():
    graph = {
        parts(path): {module_of(n) for n, _ in imported(path)} - {parts(path)} for path in FILES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"circle: {error.args[1]}") from None


def test_no_two_public_classes_share_a_name():
    """A word means one thing."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(".".join(parts(path)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_files_are_short():
    long = {p.relative_to(PACKAGE) for p in FILES if len(p.read_text().splitlines()) > 300}
    assert long == set()


def test_nothing_is_timed_by_a_clock_that_jumps():
    """`time.time` goes back when a clock is set; time limits and durations go by monotonic clocks."""
    used = [path for path in sorted(PACKAGE.rglob("*.py")) if "time.time(" in path.read_text()]
    assert used == []
