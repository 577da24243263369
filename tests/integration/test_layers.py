"""Imports run one way only, and the wheel holds the library alone."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.integration.command import ROOT

# Who may import whom, besides itself and the small modules at the package's top.
ALLOWED = {
    "nt_lightning.traces": set(),
    "nt_lightning.data": {"traces"},
    "nt_lightning.requests": set(),
    "nt_lightning.evaluation": {"requests", "traces"},
    "nt_lightning.report": {"evaluation", "traces"},
    "nt_lightning.student": {"data", "evaluation", "traces"},
    "nt_lightning.doctor": {"data", "evaluation", "student"},
    "nt_lightning.forecast": {"data", "student"},
    "nt_lightning.pool": {"evaluation", "requests", "traces"},
}
PACKAGES = {name.rpartition(".")[2] for name in ALLOWED}
TOP = {
    "__main__",
    "cli",
    "errors",
    "files",
    "manners",
    "mistakes",
    "models",
    "places",
    "preview",
    "progress",
    "runs",
    "slurm",
    "stopping",
    "subset",
    "trainer",
}


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports, at its top and inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package.replace(".", "/")).rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows(package):
    own = package.rpartition(".")[2]
    files = files_of(package)
    assert files
    for path in files:
        for name in imports_of(path):
            parts = name.split(".")
            assert parts[0] not in ("callbacks", "evals", "tests"), f"{path} imports {name}"
            if parts[0] == "nt_lightning" and len(parts) > 1 and parts[1] in PACKAGES:
                assert parts[1] in ALLOWED[package] | {own}, f"{path} imports {name}"


def test_small_modules_at_the_top_are_the_base():
    assert {path.stem for path in (ROOT / "nt_lightning").glob("*.py")} - {"__init__"} == TOP
    for name in TOP - {"__main__", "cli", "preview", "subset", "trainer"}:
        for imported in imports_of(ROOT / "nt_lightning" / f"{name}.py"):
            if imported.startswith("nt_lightning."):
                assert imported.split(".")[1] in TOP, f"{name} imports {imported}"


def test_callbacks_never_import_evals():
    for path in files_of("callbacks"):
        assert not any(name.split(".")[0] in ("evals", "tests") for name in imports_of(path)), path


def test_evals_are_free_of_torch():
    code = "import sys, evals.reasoning_gym, evals.math_500; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_wheel_is_the_library_alone(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nt_lightning"}
    assert "nt_lightning/py.typed" in names
    assert not any(name.endswith("entry_points.txt") for name in names)
    tracked = {str(path.relative_to(ROOT)) for path in files_of("nt_lightning")}
    assert tracked <= set(names)
