from __future__ import annotations

from pathlib import Path

import pytest

from guards.document import DocumentError, load_file
from tests.guards.documents import GOOD, HASH, KINDS, SECRET, changed, line_of, problems, read


def test_a_good_document_says_what_it_says() -> None:
    document, warnings, files = read(GOOD)
    upstream, rule = document.upstreams[0], document.policies[0].guards[0]
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == SECRET
    assert (upstream.timeouts.connect, upstream.timeouts.read, upstream.timeouts.idle) == (0.5, 300.0, 3600.0)
    assert (rule.pattern, rule.timeout, rule.stages) == (r"Project [A-Z]\w{2,20}", 0.5, ("output",))
    assert document.policies[0].guards[1].thresholds == {"flag": 0.4, "block": 0.9}
    assert document.tenants[0].limits.requests_per_minute == 600
    assert document.server.max_body == 64 * 1024
    assert (warnings, files) == ((), ())


def test_the_example_that_ships_is_good() -> None:
    loaded = load_file(Path(__file__).parents[2] / "deploy" / "example.yaml", KINDS, {})
    assert loaded.warnings == ()
    assert not loaded.document.tenants


# What the document says instead, with #! on the line at fault; words of the message; words of the remedy.
VALUES = [
    ("version: 1", "version: 2 #!", "reads version 1, not `2`", "version: 1"),
    ("version: 1", "version: true #!", "version 1, not `true`", "version: 1"),
    ("version: 1", 'version: "1" #!', "version 1", "version: 1"),
    ("version: 1\nupstreams:", "upstreams: #!", "has no `version`", "`version: 1`"),
    ("    on_block: refuse", "    on_blok: refuse #!", "unknown key `on_blok`", "did you mean `on_block`?"),
    ("version: 1", "version: 1\nplugins: [] #!", "unknown key `plugins` in the document", "known keys are models"),
    ("on_block: refuse", "on_block: refus #!", "refuse or error, not `refus`", "did you mean refuse?"),
    ("on_block: refuse", "on_block: [refuse] #!", "must be refuse or error", "on_block: refuse"),
    ("mode: bounded, slack: 100}", "mode: strict, slack: 5} #!", "`slack`, which only", "remove `slack`"),
    ("{mode: bounded, slack: 100}", "audt #!", "strict, bounded or audit, not `audt`", "did you mean audit?"),
    ("slack: 100}", "slack: many} #!", "whole number above 0", "slack: 200"),
    ("wait: 20s", "wait: 20 #!\n     ", "duration without a unit", "20s"),
    ("wait: 20s", "wait: soon #!\n     ", "is not a duration", "wait: 20s"),
    ("wait: 20s", "wait: 0s #!\n     ", "longer than nothing", "wait: 20s"),
    ("max_body: 64kB}", "max_body: much} #!", "is not a size", "max_body: 32MB"),
    ("max_body: 64kB}", "max_body: 0} #!", "larger than nothing", "max_body"),
    ("requests_per_minute: 600}", "requests_per_minute: true} #!", "whole number above 0", "600"),
    ("  - name: support\n", "  - name: 5 #!\n", "must be text", "quotes"),
    ("  - name: support\n", "  - name: 'sup\tport' #!\n", "is not a usable name", "ASCII"),
    ("base_urls: [http://127.0.0.1:8000/v1]", "base_urls: [ftp://h] #!", "http or https URL", "http://host"),
    (
        "base_urls: [http://127.0.0.1:8000/v1]",
        "base_urls: ['http://user:word@h/v1'] #!",
        "a name or a password",
        "goes into `api_key`",
    ),
    ("base_urls: [http://127.0.0.1:8000/v1]", "base_urls: ['http://h:x/'] #!", "http or https URL", "http://host"),
    ("base_urls: [http://127.0.0.1:8000/v1]", "base_urls: http://h/v1 #!", "must be a list", "base_urls: ["),
    ("    base_urls: [http://127.0.0.1:8000/v1]", "    base_urls: [] #!", "no `base_urls`", "kind: simulated"),
    ("name: vllm\n    base_urls: [http://127.0.0.1:8000/v1]", "name: vllm #!", "no `base_urls`", "kind: simulated"),
    ("system_prompt: {text: You help., mode: prepend}", "system_prompt: x #!", "must be a mapping", "{text:"),
    ("system_prompt: {text: You help.,", "system_prompt: {text: ' ', #!\n     ", "is blank", "remove `system_prompt`"),
    (f'keys: ["{HASH}"]', 'keys: ["wg-plain"] #!', "is not the hash of a key", "sha256:<64 hex digits>"),
    (f'keys: ["{HASH}"]', "keys: [] #!", "`tenants[0].keys` is empty", "keys: ["),
    (f'keys: ["{HASH}"]', f'keys: ["{HASH}", "{HASH}"] #!', "given twice", "wardgate keys new"),
    ("    models: [assistant]\n", "    models: #!\n", "has no value", "models: [assistant]"),
    ("models: [assistant]\n", "models: [asistant] #!\n", "no model `asistant`", "did you mean `assistant`?"),
    ("    policy: support\nserver", "    policy: suport #!\nserver", "no policy `suport`", "did you mean `support`?"),
    ("policy: support}", "policy: zzz} #!", "no policy `zzz`", "name one of `support`"),
    ("upstream: vllm,", "upstream: vlm, #!\n    ", "no upstream `vlm`", "did you mean `vllm`?"),
    ("policies:\n", "policies:\n  - {name: support} #1\n", "second policy is named `support`", "name of its own"),
    ("server:", "webhooks: [{url: http://a.b/c, secret: s, tenants: [acm]}] #!\nserver:", "no tenant `acm`", "`acme`?"),
    ("tenants:\n", "tenants: {a: 1} #!\nx-y:\n", "`tenants` must be a list", "tenants: ["),
]


