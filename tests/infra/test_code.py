"""The functions' zip and the task image: what is in them, and that it is enough."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

import boto3
import pytest
from whole_program import run_program

from infra.code import code_files, code_hash
from infra.image import context_files, context_hash
from infra.project import PROJECT_FOLDER


def copy_of_the_code(folder: Path) -> Path:
    for name, path in code_files(PROJECT_FOLDER).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


def test_the_zip_is_the_program_s_archive_and_has_nothing_but_code() -> None:
    archive = run_program("prod").named("functions-sweep").inputs["code"]
    assert archive.assets.keys() == code_files(PROJECT_FOLDER).keys()
    assert {Path(name).suffix for name in archive.assets} == {".py", ".sql"}
    assert {name.split("/")[0] for name in archive.assets} == {"functions", "workflow"}
    assert "workflow/sql/create_bison.sql" in archive.assets


def test_every_handler_starts_from_the_zip_alone_with_only_boto3_beside_it(tmp_path: Path) -> None:
    """An import of local, infra or a library that Lambda does not have fails there and nowhere else."""
    lambda_has = tmp_path / "runtime"
    lambda_has.mkdir()
    site_packages = Path(boto3.__file__).parents[1]
    for package in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3"):
        (lambda_has / package).symlink_to(site_packages / package)
    handlers = sorted({function.inputs["handler"] for function in run_program("prod").functions().values()})
    script = (
        f"import sys; sys.path[:0] = [{str(copy_of_the_code(tmp_path / 'task'))!r}, {str(lambda_has)!r}]\n"
        "from importlib import import_module\n"
        f"for module, name in (handler.rsplit('.', 1) for handler in {handlers!r}):\n"
        "    assert callable(getattr(import_module(module), name)), module\n"
    )
    # -S leaves out site-packages, -I the working folder.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_hash_follows_content_and_paths_and_nothing_else(tmp_path: Path) -> None:
    """Caches and file times must not deploy anything; a changed line of SQL must."""
    copy = copy_of_the_code(tmp_path)
    before = code_hash(copy)
    assert before == code_hash(PROJECT_FOLDER)
    (copy / "functions" / "__pycache__").mkdir()
    (copy / "functions" / "__pycache__" / "sweep.cpython-313.pyc").write_bytes(b"cache")
    (copy / "functions" / "notes.txt").write_text("not code")
    assert code_hash(copy) == before
    sql = copy / "workflow" / "sql" / "create_bison.sql"
    sql.write_text(sql.read_text() + "\n")
    changed = code_hash(copy)
    sql.rename(sql.with_name("create_bison_us.sql"))
    assert len({before, changed, code_hash(copy)}) == 3


def test_functions_are_told_the_hash_of_the_code_that_they_run() -> None:
    variables = run_program("prod").functions()["bison_sweep"].inputs["environment"]["variables"]
    assert variables["BISON_CODE"] == code_hash(PROJECT_FOLDER)


def test_the_image_is_made_of_the_tasks_and_not_of_what_starts_them(tmp_path: Path) -> None:
    files = context_files(PROJECT_FOLDER)
    assert {"container/entrypoint.py", "container/tasks/calc_stats.py", "workflow/steps.py"} <= set(files)
    assert {"container/Dockerfile", "requirements/tasks.txt"} <= set(files)
    assert not [file for file in files if "userdata" in file or file.endswith((".pyc", "compose.yaml"))]
    assert {file.split("/")[0] for file in files} == {"container", "requirements", "workflow"}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT_FOLDER / file, tmp_path / file)
    assert context_hash(tmp_path) == context_hash(PROJECT_FOLDER)
    (tmp_path / "container" / "task.py").write_text("changed")
    assert context_hash(tmp_path) != context_hash(PROJECT_FOLDER)


def test_the_image_s_tag_says_its_content() -> None:
    """The repository's tags are immutable: the same tag for other content could not be pushed."""
    image = run_program("prod").named("image-image").inputs
    content = context_hash(PROJECT_FOLDER)
    assert image["tags"][0].endswith(f"/tasks:{content[:16]}")
    assert image["buildArgs"] == {"REVISION": content}
    assert image["platforms"] == ["linux/arm64"]
    assert image["push"] is True
    assert image["buildOnPreview"] is False
    assert run_program("prod").named("image-repository").inputs["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"


def test_an_image_built_elsewhere_builds_none() -> None:
    assert not [r.name for r in run_program("local").resources if r.type.startswith(("docker-build:", "aws:ecr/"))]


# It reads the metadata of everything that is installed.
distributions = lru_cache(packages_distributions)


@pytest.mark.parametrize("file", [file for file in context_files(PROJECT_FOLDER) if file.endswith(".py")])
def test_the_image_has_every_library_that_its_code_imports(file: str) -> None:
    """The tests run beside everything that is installed here; the image has requirements/tasks.txt only."""
    locked = (PROJECT_FOLDER / "requirements" / "tasks.txt").read_text()
    in_image = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"(?m)^([A-Za-z0-9._-]+)==", locked)}
    for module in imported(PROJECT_FOLDER / file):
        if module not in sys.stdlib_module_names | {"workflow", "container"}:
            found = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions()[module]}
            assert found & in_image, f"{file} imports {module}, which requirements/tasks.txt does not have."


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports, but for types alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    typing_only = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    skipped = {id(child) for node in typing_only for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
