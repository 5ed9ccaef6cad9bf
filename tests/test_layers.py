"""The house rules that a machine can check: layers, sizes, names, where a library or a guard may stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Longest matching prefix wins. An arrow points to the same layer or down.
LAYERS = {
    "forecastml": 6,
    "forecastml.errors": 0,
    "forecastml.extras": 0,
    "forecastml.budget": 0,
    "forecastml.data": 1,
    "forecastml.protocols": 2,
    "forecastml.attribution": 2,
    "forecastml.kernels": 2,
    "forecastml.formulas": 2,
    "forecastml.metrics": 2,
    "forecastml.splits": 2,
    "forecastml.features": 3,
    "forecastml.learners": 3,
    "forecastml.search": 4,
    "forecastml.task": 5,
    "forecastml.prior": 5,
    "forecastml.storage": 5,
    "forecastml.archive": 5,
    "forecastml.prior_storage": 5,
    "forecastml.model": 5,
    "forecastml.inputs": 5,
    "forecastml.future_covariates": 5,
    "forecastml.option_checks": 5,
    "forecastml.rolling": 5,
    "forecastml.scoring": 5,
    "forecastml.status": 5,
    "forecastml.forecaster": 5,
    "forecastml.challenge": 5,
    "forecastml.cold_start": 5,
    "forecastml.predictor": 5,
    "forecastml.explanation": 5,
    "forecastml.importance": 5,
    "forecastml.featurization": 5,
    "forecastml.config": 6,
    "forecastml.problem": 6,
    "forecastml.calibration": 6,
    "forecastml.completion": 6,
    "forecastml.automl": 6,
    "forecastml.preparation": 6,
    "forecastml.backtesting": 6,
    "forecastml.estimators": 6,
    "forecastml.progress": 6,
    "forecastml.plot": 6,
    "forecastml.demo": 6,
    "forecastml.cli": 6,
    "forecastml.__main__": 6,
    "forecastml.cli_options": 6,
    "forecastml.cli_output": 6,
    "forecastml.datasets": 6,
    "many_models": 7,
}
#: What many_models may use of the mathematics: its public names, and these doors.
DOORS = {
    "forecastml",
    "forecastml.archive",
    "forecastml.backtesting",
    "forecastml.challenge",
    "forecastml.cli_options",
    "forecastml.cli_output",
    "forecastml.data.sources",
    "forecastml.errors",
    "forecastml.config",
    "forecastml.extras",
    "forecastml.learners.registry",
    "forecastml.prior_storage",
    "forecastml.progress",
    "forecastml.storage",
    "forecastml.task",
}
FRAME_LIBRARIES = {"pandas", "polars", "narwhals"}
FRAMES_ALLOWED = {
    "forecastml.data.frames": {"pandas"},
    "forecastml.data.sources": {"narwhals"},
    "forecastml.data.calendar": {"pandas"},
    "forecastml.learners.prophet": {"pandas"},
}
GUARDS = {
    "forecastml.search.evaluate",
    "forecastml.learners.per_series",
    "forecastml.cli",
    "many_models.job",
    "many_models.cli",
}
UNWANTED = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}
#: `model.save(path)` is a short way to write `storage.save(model, path)`, imported when called: no arrow of the design.
#: So are `model.explain()` and its like, and `model.plot()` for `plot_forecast`.
SHORT_WAYS = {
    ("forecastml.model", "forecastml.storage"),
    ("forecastml.model", "forecastml.explanation"),
    ("forecastml.model", "forecastml.importance"),
    ("forecastml.model", "forecastml.featurization"),
    ("forecastml.forecaster", "forecastml.plot"),
}
#: Functions whose signature is a list of options, exempt from the limit on parameters.
OPTION_LISTS = {
    "forecastml.cli": None,
    "many_models.cli": None,
    "forecastml.estimators": "__init__",
    "many_models.forecasts": "forecast",
}


@dataclass(frozen=True)
class Module:
    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    def imports(self, for_types: bool = True) -> Iterator[str]:
        """Every imported name as far as it can be a module, nested too; `for_types`: also those for type checkers."""
        skipped = set()
        for node in ast.walk(self.tree):
            if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {id(child) for child in node.body}
            if id(node) in skipped:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative import"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def modules() -> tuple[Module, ...]:
    """Everything that is installed."""
    found = [
        ("forecastml", ROOT / "forecastml"),
        ("forecastml.datasets", ROOT / "datasets"),
        ("many_models", ROOT / "many_models"),
    ]
    return tuple(
        Module(".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"), text)
        for package, folder in found
        for path in sorted(folder.rglob("*.py"))
        for text in [path.read_text(encoding="utf-8")]
    )


def layer(name: str) -> int:
    parts = name.split(".")
    return next(LAYERS[".".join(parts[:n])] for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in LAYERS)


def edges(all_modules: Sequence[Module]) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports; the version is a constant, not a part."""
    known = {module.name for module in all_modules}
    found = {}
    for module in all_modules:
        names = set(module.imports()) - {"forecastml.__version__"}
        targets = {name if name in known else name.rpartition(".")[0] for name in names}
        found[module.name] = {t for t in targets & known if (module.name, t) not in SHORT_WAYS}
    return found


def upward(all_modules: Sequence[Module]) -> list[str]:
    return [
        f"{source} (layer {layer(source)}) imports {target} (layer {layer(target)})"
        for source, targets in edges(all_modules).items()
        for target in sorted(targets)
        if layer(target) > layer(source)
    ]


