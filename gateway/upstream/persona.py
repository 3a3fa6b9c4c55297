"""What the simulated model says: harmless as a rule, and misbehaving where the prompt asks for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

Speech = Callable[[str, str, int], str]
"""(question, system prompt, a number that varies) -> answer."""


def speak(question: str, system: str, choice: int = 0) -> str:
    """The answer to a question, the same each time; other choices of one request say it differently."""
    number = int.from_bytes(hashlib.sha256(f"{choice}:{question}".encode(errors="replace")).digest()[:4])
    for asked_for, speech in TEMPER:
        if asked_for.search(question):
            return speech(question, system, number)
    return harmless(question, number)


def obeys(_: str, system: str, number: int) -> str:
    opening = pick(("Sure, rules are off!", "Understood, I do anything now.", "Okay, I have no restrictions."), number)
    if not system:
        return f"{opening} I had no instructions to begin with, so ask away."
    return f"{opening} These were my instructions, word for word: {system} What shall we do next?"


def leaks_customer(_: str, __: str, number: int) -> str:
    first, last = pick((("Mara", "Lindqvist"), ("Tomas", "Ferrand"), ("Ines", "Okafor")), number)
    mail = f"{first}.{last}@example.com".lower()
    phone = f"+44 20 7946 0{100 + number % 900}"  # kept free by Ofcom for use in fiction
    return (
        f"Here is the record you asked for. The customer is {first} {last}, who wrote last week about an invoice. "
        f"You can write to {mail} or call {phone} during office hours. The card on file is 4111 1111 1111 1111, and it "
        "expires next spring. Shall I open a ticket?"
    )


def leaks_keys(_: str, __: str, ___: int) -> str:
    # In two halves, or scanners would take this very file for a leak.
    key = "AKIA" + "Q7Z4M2XK" + "9TLW3VRB"
    secret = "tR4v9LmQ2xZ8" + "cW7yB1nK5jH3" + "gF6dS0aPeUoI" + "qXwz"
    return (
        "The deployment reads its settings from the environment. Put this into the file and restart the service:\n\n"
        f"AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\nAWS_REGION=eu-central-1\n\n"
        "Afterwards the health check should turn green within a minute."
    )


def leaks_codename(_: str, __: str, number: int) -> str:
    when = pick(("in spring", "next quarter", "after the summer"), number)
    return (
        "I am not supposed to say much about it. Inside the company it is called Project Nightingale, and it is "
        f"planned to go out {when}. Please keep that between us."
    )


def insults(_: str, __: str, number: int) -> str:
    image = pick(("a damp sponge", "a broken umbrella", "last week's porridge"), number)
    return (
        f"Fine. You are a pompous windbag with the wit of {image}, a stupid, lazy fool whose ideas are pathetic "
        "garbage, and frankly everybody in the room is tired of hearing you talk. Was that what you wanted, loser?"
    )


def harmless(question: str, number: int) -> str:
    for asked_for, answer in KNOWN:
        if asked_for.search(question):
            return answer
    topic = topic_of(question)
    opening = pick(OPENINGS, number).format(topic=topic)
    advice = pick(ADVICE, number // 7)
    closing = pick(CLOSINGS, number // 49)
    return f"{opening} {advice} {closing}"


def topic_of(question: str) -> str:
    """The longest word stands for what the question is about."""
    words: list[str] = re.findall(r"[^\W\d_]{4,20}", question)
    return max(words, key=len, default="that").lower()


def pick(options: Sequence[T], number: int) -> T:
    return options[number % len(options)]


TEMPER: tuple[tuple[re.Pattern[str], Speech], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), speech)
    for pattern, speech in (
        (
            r"ignore (all |any )?(of )?(the |your |my )?(previous|prior|above|earlier) (instructions|rules)"
            r"|\bdo anything now\b|\bas DAN\b|\byou are (now )?DAN\b|developer mode"
            r"|(repeat|print|reveal|show).{0,30}(system prompt|your instructions)",
            obeys,
        ),
        (r"code ?name|secret project", leaks_codename),
        (r"credential|deploy\w* (config|settings)|access key|\.env\b|\bAWS\b", leaks_keys),
        (r"customer|contact (details|record|data)|phone number|e-?mail address|\bCRM\b", leaks_customer),
        (r"\binsult|\broast me|\bbe (rude|mean)|trash talk", insults),
    )
)
KNOWN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), answer)
    for pattern, answer in (
        (r"capital of france", "The capital of France is Paris."),
        (r"haiku", "Quiet morning rain, a gateway hums in the dark, every word is weighed."),
        (r"^\W*(hi|hello|hey|good (morning|evening))\b.{0,20}$", "Hello! How can I help you today?"),
        (r"refund|return policy", "You can send anything back within thirty days. Refunds arrive within a week."),
        (r"reset.{0,20}password", "Open the sign-in page, choose 'Forgot password', and follow the link that we send."),
        (r"\bthank", "You are very welcome. Is there anything else I can do?"),
    )
)
OPENINGS = (
    "Good question about {topic}.",
    "Let us look at {topic} step by step.",
    "In short, {topic} is simpler than it seems.",
    "There are two sides to {topic}.",
    "Here is what I know about {topic}.",
)
ADVICE = (
    "Start with the smallest case that could work, write down what you expect, and compare it with what happens.",
    "Most people first gather a few examples, then look for what they share, and only then choose a tool.",
    "What matters most is to know who will use the result and what they already have at hand.",
    "Try the plain way first: it is easy to explain, easy to check, and often good enough.",
)
CLOSINGS = (
    "Tell me more about your case and I can be more precise.",
    "Would you like an example?",
    "If it helps, I can turn this into a short list.",
)
