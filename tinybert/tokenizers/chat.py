"""Conversations as text: the Jinja2 template that a model comes with, filled in.

A template is a program from a file that nobody has checked, so it runs in Jinja2's sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tinybert.tokenizers.config import Template

MAX_TEMPLATE = 1_000_000  # characters

MARK = "<|the last message ends here|> "


def choose_template(template: Template, name: str | None, has_tools: bool) -> str:
    """The template to use, of one or several: the one of this name, or else "default".

    Of several without a name, "tool_use" is for conversations with tools. A `name` that is no name
    of a template is a template itself. Raises ValueError if there is none.
    """
    if isinstance(template, dict):
        wanted = name or ("tool_use" if has_tools and "tool_use" in template else "default")
        if wanted in template:
            return template[wanted]
        if name is None:
            raise ValueError(f"chat_template must be one of {', '.join(template)}: none is default")
    if name is not None:
        return name
    if template is None:
        raise ValueError(
            "this tokenizer has no chat template; give one as chat_template, or set the attribute"
        )
    return str(template)


def render(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """The text of a conversation.

    Raises ImportError with a hint if Jinja2 is missing, ValueError if the template is damaged or
    refuses the conversation.
    """
    try:
        import jinja2
        import jinja2.ext
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise ImportError('chat templates need Jinja2: pip install "tinybert[chat]"') from error

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    if len(template) > MAX_TEMPLATE:
        raise ValueError(f"chat_template may have {MAX_TEMPLATE} characters at most")

    class Generation(jinja2.ext.Extension):
        """{% generation %}, which marks what a model has said, leaves it as it is."""

        def __init__(self, environment: Any) -> None:
            super().__init__(environment)
            self.tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template).render(messages=messages, **variables)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"chat_template: {error}") from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, not escaped for HTML as Jinja2's own filter does."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class ChatTemplates:
    """The part of a tokenizer that makes rows of conversations."""

    chat_template: Template = None

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """The ids of a conversation, or of a batch of them, as the model was trained on it.

        Arguments:
            conversation: messages such as {"role": "user", "content": "Hello"}; or a list of lists.
            tools, documents: lists of dicts, given to the template, which may make use of them. A
                tool is a JSON schema; of functions none is made.
            chat_template: another template, or the name of one where the model has several.
            add_generation_prompt: end with what stands before an answer.
            continue_final_message: end with the last message, without what stands behind it.
            tokenize: give ids; False gives the text.
            padding, truncation, max_length, return_tensors, tokenizer_kwargs: options of a call.
            return_dict: all that a call gives, not the ids alone.
            **variables: more for the template; it also has the special tokens by role.

        Raises ImportError if Jinja2 is missing (extra "chat"); ValueError if there is no template,
        it is damaged, or refuses the conversation; TypeError if conversation, tools or documents
        are of another form.
        """
        if continue_final_message and add_generation_prompt:
            raise ValueError("continue_final_message excludes add_generation_prompt")
        if return_dict and not tokenize:
            raise ValueError("return_dict=True needs tokenize=True")
        template = choose_template(self.chat_template, chat_template, tools is not None)
        batched = is_batch(conversation)
        for name, value in (("tools", tools), ("documents", documents)):
            if value is not None and not _all_mappings(value):
                hint = ", each a JSON schema" if name == "tools" else ""
                raise TypeError(f"{name} must be a list of dicts{hint}; got {value!r:.200}")
        given = {**self.special_tokens_map, **variables}  # type: ignore[attr-defined]
        given |= {"tools": tools, "documents": documents}
        texts = []
        for messages in conversation if batched else [conversation]:
            fill = render_open if continue_final_message else render
            texts.append(
                fill(template, messages, add_generation_prompt=add_generation_prompt, **given)
            )
        chosen: Any = texts if batched else texts[0]
        if not tokenize:
            return chosen
        encoding = self(  # type: ignore[operator]
            chosen,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            add_special_tokens=False,
            return_tensors=return_tensors,
            **(tokenizer_kwargs or {}),
        )
        return encoding if return_dict else encoding["input_ids"]


def is_batch(conversation: Any) -> bool:
    """Whether these are several conversations; TypeError unless they are, or one."""
    if _all_mappings(conversation):
        return False
    if isinstance(conversation, (list, tuple)) and all(map(_all_mappings, conversation)):
        return True
    raise TypeError(
        'conversation must be a list of messages, dicts such as {"role": "user", "content": '
        f'"Hello"}}, or a list of such lists; got {conversation!r:.200}'
    )


def _all_mappings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(part, Mapping) for part in value)


def render_open(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """`render`, but without what the template puts behind the last message.

    A mark at the end of the message shows where that begins. Raises ValueError if it is lost.
    """
    if not messages:
        raise ValueError("continue_final_message needs a conversation with a last message")
    last = dict(messages[-1])
    if not isinstance(last.get("content"), str):
        raise ValueError("continue_final_message needs a last message whose content is a str")
    last["content"] += MARK
    text = render(template, [*messages[:-1], last], **variables)
    place = text.rfind(MARK.strip())
    if place < 0:
        raise ValueError("continue_final_message: the template does not show the last message")
    kept = text[:place]
    return kept if text.startswith(MARK, place) else kept.rstrip()  # the template strips messages
