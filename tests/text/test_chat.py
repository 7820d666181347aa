"""Chat templates: what they write, and what happens to one that loops or reaches outside."""

from __future__ import annotations

import pytest

from handloom.errors import HandloomError
from handloom.text import chat
from handloom.text.chat import render

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße, 你好 <b>"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "And?"},
]

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
    "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
    "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
FANCY = """{%- set ns = namespace(count=0) -%}
{%- macro say(m) -%}[{{ m.role|upper }}] {{ m.content|trim|tojson }}{%- endmacro -%}
{% for m in messages %}
    {% if m.role == "system" %}{% continue %}{% endif %}
    {% set ns.count = ns.count + 1 %}
    {% generation %}{{ say(m) }}{% endgeneration %}

{% endfor %}
{{ ns.count }}{{ {"a": [1, "é"]} | tojson(indent=2) }}"""
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
REAL = {"smollm2": SMOLLM2, "llama 2": LLAMA2, "llama 3": LLAMA3, "zephyr": ZEPHYR, "fancy": FANCY}


def test_a_conversation_as_text() -> None:
    text = render(SMOLLM2, TALK[1:2])
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nGrüße, 你好 <b><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert render(SMOLLM2, TALK, reply=False).endswith("And?<|im_end|>\n")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes more time"),
        ("{{ 'x' * 9000000000 }}", "takes more memory"),
        ("{% for i in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxx' }}{% endfor %}", "writes more than 1,048,576"),
        ("{{ messages.__class__.__mro__ }}", "reaches outside of its sandbox"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "reaches outside of its sandbox"),
        ("{{ messages.append(1) }}", "reaches outside of its sandbox"),
        ("{% include '/etc/passwd' %}", "fails|refuses"),
        ("a\n{% for %}", "is wrong in line 2"),
        ("{{ raise_exception('roles must alternate') }}", "refuses this conversation: roles must alternate"),
        ("{{ missing.name }}", "refuses this conversation: 'missing' is undefined"),
        ("{{ 1 / 0 }}", "fails: ZeroDivisionError"),
    ],
)
def test_a_bad_template_is_an_error_within_bounds(
    template: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 1)
    with pytest.raises(HandloomError, match=words):
        render(template, TALK)


def test_messages_are_checked() -> None:
    with pytest.raises(HandloomError, match="at least one message"):
        render(SMOLLM2, [])
    with pytest.raises(HandloomError, match='message 2 must have a "role"'):
        render(SMOLLM2, [TALK[0], {"content": "?"}])
    with pytest.raises(HandloomError, match="at most 1,048,576"):
        render("x" * (1 << 21), TALK)


@pytest.mark.parity
@pytest.mark.parametrize("name", list(REAL))
def test_as_transformers_writes_it(name: str) -> None:
    pytest.importorskip("transformers")
    from transformers.utils.chat_template_utils import render_jinja_template

    for reply in (True, False):
        wanted = render_jinja_template(
            [TALK], chat_template=REAL[name], add_generation_prompt=reply, **SPECIAL
        )[0][0]
        assert render(REAL[name], TALK, SPECIAL, reply=reply) == wanted


MARKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize("template", [SMOLLM2, LLAMA3, ZEPHYR, MARKING, chat.PLAIN])
def test_what_the_assistant_says_is_found(template: str) -> None:
    told = [*TALK, {"role": "assistant", "content": "Bye 🙂"}]
    for found in chat.marked(template, [told, told[:3]], SPECIAL):
        said = [found.text[start:end].strip() for start, end in found.replies]
        for words, wanted in zip(said, ("Hi!", "Bye 🙂"), strict=False):
            assert words.startswith(wanted) and len(words) > len(wanted)  # with what ends the turn
        first = found.text[: found.replies[0][0]]
        assert first == render(template, told[:2], SPECIAL)
    assert len(said) == 1


def test_replies_that_cannot_be_told_apart() -> None:
    told = [*TALK, {"role": "assistant", "content": "Bye"}]
    changing = "{% for m in messages %}<{{ m.content if loop.last else m.content|upper }}>{% endfor %}"
    with pytest.raises(HandloomError, match=r"chats\.jsonl:4: the chat template writes a conversation otherwise"):
        chat.marked(changing, [told], SPECIAL, ["chats.jsonl:4"])
    with pytest.raises(HandloomError, match="the conversation begins with the assistant"):
        chat.marked(SMOLLM2, [told[2:]], SPECIAL)
    hidden = "{% macro say(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}"
    hidden += "{% set said = say(messages[0]) %}-{{ said }}"
    with pytest.raises(HandloomError, match="where its place in the text is not known"):
        chat.marked(hidden, [told], SPECIAL)
    with pytest.raises(HandloomError, match="the assistant speaks 2 times, and the chat template marks 0"):
        chat.marked("{% if false %}{% generation %}{% endgeneration %}{% endif %}x", [told], SPECIAL)


def test_many_conversations_and_the_place_of_a_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "AT_ONCE", 2100)
    asked = [([{"role": "user", "content": f"number {i}"}], False) for i in range(5)]
    assert chat.render_all("{{ messages[0].content }}", asked) == [f"number {i}" for i in range(5)]
    refusing = "{% if '3' in messages[0].content %}{{ raise_exception('three') }}{% endif %}"
    with pytest.raises(HandloomError, match="row 3: the chat template refuses this conversation: three"):
        chat.render_all(refusing, asked, places=[f"row {i}" for i in range(5)])
    assert chat.render_all(SMOLLM2, []) == []