@pytest.mark.parametrize(("old", "new", "message", "remedy"), VALUES)
def test_a_wrong_value_is_told_with_its_line_and_remedy(old: str, new: str, message: str, remedy: str) -> None:
    text = changed(old, new)
    expected = line_of(text) if "#!" in text else line_of(text, "#1") + 1
    found = problems(text)
    assert any(p.line == expected and message in p.message and remedy in p.remedy for p in found), found


# The same for one guard, written in one line.
GUARDS = [
    ("{name: g}", "has no `kind`", "kind: pattern"),
    ("{name: g, kind: patern, pattern: x}", "no guard kind `patern`", "did you mean pattern?"),
    ("{name: g, kind: oracle}", "no guard kind `oracle`", "one of denylist, length, pattern"),
    ("{name: g, kind: pattern}", "kind pattern needs `pattern`", "pattern: 'Project"),
    ("{name: g, kind: pattern, pattern: ''}", "is empty", "write"),
    ("{name: g, kind: length}", "kind length needs `max_chars`", "max_chars: 20000"),
    (
        "{name: g, kind: pattern, pattern: x, entities: [email]}",
        "belongs to kinds pii, secrets, unicode, not",
        "remove",
    ),
    ("{name: g, kind: pii, max_chars: 5}", "`max_chars` belongs to kind length, not pii", "remove it"),
    ("{name: g, kind: pii, entites: [email]}", "unknown key `entites`", "did you mean `entities`?"),
    ("{name: g, kind: pattern, pattern: 'a*'}", "unbounded repeat: a*", r"\w{1,64}"),
    ("{name: g, kind: pii, thresholds: {block: 0.5}}", "kind pii is exact", "action: block"),
    ("{name: g, kind: scorer, thresholds: {flag: 0.9, block: 0.4}}", "`block` at 0.4 is not above `flag`", "higher"),
    ("{name: g, kind: scorer, thresholds: {block: 0.5, flag: 0.5}}", "must rise", "remove one"),
    ("{name: g, kind: scorer, thresholds: {block: 1.5}}", "number from 0 to 1", "0.7"),
    ("{name: g, kind: scorer, thresholds: {block: -0.1}}", "number from 0 to 1", "0.7"),
    ("{name: g, kind: scorer, thresholds: {block: .nan}}", "number from 0 to 1", "0.7"),
    ("{name: g, kind: scorer, thresholds: {blok: 0.5}}", "unknown action, `blok`", "did you mean `block`?"),
    ("{name: g, kind: scorer, thresholds: {allow: 0.1, block: 0.5}}", "`allow` needs no threshold", "remove it"),
    ("{name: g, kind: scorer, thresholds: {}}", "can never act: `thresholds` is empty", "block: 0.95"),
    ("{name: g, kind: scorer, thresholds: 0.5}", "must be a mapping", "thresholds: {"),
    ("{name: g, kind: classifier, thresholds: {flag: 0.9, block: 0.4}}", "must rise", "higher"),
    (
        "{name: g, kind: scorer, thresholds: {block: 0.5}, only_if: {guard: codename, between: [0.2, 0.8]}}",
        "no score of its own",
        "scores every text",
    ),
    (
        "{name: g, kind: scorer, thresholds: {block: 0.5}, only_if: {guard: g, between: [0.2, 0.8]}}",
        "names no other guard",
        "name one that scores",
    ),
    (
        "{name: g, kind: scorer, thresholds: {block: 0.5}, only_if: {guard: zzz, between: [0.8, 0.2]}}",
        "`between` must rise",
        "lower probability first",
    ),
    ("{name: g, kind: pii, only_if: {guard: zzz, between: [0.2, 0.8]}}", "belongs to kind scorer", "remove it"),
    ("{name: g, kind: pii, stages: []}", "can never act: `stages` is empty", "[input, output]"),
    ("{name: g, kind: pii, stages: [inptu]}", "input or output, not `inptu`", "did you mean input?"),
    ("{name: g, kind: pii, stages: input}", "must be a list", "stages: [input, output]"),
    ("{name: g, kind: pii, stages: [input, input]}", "stage `input` stands twice", "keep one"),
    ("{name: g, kind: pii, category: jailbrake}", "no category `jailbrake`", "did you mean jailbreak?"),
    ("{name: g, kind: pii, category: zzz}", "no category `zzz`", "code_abuse"),
    ("{name: g, kind: pii, action: allow}", "can never act: `action: allow`", "mode: monitor"),
    ("{name: g, kind: pii, action: revise}", "only allow, flag, redact, escalate or block act", "block"),
    ("{name: g, kind: pii, action: revise}", "no effect on kind pii", "block"),
    ("{name: g, kind: pii, action: blok}", "not `blok`", "did you mean block?"),
    ("{name: g, kind: pii, mode: watch}", "enforce or monitor, not `watch`", "mode: enforce"),
    ("{name: g, kind: pii, timeout: 500}", "without a unit", "500ms"),
    ("{name: g, kind: pattern, pattern: x, ignore_case: maybe}", "must be true or false", "true"),
    ("{name: g, kind: denylist}", "has no terms", "terms_file"),
    ("{name: g, kind: denylist, terms: []}", "has no terms", "terms: ["),
    ("{name: g, kind: denylist, terms: ['']}", "is empty", "terms: ["),
    ("{name: g, kind: denylist, terms: [1984]}", "must be text", "quotes"),
    ("{name: g, kind: denylist, terms_file: gone.txt}", "`gone.txt` cannot be read: No such file", "relative to this"),
    ("{name: g, kind: denylist, terms_file: .}", "cannot be read: Is a directory", "UTF-8"),
    ("{name: codename, kind: pii}", "second guard of this policy is named `codename`", "name of its own"),
    (
        r"{name: g, kind: pattern, pattern: 'Project [A-Z]\w{2,20}', timeout: 500ms, stages: [output]}",
        "same kind",
        "re",
    ),
]


