"""`wardgate scan`, as a real process: in order, whatever the rows hold, and clear about a bad line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CONFIG = r"""
version: 1
upstreams: [{name: s, kind: simulated}]
models: [{name: m, upstream: s, policy: p}]
policies:
  - name: p
    guards:
      - {name: pii, kind: pii, stages: [output], action: redact}
      - {name: words, kind: denylist, stages: [input], terms: [red fox], action: block}
      - {name: trial, kind: pattern, stages: [input, output], pattern: 'Project [A-Z]\w{2,20}', mode: monitor}
"""


def scan(tmp_path: Path, lines: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "gateway.cli", "scan", "--config", str(config), *options]
    return subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)


def test_rows_come_out_in_order_with_their_verdicts(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "text": "mail a@b.io", "role": "response"},
        {"id": 2, "text": "a red fox", "role": "prompt"},
        {"id": 3, "text": "nothing here"},
        {"text": "Project Zebra", "role": "response"},
    ]
    out = [json.loads(line) for line in scan(tmp_path, [json.dumps(r) for r in rows]).stdout.splitlines()]
    assert [r.get("id") for r in out] == [1, 2, 3, None]
    assert [r["action"] for r in out] == ["redact", "block", "allow", "allow"]
    assert out[0]["scores"]["pii/pii"] == 1.0
    assert out[0]["findings"][0]["span"] == [5, 11]
    assert out[3]["scores"]["trial/format"] == 1.0  # monitored: scored, not acted on


def test_the_stage_option_overrides_the_role(tmp_path: Path) -> None:
    row = json.dumps({"text": "a red fox", "role": "response"})
    assert json.loads(scan(tmp_path, [row], "--stage", "input").stdout)["action"] == "block"


def test_a_bad_line_is_named_and_there_is_no_traceback(tmp_path: Path) -> None:
    done = scan(tmp_path, ['{"text": "fine"}', "not json"])
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_an_unknown_policy_is_answered_with_those_there_are(tmp_path: Path) -> None:
    done = scan(tmp_path, [], "--policy", "nope")
    assert done.returncode == 1
    assert "the config has p" in done.stderr


PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def peak_memory(tmp_path: Path, rows: int) -> int:
    """Bytes that a scan of so many rows needs at most."""
    config, data = tmp_path / "c.yaml", tmp_path / "rows.jsonl"
    config.write_text(CONFIG)
    with data.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"id": number, "text": "a grey fox " * 100, "role": "prompt"}) + "\n")
    inner = [sys.executable, "-m", "gateway.cli", "scan", "--config", str(config)]
    program = f"import subprocess, sys; subprocess.run({inner!r}, stdin=open({str(data)!r}), stdout=subprocess.DEVNULL)"
    done = subprocess.run([sys.executable, "-c", f"{program}; {PEAK}"], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    few, many = peak_memory(tmp_path, 300), peak_memory(tmp_path, 30_000)
    assert tmp_path.joinpath("rows.jsonl").stat().st_size > 30_000_000
    assert many - few < 16_000_000
