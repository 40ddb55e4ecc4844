"""Imports point down: a module may import only from layers below its own (house rule 2)."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "dpm_cli"

LAYERS: list[set[str]] = [
    {"errors"},
    {"progress", "files", "config", "devices"},
    {"structures"},
    {"geometry", "network", "video", "formats", "dense_flow", "pairs", "metrics"},
    {"sequence", "losses", "weights", "synthetic", "clip_store", "shots", "pass_store"},
    {"predictors", "align", "datasets", "tracking"},
    {"engine", "fusion", "export"},
    {"window_engine"},
    {"pipeline", "train", "benchmark", "doctor"},
    {"pair_flow", "evaluate"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def top(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> list[tuple[str, int]]:
    """Top-level dpm_cli modules that a file imports anywhere, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [
                f"{node.module}.{a.name}" if node.module == "dpm_cli" else node.module or ""
                for a in node.names
            ]
        else:
            continue
        found += [(n.split(".")[1], node.lineno) for n in names if n.startswith("dpm_cli.")]
    return found


def test_every_module_has_a_layer():
    tops = {top(p) for p in PACKAGE.rglob("*.py")}
    assert tops - set(LEVEL) == set()


def test_no_relative_imports_and_imports_point_down():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = top(path)
        for name, line in imported(path):
            if name == "__version__":
                continue
            if name != own and LEVEL[name] >= LEVEL[own]:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
    assert wrong == []
