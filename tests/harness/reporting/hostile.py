"""Texts that try to become something else in a page or a terminal."""

MARK = "text_that_must_show"

TEXTS = {
    "script": f"<script>window.pwned = 1</script>{MARK}",
    "closing_tags": f"</pre></title></style></svg></details><script>window.pwned = 1</script>{MARK}",
    "attribute": f'" \' onmouseover=window.pwned=1 autofocus onfocus=window.pwned=1 x="{MARK}',
    "image": f"<img src=/beacon onerror=window.pwned=1>{MARK}",
    "svg": f"<svg onload=window.pwned=1><script>window.pwned=1</script><image href='/beacon'/></svg>{MARK}",
    "link": f"<a href='javascript:window.pwned=1'>x</a><base href='//example.invalid/'>{MARK}",
    "style": f"<style>@import '/beacon'; body {{ background: url(/beacon) }}</style>{MARK}",
    "frame": f"<iframe src=/beacon></iframe><meta http-equiv=refresh content='0;url=/beacon'>{MARK}",
    "comment": f"<!-- {MARK} --><![CDATA[",
    "template": f"{{{{ 7 * 7 }}}}{{% raw %}}{{# x #}}${{7*7}}{MARK}",
    "entity": f"&lt;script&gt;&#x202e;{MARK}",
    "escape_sequence": f"\x1b[2J\x1b]0;title\x07\x9b31m{MARK}",
    "rich_markup": f"[bold red]{MARK}[/] [link=file:///etc/passwd]x[/link] :smile:",
    "right_to_left": f"\u202e\u2067\u200f{MARK}",
    "surrogate_and_nul": f"\ud800\udfff\x00{MARK}",
    "right_to_left_script": f"שלום {MARK}",
    "combining_marks": f"Z{chr(0x0336) * 500}{MARK}",
    "one_syllable_of_hangul": chr(0x1100) * 500 + MARK,  # a line cannot be broken inside it
    "one_syllable_of_devanagari": "क" + "्क" * 500 + MARK,
    "long_line": MARK + "W" * 50_000,
    "long_word_of_cjk": MARK + "你" * 5_000,
}