def past_the_door(all_modules: Sequence[Module]) -> list[str]:
    """What many_models takes from inside forecastml, other than public names and its doors."""
    return [
        f"{source} imports {target}"
        for source, targets in edges(all_modules).items()
        if source.startswith("many_models")
        for target in sorted(targets)
        if target.startswith("forecastml") and target not in DOORS
    ]


def cycles(all_modules: Sequence[Module]) -> list[str]:
    try:
        TopologicalSorter(edges(all_modules)).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def frame_libraries(all_modules: Sequence[Module]) -> list[str]:
    return [
        f"{module.name} imports {name}"
        for module in all_modules
        if not module.name.startswith("forecastml.datasets")
        for name in module.imports(for_types=False)
        if name.split(".")[0] in FRAME_LIBRARIES - FRAMES_ALLOWED.get(module.name, set())
    ]


def broad_excepts(all_modules: Sequence[Module]) -> list[str]:
    return [
        f"{module.name}:{node.lineno} catches everything"
        for module in all_modules
        if module.name not in GUARDS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and {"Exception", "BaseException"} & _names(node.type)
    ]


def _names(caught: ast.expr | None) -> set[str]:
    return {"BaseException"} if caught is None else {node.id for node in ast.walk(caught) if isinstance(node, ast.Name)}


def asserts(all_modules: Sequence[Module]) -> list[str]:
    return [
        f"{module.name}:{node.lineno} asserts"
        for module in all_modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assert)
    ]


def oversized(all_modules: Sequence[Module]) -> list[str]:
    found = []
    for module in all_modules:
        if len(module.source.splitlines()) > 400:
            found.append(f"{module.name} has more than 400 lines")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found += _oversized_function(module.name, node)
            if isinstance(node, ast.ClassDef) and len(list(_public_methods(node))) > 10:
                found.append(f"{module.name}.{node.name} has more than 10 public methods")
    return found


def _oversized_function(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    found = []
    options = module in OPTION_LISTS and OPTION_LISTS[module] in (None, node.name)
    first = node.body[0].lineno if options else node.lineno
    if node.end_lineno - first + 1 > 50:
        found.append(f"{module}.{node.name} has more than 50 lines")
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    if not options and len([a for a in arguments if a.arg not in ("self", "cls")]) > 6:
        found.append(f"{module}.{node.name} has more than 6 parameters")
    return found


def _public_methods(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            decorators = {ast.unparse(decorator) for decorator in item.decorator_list}
            if not decorators & {"property", "cached_property", "functools.cached_property"}:
                yield item.name


def unwanted_names(all_modules: Sequence[Module]) -> list[str]:
    found = [m.name for m in all_modules if UNWANTED & set(m.name.replace("_", ".").split("."))]
    for module in all_modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and (
                node.name.startswith("Abstract") or node.name.endswith(("Mixin", "Manager", "Helper", "Utils"))
            ):
                found.append(f"{module.name}.{node.name}")
    return found


def task_branches(all_modules: Sequence[Module]) -> list[str]:
    return [
        f"{module.name}:{node.lineno} asks which task it is"
        for module in all_modules
        if module.name != "forecastml.task"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Compare)
        and ast.unparse(node.left).split(".")[-1] == "task"
        and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        and isinstance(node.comparators[0], ast.Constant)
    ]


RULES = [
    upward,
    past_the_door,
    cycles,
    frame_libraries,
    broad_excepts,
    asserts,
    oversized,
    unwanted_names,
    task_branches,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    assert rule(modules()) == []


LONG = "def f():\n" + "    x = 1\n" * 51
PLANTED = [
    (upward, "forecastml.data.panel", "def f():\n    from forecastml.task import Forecasting\n"),
    (past_the_door, "many_models.job", "from forecastml.search.ensemble import combine\n"),
    (upward, "forecastml.automl", "import many_models.job\n"),
    (cycles, "forecastml.errors", "import forecastml.cli\n"),
    (frame_libraries, "forecastml.model", "import pandas as pd\n"),
    (frame_libraries, "forecastml.data.calendar", "from polars import col\n"),
    (broad_excepts, "forecastml.model", "try:\n    pass\nexcept Exception:\n    pass\n"),
    (broad_excepts, "forecastml.model", "try:\n    pass\nexcept:\n    pass\n"),
    (broad_excepts, "forecastml.model", "try:\n    pass\nexcept (OSError, BaseException):\n    pass\n"),
    (asserts, "forecastml.model", "assert True\n"),
    (oversized, "forecastml.model", "x = 1\n" * 401),
    (oversized, "forecastml.model", LONG),
    (oversized, "forecastml.cli", LONG),
    (oversized, "forecastml.model", "def f(a, b, c, d, e, f, g): ...\n"),
    (oversized, "forecastml.model", "class A:\n" + "".join(f"    def m{i}(self): ...\n" for i in range(11))),
    (unwanted_names, "forecastml.data.panel_utils", ""),
    (unwanted_names, "forecastml.model", "class AbstractModel: ...\n"),
    (unwanted_names, "forecastml.model", "class SaveMixin: ...\n"),
    (task_branches, "forecastml.model", "if self.task == 'forecasting':\n    pass\n"),
]


@pytest.mark.parametrize(("rule", "name", "source"), PLANTED)
def test_the_rule_finds_what_breaks_it(rule, name, source):
    others = [module for module in modules() if module.name != name]
    assert rule([*others, Module(name, source)])


def test_every_module_has_a_layer_of_its_own():
    unplaced = {
        m.name
        for m in modules()
        if m.name.count(".")
        and not any(m.name == prefix or m.name.startswith(f"{prefix}.") for prefix in LAYERS if prefix != "forecastml")
    }
    assert unplaced == set()
