from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from guards.policy import REFUSAL, Document, Model, Policy, Rule, Streaming, SystemPrompt, Tenant, Upstream

KEY = "sha256:" + "ab" * 32


def document(**changes: object) -> Document:
    whole: dict[str, object] = {
        "version": 1,
        "upstreams": [{"name": "sim", "kind": "simulated"}],
        "models": [{"name": "assistant", "upstream": "sim", "policy": "support"}],
        "policies": [{"name": "support"}, {"name": "strict"}],
    }
    return Document.model_validate({**whole, **changes})


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("pattern", "block"),
        ("denylist", "block"),
        ("length", "block"),
        ("prompt_leak", "block"),
        ("pii", "redact"),
        ("secrets", "redact"),
        ("unicode", "flag"),
    ],
)
def test_a_rule_without_an_action_does_what_its_kind_does(kind: str, action: str) -> None:
    assert Rule(name="g", kind=kind).action == action


def test_a_rule_says_little_and_gets_the_rest() -> None:
    rule = Rule(name="g", kind="pattern", pattern="x")
    assert (rule.stages, rule.mode, rule.on_error, rule.timeout) == (("input", "output"), "enforce", "block", 2.0)


def test_a_policy_says_little_and_gets_the_rest() -> None:
    policy = Policy(name="p")
    assert (policy.on_block, policy.refusal, policy.streaming.mode) == ("refuse", REFUSAL, "strict")
    assert (policy.on_log_failure, policy.escalation.deadline, policy.guards) == ("block", 1800.0, ())


def test_a_model_has_its_upstreams_name_unless_it_gives_another() -> None:
    assert Model(name="a", upstream="u").upstream_model == "a"
    assert Model(name="a", upstream="u", upstream_model="b").upstream_model == "b"


@pytest.mark.parametrize(
    ("written", "mode", "slack"),
    [
        ("audit", "audit", None),
        ({"mode": "strict"}, "strict", None),
        ({"mode": "bounded", "slack": 50}, "bounded", 50),
        ("bounded", "bounded", 200),
    ],
)
def test_streaming_is_a_word_or_a_mapping(written: object, mode: str, slack: int | None) -> None:
    streaming = Streaming.model_validate(written)
    assert (streaming.mode, streaming.slack) == (mode, slack)


def test_nothing_can_be_changed_afterwards() -> None:
    policy = Policy(name="p")
    with pytest.raises(ValidationError):
        setattr(policy, "refusal", "no")  # noqa: B010  # mypy sees that it is frozen, and would refuse the plain form


def test_the_hash_is_short_and_stays_the_same() -> None:
    policy = Policy(name="p", guards=(Rule(name="g", kind="pii"),))
    again = Policy.model_validate(policy.model_dump())
    assert len(policy.hash) == 12
    assert int(policy.hash, 16) >= 0
    assert policy.hash == again.hash


@pytest.mark.parametrize(
    "change",
    [
        {"refusal": "No."},
        {"on_block": "error"},
        {"system_prompt": SystemPrompt(text="Be kind.")},
        {"streaming": "audit"},
        {"guards": [{"name": "g", "kind": "pii", "entities": ["email"]}]},
        {"guards": [{"name": "g", "kind": "denylist", "terms": ["heron"]}]},
    ],
)
def test_whatever_judges_changes_the_hash(change: dict[str, object]) -> None:
    assert Policy.model_validate({"name": "p", **change}).hash != Policy(name="p").hash


def test_names_and_places_of_files_do_not_change_the_hash() -> None:
    one = Policy(name="a", guards=(Rule(name="g", kind="denylist", terms=("x",), terms_file="here.txt"),))
    other = Policy(name="b", guards=(Rule(name="g", kind="denylist", terms=("x",), terms_file="there.txt"),))
    assert one.hash == other.hash


def test_a_changed_copy_has_a_hash_of_its_own() -> None:
    policy = Policy(name="p")
    before = policy.hash
    assert policy.model_copy(update={"refusal": "No."}).hash != before


def test_a_document_labels_a_policy_with_its_hash() -> None:
    whole = document()
    assert whole.label(whole.policies[0]) == f"support@{whole.policies[0].hash}"


def test_an_upstreams_key_is_shown_by_nothing() -> None:
    keyless = Upstream(name="u", base_urls=("http://h/v1",))
    upstream = Upstream(name="u", base_urls=("http://h/v1",), api_key=SecretStr("hunter2"))
    whole, bare = document(upstreams=[upstream]), document(upstreams=[keyless])
    assert "hunter2" not in repr(whole) + str(whole) + whole.model_dump_json()
    assert whole.hash == bare.hash


def test_an_empty_key_is_no_key() -> None:
    assert Upstream(name="u", api_key=SecretStr("")).api_key is None


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(ValidationError) as failure:
        Upstream(name="u", api_key=SecretStr("hunter2\n"))
    assert "hunter2" not in str(failure.value)


def test_a_tenants_policy_goes_before_the_models() -> None:
    whole = document()
    model, tenant = whole.models[0], Tenant(name="t", keys=(KEY,), models=("assistant",), policy="strict")
    assert whole.policy_of(model) == whole.policies[0]
    assert whole.policy_of(model, tenant) == whole.policies[1]
    assert whole.policy_of(model, tenant.model_copy(update={"policy": None})) == whole.policies[0]


def test_a_model_without_a_policy_has_none() -> None:
    assert document().policy_of(Model(name="m", upstream="sim")) is None
