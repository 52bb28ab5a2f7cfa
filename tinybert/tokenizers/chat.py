"""Chat templates: a conversation as text, by the Jinja2 template of a model.

A template is a program from a file that is not trusted: it runs in Jinja2's sandbox, in a process
of its own with limits (`template_process.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinybert.display import short_repr
from tinybert.tokenizers.config import Template
from tinybert.tokenizers.template_process import run_template

MAX_TEMPLATE = 1_000_000  # characters

MARK = "<|the last message ends here|> "


def choose_template(template: Template, name: str | None, has_tools: bool) -> str:
    """Return the template of this name, or else "default".

    Without a name, a conversation with tools uses "tool_use". A `name` that is not the name of a
    template is a template itself. Raises ValueError if there is no template.
    """
    if isinstance(template, dict):
        key = name or ("tool_use" if has_tools and "tool_use" in template else "default")
        if key in template:
            return template[key]
        if name is None:
            raise ValueError(
                f"chat_template must be one of {', '.join(template)}: there is no default"
            )
    if name is not None:
        return name
    if template is None:
        raise ValueError(
            "this tokenizer has no chat template; give one as chat_template, or set the attribute"
        )
    return str(template)


def render(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Return the text of a conversation.

    Raises ImportError with a hint if Jinja2 is missing, ValueError if the template is damaged,
    rejects the conversation or takes too much (see `template_process.py`), TypeError for a variable
    that does not consist of dicts, lists, text and numbers.
    """
    if len(template) > MAX_TEMPLATE:
        raise ValueError(f"chat_template may have {MAX_TEMPLATE} characters at most")
    try:
        return run_template(template, {"messages": messages, **variables})
    except ValueError as error:
        raise ValueError(f"chat_template: {error}") from error


class ChatTemplates:
    """The part of a tokenizer that encodes conversations."""

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
        """Return the ids of a conversation, or of a batch, in the format of the model.

        Arguments:
            conversation: messages such as {"role": "user", "content": "Hello"}; or a list of lists.
            tools, documents: lists of dicts, passed to the template. A tool is a JSON schema, or a
                function that `tool_schema` describes by its annotations and its docstring.
            chat_template: another template, or the name of one where the model has several.
            add_generation_prompt: end with the text that precedes an answer.
            continue_final_message: end with the last message, without the text after it.
            tokenize: return ids; False returns the text.
            padding, truncation, max_length, return_tensors, tokenizer_kwargs: options of a call.
            return_dict: return the result of a call, not only the ids.
            **variables: more variables of the template, besides the special tokens by role.

        Raises ImportError if Jinja2 is missing (extra "chat"); ValueError if there is no template,
        it is damaged, or rejects the conversation; TypeError if conversation, tools or documents
        have another form.
        """
        if continue_final_message and add_generation_prompt:
            raise ValueError("continue_final_message excludes add_generation_prompt")
        if return_dict and not tokenize:
            raise ValueError("return_dict=True needs tokenize=True")
        template = choose_template(self.chat_template, chat_template, tools is not None)
        batched = is_batch(conversation)
        if isinstance(tools, (list, tuple)) and any(map(callable, tools)):
            from tinybert.tokenizers.tool_schema import tool_schema

            tools = [tool_schema(tool) if callable(tool) else tool for tool in tools]
        for name, value in (("tools", tools), ("documents", documents)):
            if value is not None and not _all_mappings(value):
                hint = ", each a JSON schema" if name == "tools" else ""
                raise TypeError(
                    f"{name} must be a list of dicts{hint}; got {short_repr(value, 200)}"
                )
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
    """Return whether these are several conversations or one; TypeError for anything else."""
    if _all_mappings(conversation):
        return False
    if isinstance(conversation, (list, tuple)) and all(map(_all_mappings, conversation)):
        return True
    raise TypeError(
        'conversation must be a list of messages, dicts such as {"role": "user", "content": '
        f'"Hello"}}, or a list of such lists; got {short_repr(conversation, 200)}'
    )


def _all_mappings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(part, Mapping) for part in value)


def render_open(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Return the text of a conversation without what the template adds after the last message.

    A mark at the end of the message shows its position. Raises ValueError if it is lost.
    """
    if not messages:
        raise ValueError("continue_final_message needs a conversation with a last message")
    last = dict(messages[-1])
    if not isinstance(last.get("content"), str):
        raise ValueError("continue_final_message needs a last message whose content is a str")
    last["content"] += MARK
    text = render(template, [*messages[:-1], last], **variables)
    position = text.rfind(MARK.strip())
    if position < 0:
        raise ValueError("continue_final_message: the template does not show the last message")
    kept = text[:position]
    return (
        kept if text.startswith(MARK, position) else kept.rstrip()
    )  # the template strips messages
