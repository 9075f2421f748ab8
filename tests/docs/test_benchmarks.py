"""The gallery's benchmarks run and report as docs/measurements.md says; no time is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

_CASES = {
    "load": (["--rows", "3000", "--runs", "1"], {"load": {"limit", "rollcall", "naive"}}),
    "match": (
        ["--rows", "2000", "--runs", "2", "--probes", "1", "4", "--check", "200", "--check-rows", "2000"],
        {
            "match": {
                "rollcall",
                "rollcall-2t",
                "rollcall-small-pages",
                "faiss-flat",
                "numpy",
                "usearch-exact",
            },
            "exact: clusters": {"rollcall"},
            "exact: near-ties": {"rollcall"},
        },
    ),
    "publish": (
        ["--rows", "2000", "--processes", "2", "--commits", "10", "--bulk", "200"],
        {
            "publish": {"rollcall", "rollcall-matching"},
            "check": {"rollcall"},
            "bulk": {"rollcall", "executemany"},
        },
    ),
    "share": (
        ["--rows", "2000", "--processes", "1", "2", "--seconds", "0.2"],
        {"share": {"rollcall", "private"}},
    ),
    "grow": (
        ["--rows", "4000", "--runs", "2", "--times", "1"],
        {
            **{case: {"rollcall"} for case in ("doubling", "growth", "erasure", "compaction")},
            "replacement": {"rollcall", "limit"},
        },
    ),
}


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, check=False, timeout=150, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def document_of(name: str) -> dict[str, Any]:
    if name == "match":
        pytest.importorskip("faiss", reason="faiss-cpu is in [test]")
        pytest.importorskip("usearch", reason="usearch is in [test]")
    document: dict[str, Any] = json.loads(run(f"tests.benchmark.{name}", "--json", *_CASES[name][0]))
    return document


@pytest.mark.parametrize("name", _CASES)
def test_a_benchmark_reports_one_document(name: str) -> None:
    """With --json: the machine, and one result per case, candidate, rows and probes or processes, each with its times."""
    document = document_of(name)
    assert set(document) == {"machine", "results"}
    candidates: dict[str, set[str]] = {}
    keys = []
    for result in document["results"]:
        candidates.setdefault(result["case"], set()).add(result["candidate"])
        keys.append(tuple(result.get(key) for key in ("case", "candidate", "rows", "probes", "processes")))
        assert ("probes" in result) != ("processes" in result)
        if not result["case"].startswith("exact"):
            assert {"median_ms", "min_ms", "p90_ms"} <= set(result)
            assert result["median_ms"] >= 0
        else:
            assert result["wrong"] == 0
    assert candidates == _CASES[name][1]
    assert len(keys) == len(set(keys))


def test_the_plot_is_made_from_a_run(tmp_path: Path) -> None:
    """plot_match draws a run's document into an SVG file."""
    pytest.importorskip("matplotlib", reason="matplotlib is in [test]")
    results = [
        {"case": "match", "rows": rows, "probes": 1, "candidate": candidate, "median_ms": rows / 1e4}
        for rows in (1000, 2000)
        for candidate in ("rollcall", "faiss-flat", "numpy", "usearch-exact")
    ]
    source = tmp_path / "run.json"
    source.write_text(json.dumps({"machine": {"cpu": "a test"}, "results": results}), encoding="utf-8")
    run("tests.benchmark.plot_match", "--from", str(source), "--to", str(tmp_path / "match.svg"))
    assert "<svg" in (tmp_path / "match.svg").read_text(encoding="utf-8")