@pytest.mark.parametrize(("guard", "message", "remedy"), GUARDS)
def test_a_wrong_guard_is_told_with_its_line_and_remedy(guard: str, message: str, remedy: str) -> None:
    text = changed("tenants:\n", f"      - {guard} #!\ntenants:\n")
    found = problems(text)
    assert {p.line for p in found} == {line_of(text)}, found
    assert any(message in p.message and remedy in p.remedy for p in found), found


def test_all_problems_are_told_at_once_in_the_order_of_lines() -> None:
    text = changed("on_block: refuse", "on_block: no").replace("version: 1", "version: 3").replace("vllm,", "wllm,")
    found = problems(text.replace("flag: 0.4", "flag: 0.95").replace("models: [assistant]", "models: [x]"))
    assert len(found) == 5, found
    assert [p.line for p in found] == sorted(p.line for p in found)


def test_the_error_reads_as_file_line_message_and_fix() -> None:
    with pytest.raises(DocumentError) as failure:
        read(changed("version: 1", "version: 2"))
    assert str(failure.value) == "gate.yaml:2: this release reads version 1, not `2`\n    fix: write `version: 1`"


def test_terms_of_a_file_join_those_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("\ufeffblue heron\n\n# a comment\n#tag\n  grünes Licht \n", encoding="utf-8")
    text = changed("tenants:\n", "      - {name: g, kind: denylist, terms: [fox], terms_file: terms.txt}\ntenants:\n")
    document, _, files = read(text, base=tmp_path)
    assert document.policies[0].guards[2].terms == ("fox", "blue heron", "#tag", "grünes Licht")
    assert files == (tmp_path / "terms.txt",)
    (tmp_path / "terms.txt").write_text("other\n", encoding="utf-8")
    assert read(text, base=tmp_path).document.policies[0].hash != document.policies[0].hash


