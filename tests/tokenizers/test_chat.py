"""Chat templates, against transformers."""

import json
import sys

import pytest
import transformers

from tests.tokenizer_json.json_oracle import trained
from tinybert.tokenizers import AutoTokenizer, TokenizerJSON

CHATML = """
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('a role must be system, user or assistant') }}
    {%- endif %}
    {%- generation %}
    {{- '<s>' + message['role'] + '\\n' + message['content'] | trim + eos_token + '\\n' }}
    {%- endgeneration %}
    {%- if loop.index > 7 %}{% break %}{% endif %}
{%- endfor %}
{%- if tools %}{{- tools | tojson(indent=1) }}{% endif %}
{%- if add_generation_prompt %}{{- '<s>assistant\\n' }}{% endif %}
{{- mood or '' }}
"""
CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello, who <are> you?"},
    {"role": "assistant", "content": " I am a test. "},
]
TOOLS = [{"type": "function", "function": {"name": "é<b>"}}]
OPTIONS = [
    {},
    {"add_generation_prompt": True},
    {"continue_final_message": True},
    {"tools": TOOLS, "mood": "glad"},
    {"return_dict": True, "return_tensors": "np"},
    {"truncation": True, "max_length": 9},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    (folder / "tokenizer.json").write_text(trained("byte-level", "English"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>"}
    config["chat_template"] = CHATML
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def as_lists(result):
    rows = dict(result) if hasattr(result, "keys") else {"input_ids": result}
    return {name: getattr(row, "tolist", lambda row=row: row)() for name, row in rows.items()}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_conversations(folder, options):
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = AutoTokenizer.from_pretrained(folder)
    expected = theirs.apply_chat_template(CHAT, **options)
    assert as_lists(ours.apply_chat_template(CHAT, **options)) == as_lists(expected)
    if "return_dict" not in options:
        expected = theirs.apply_chat_template([CHAT, CHAT[:2]], tokenize=False, **options)
        assert ours.apply_chat_template([CHAT, CHAT[:2]], tokenize=False, **options) == expected


def test_templates_by_name_pass_both_ways(folder, tmp_path):
    ours = TokenizerJSON.from_pretrained(folder)
    ours.chat_template = {"default": CHATML, "tool_use": "{{ 'T' }}", "rag": "{{ 'R' }}"}
    ours.save_pretrained(tmp_path)
    for loader in (AutoTokenizer, transformers.AutoTokenizer):
        loaded = loader.from_pretrained(tmp_path)
        assert loaded.chat_template == ours.chat_template
        assert loaded.apply_chat_template(CHAT, chat_template="rag", tokenize=False) == "R"
        assert loaded.apply_chat_template(CHAT, tools=TOOLS, tokenize=False) == "T"
        assert loaded.apply_chat_template(CHAT, chat_template="{{ 1 }}", tokenize=False) == "1"
    ours.chat_template = CHATML
    ours.save_pretrained(tmp_path / "one")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "one").chat_template == CHATML
    assert AutoTokenizer.from_pretrained(tmp_path / "one").chat_template == CHATML


def test_templates_as_a_list(folder, tmp_path):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "default", "template": "{{ bos_token }}"}]
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = AutoTokenizer.from_pretrained(tmp_path)
    assert ours.apply_chat_template(CHAT, tokenize=False) == "<s>"
    config["chat_template"] = 1
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: chat_template must be"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_what_is_refused(folder, monkeypatch):
    ours = TokenizerJSON.from_pretrained(folder)
    with pytest.raises(ValueError, match="chat_template: a role must be"):
        ours.apply_chat_template([{"role": "cat", "content": "Meow"}])
    with pytest.raises(ValueError, match=r"chat_template: .*unknown tag|unexpected"):
        ours.apply_chat_template(CHAT, chat_template="{% nonsense %}")
    with pytest.raises(ValueError, match="excludes"):
        ours.apply_chat_template(CHAT, continue_final_message=True, add_generation_prompt=True)
    with pytest.raises(ValueError, match="return_dict"):
        ours.apply_chat_template(CHAT, return_dict=True, tokenize=False)
    with pytest.raises(ValueError, match="does not show the last message"):
        ours.apply_chat_template(CHAT, chat_template="{{ 1 }}", continue_final_message=True)
    hostile = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(ValueError, match=r"chat_template: .*unsafe"):
        ours.apply_chat_template(CHAT, chat_template=hostile)
    ours.chat_template = None
    with pytest.raises(ValueError, match="has no chat template"):
        ours.apply_chat_template(CHAT)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "tinybert\[chat\]"'):
        ours.apply_chat_template(CHAT, chat_template="{{ 1 }}")


CONVERSATION = "conversation must be a list of messages"


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("hi", {}, CONVERSATION),
        (["a"], {}, CONVERSATION),
        ([None], {}, CONVERSATION),
        ([CHAT, "a"], {}, CONVERSATION),
        ({"messages": CHAT}, {}, CONVERSATION),
        (CHAT, {"tools": [len]}, "tools: len cannot be described as a tool: its argument 'obj'"),
        (CHAT, {"tools": [3]}, "tools must be a list of dicts, each a JSON schema; got .*3"),
        (CHAT, {"tools": TOOLS[0]}, "tools must be a list of dicts"),
        (CHAT, {"documents": ["a"]}, "documents must be a list of dicts"),
    ],
    ids=str,
)
def test_forms_that_are_refused(folder, given, options, message):
    ours = TokenizerJSON.from_pretrained(folder)
    with pytest.raises(TypeError, match=message):
        ours.apply_chat_template(given, tokenize=False, **options)


def test_conversations_without_messages(folder):
    ours = TokenizerJSON.from_pretrained(folder)
    assert ours.apply_chat_template([[]], tokenize=False) == [""]
    with pytest.raises(ValueError, match="needs a conversation with a last message"):
        ours.apply_chat_template([], continue_final_message=True)
