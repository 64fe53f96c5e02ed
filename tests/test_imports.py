"""Who may import whom, read from the source; and what `import neurosim` does not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "neurosim"
CORE = ("plasticity", "trial", "record", "synapses", "neurons", "spiking", "escape", "traces", "checkpoint")


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(source, module, is_package=False, modules=MODULES):
    """All that a module imports, anywhere in it, by full name: `from a import b` is a.b if that is a module, else a."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = module.split(".")[: None if is_package else -1]
            up = up[: len(up) - node.level + 1] if node.level else []
            base = ".".join((*up, *filter(None, [node.module])))
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in modules else base for a in node.names}
    return found


IMPORTS = {m: imports(p.read_text(), m, p.name == "__init__.py") for m, p in MODULES.items()}


def ours(found):
    return {m for m in found if m.split(".")[0] == "neurosim"}


def foreign(found):
    return {m.split(".")[0] for m in found - ours(found)} - set(sys.stdlib_module_names)


def within(module, *packages):
    return any(module == f"neurosim.{p}" or module.startswith(f"neurosim.{p}.") for p in packages)


def of(*packages):
    """The modules of these packages; each must exist."""
    for p in packages:
        assert any(within(m, p) for m in MODULES), f"there is no neurosim.{p}"
    return sorted(m for m in MODULES if within(m, *packages))


# ---------------------------------------------------------------------------------------------- the reader itself
@pytest.mark.parametrize(
    "line, want",
    [
        ("import torch.nn as nn, os", {"torch.nn", "os"}),
        ("from neurosim import plasticity", {"neurosim.plasticity"}),
        ("from neurosim.rules import Hebb", {"neurosim.rules"}),
        ("from neurosim.rules import stdp", {"neurosim.rules.stdp"}),
        ("from . import backprop", {"neurosim.credit.backprop"}),
        ("from .backprop import Backprop", {"neurosim.credit.backprop"}),
        ("from .. import tasks", {"neurosim.tasks"}),
        ("from ..rules.stdp import pair", {"neurosim.rules.stdp"}),
        ("def f():\n    import pooch", {"pooch"}),
    ],
)
def test_imports_are_read(line, want):
    assert imports(line, "neurosim.credit.feedback") == want


def test_imports_of_a_package_are_read():
    assert imports("from .mlp import mlp", "neurosim.networks", is_package=True) == {"neurosim.networks.mlp"}
    assert IMPORTS["neurosim.rules.bcm"] == {
        "__future__",
        "collections.abc",
        "dataclasses",
        "torch",
        "neurosim.plasticity",
    }


# ---------------------------------------------------------------------------------------------- who may import whom
@pytest.mark.parametrize("module", of(*CORE))
def test_the_core_imports_torch_and_itself(module):
    assert foreign(IMPORTS[module]) <= {"torch"}
    assert all(within(m, *CORE) for m in ours(IMPORTS[module])), ours(IMPORTS[module])


@pytest.mark.parametrize(
    "package, allowed",
    [
        ("rules", (*CORE, "rules")),
        ("credit", (*CORE, "credit")),
        ("networks", (*CORE, "networks")),
        ("tasks", (*CORE, "tasks")),
        ("engine", (*CORE, "rules", "engine")),
        ("testing", ("plasticity", "synapses")),
    ],
)
def test_a_package_imports_the_core_and_itself(package, allowed):
    for module in of(package):
        astray = {m for m in ours(IMPORTS[module]) if not within(m, *allowed)}
        assert not astray, f"{module} imports {astray}"


@pytest.mark.parametrize("package", ("rules", "credit", "networks", "testing"))
def test_what_computes_needs_torch_only(package):
    for module in of(package):
        assert foreign(IMPORTS[module]) <= {"torch"}, f"{module} imports {foreign(IMPORTS[module])}"


@pytest.mark.parametrize("module", of("compare", "cell", "keys", "store", "cluster"))
def test_compare_knows_no_concrete_network_or_task(module):
    astray = {m for m in IMPORTS[module] if within(m, "networks", "tasks") and m != "neurosim.tasks.base"}
    assert not astray, f"{module} imports {astray}"


def test_cluster_alone_imports_dask_and_only_when_it_is_used():
    users = {m for m, found in IMPORTS.items() if {"dask", "distributed"} & foreign(found)}
    assert users == {"neurosim.cluster"}


def test_brian_alone_imports_brian2():
    assert {m for m, found in IMPORTS.items() if "brian2" in foreign(found)} == {"neurosim.brian"}


def test_the_engine_alone_imports_numba():
    assert {m.split(".")[1] for m, found in IMPORTS.items() if "numba" in foreign(found)} == {"engine"}


def test_figures_alone_import_matplotlib():
    drawing = {m for m, found in IMPORTS.items() if "matplotlib" in foreign(found)}
    assert drawing and all(m.split(".")[1].startswith("figures") for m in drawing), drawing


def test_nothing_in_the_package_imports_studies_or_tests():
    for module, found in IMPORTS.items():
        assert not foreign(found) & {"studies", "tests"}, f"{module} imports {found}"


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "brian2", "dask", "distributed", "matplotlib", "numba", "sklearn", "pandas", "scipy"}
    code = "import sys, neurosim; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert "neurosim" in loaded
    assert not loaded & heavy