@pytest.mark.parametrize(("content", "message"), [(b"\n# x\n", "holds no terms"), (b"\xff\xfe", "not UTF-8")])
def test_a_useless_file_of_terms_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "terms.txt").write_bytes(content)
    text = changed("tenants:\n", "      - {name: g, kind: denylist, terms_file: terms.txt} #!\ntenants:\n")
    (found,) = problems(text, base=tmp_path)
    assert found.line == line_of(text)
    assert message in found.message


def test_a_leak_guard_needs_a_prompt_to_guard() -> None:
    text = changed("    system_prompt: {text: You help., mode: prepend}\n", "")
    text = text.replace("tenants:\n", "      - {name: g, kind: prompt_leak} #!\ntenants:\n")
    (found,) = problems(text)
    assert found.line == line_of(text)
    assert "can never act" in found.message


def test_a_guard_on_another_stage_is_no_repeat() -> None:
    guard = r"{name: g, kind: pattern, pattern: 'Project [A-Z]\w{2,20}', timeout: 500ms, stages: [input]}"
    assert read(changed("tenants:\n", f"      - {guard}\ntenants:\n")).warnings == ()


def test_what_nothing_uses_is_a_warning_with_its_line() -> None:
    text = changed("tenants:\n", "  - name: spare #!\ntenants:\n")
    text = text.replace("models:\n  -", "  - {name: idle, base_urls: [http://h/v1]}\nmodels:\n  -")
    upstream, policy = read(text).warnings
    assert "nothing uses upstream `idle`" in upstream.message
    assert (policy.line, policy.message) == (line_of(text), "nothing uses policy `spare`")


def test_a_model_that_nothing_judges_is_a_warning() -> None:
    text = changed(", policy: support}", "}").replace("    policy: support\n", "")
    assert next(w.message for w in read(text).warnings) == "nothing judges model `assistant`: it has no policy"


def test_a_document_without_tenants_is_open_and_an_empty_list_is_a_mistake() -> None:
    head, _, rest = GOOD.partition("tenants:\n")
    server = rest[rest.index("server:") :]
    assert read(head + server).document.tenants == ()
    assert "nobody could ask" in problems(head + "tenants: []\n" + server)[0].message
    assert "has no value" in problems(head + "tenants:\n" + server)[0].message


def test_the_same_text_has_the_same_hash_and_a_key_is_no_part_of_it() -> None:
    assert read(GOOD).document.hash == read(GOOD, {"API_KEY": "other"}).document.hash


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"gone\.yaml:1: cannot be read: No such file"):
        load_file(tmp_path / "gone.yaml", KINDS, {})


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"version: \xff")
    with pytest.raises(DocumentError, match="not UTF-8"):
        load_file(tmp_path / "c.yaml", KINDS, {})


def test_a_mandatory_guard_allows_no_path_around_it() -> None:
    guarded = changed("    guards:\n", "    guards:\n      - {name: all, kind: secrets, mandatory: true} #!\n")
    read(guarded)
    (problem,) = problems(guarded + "passthrough: [/tokenize]\n")
    assert problem.line == line_of(guarded)
    assert "guard `all` is mandatory" in problem.message
