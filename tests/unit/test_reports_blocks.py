"""Slack blocks: what templates make, Slack's limits, blocks as text."""

from decimal import Decimal

import pytest
from jinja2 import Environment

from signalroom.blocktext import aligned, as_text, classic, mrkdwn_to_text
from signalroom.errors import ConfigError, DataError
from signalroom.reports.blocks import Composer, check_blocks


def build(template, **variables):
    composer = Composer()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    rendered = environment.from_string(template).render(**variables, **composer.functions())
    return composer.blocks(rendered, "x.slack.j2")


def test_text_is_sections_and_hyphens_are_dividers():
    assert build("*One* & more\n---\n\nTwo\n{{ divider() }}") == [
        {"type": "section", "text": {"type": "mrkdwn", "text": "*One* & more"}},
        {"type": "divider"},
        {"type": "section", "text": {"type": "mrkdwn", "text": "Two"}},
        {"type": "divider"},
    ]


def test_what_is_inserted_is_escaped_once():
    made = build(
        "{{ v }}{{ header(v) }}{{ fields([v, '*b* ' ~ v]) }}{% call context() %}{{ v }}{% endcall %}",
        v='<!channel> & "it\'s"',
    )
    said = '&lt;!channel&gt; &amp; "it\'s"'
    assert made[0]["text"]["text"] == said
    assert made[1]["text"]["text"] == said
    assert made[2]["fields"][1]["text"] == "*b* " + said
    assert made[3]["elements"][0]["text"] == said


def test_tables_sort_numbers_and_keep_their_text():
    made = build(
        '{{ table(rows, {"Who": "label", "CPA": "cpa|cpa", "In": ["own", {true: "yes", false: "no"}]},'
        ' caption="C & D") }}',
        rows=[{"label": "<b>", "cpa": Decimal("1.5"), "own": True}, {"label": "x", "cpa": None, "own": None}],
    )
    assert made[0]["rows"][1] == [
        {"type": "raw_text", "text": "<b>"},
        {"type": "raw_number", "value": 1.5, "text": "$1.50"},
        {"type": "raw_text", "text": "yes"},
    ]
    assert made[0]["rows"][2][1] == {"type": "raw_text", "text": "n/a"}
    assert made[0]["rows"][2][2] == {"type": "raw_text", "text": "n/a"}
    assert made[0]["caption"] == "C & D"


def test_an_empty_table_says_so_and_a_chart_leaves_gaps_out():
    assert build('{{ table([], {"A": "a"}, caption="C") }}')[0]["text"]["text"] == "_No rows._"
    chart = build(
        '{{ line_chart(rows, "d", {"R": "r"}, "T") }}',
        rows=[{"d": "a", "r": 1}, {"d": "b", "r": None}, {"d": "c", "r": 0}],
    )[0]["chart"]
    assert chart["axis_config"]["categories"] == ["a", "c"]
    assert [point["value"] for point in chart["series"][0]["data"]] == [1, 0]


def test_names_that_are_cut_alike_stay_apart_in_a_chart():
    rows = [{"d": "x" * 30 + end, "r": 1} for end in "abc"]
    (block,) = build('{{ bar_chart(rows, "d", {"R": "r"}, "T") }}', rows=rows)
    categories = block["chart"]["axis_config"]["categories"]
    assert categories == ["x" * 20, "x" * 18 + " 2", "x" * 18 + " 3"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ header('x' * 151) }}", "150"),
        ("{{ 'x' * 3001 }}", "3,000"),
        ("{{ fields(['x'] * 11) }}", "ten fields"),
        ("{{ fields(['x' * 2001]) }}", "2000"),
        ("{% for i in range(51) %}{{ divider() }}{% endfor %}", "50"),
        ("{% for i in range(5) %}{{ section('x' * 2900) }}{% endfor %}", "13,200"),
        ("{{ table([{'a': 'x'}] * 201, {'A': 'a'}, caption='c') }}", "201"),
        (
            "{% for i in range(3) %}{{ line_chart([{'d': i, 'r': 1}], 'd', {'R': 'r'}, 'T') }}{% endfor %}",
            "two data vis",
        ),
        ("  ", "nothing"),
        ("{{ block(type='nope') }}", "Unknown block type"),
        ("{{ '\x1e9\x1e'|safe }}", "control character"),
    ],
)
def test_limits_of_slack(template, said):
    with pytest.raises(DataError) as caught:
        build(template)
    assert said in str(caught.value)


def test_wrong_columns_must_be_edited():
    with pytest.raises(ConfigError, match="Did you mean 'usd'"):
        build('{{ table([{"a": 1}], {"A": "a|uds"}, caption="c") }}')
    with pytest.raises(ConfigError, match=r"column of table\(\)"):
        build('{{ table([{"a": 1}], {"A": 5}, caption="c") }}')


def test_numbers_that_json_cannot_carry_are_refused():
    with pytest.raises(DataError, match="nan"):
        check_blocks([{"type": "x", "value": float("nan")}], "x")


def test_blocks_as_text():
    made = build(
        "{{ header('Head') }}{{ fields(['*A*\n1', '*B*\n2', '*C*\n3']) }}---\n"
        "<https://example.com|open> :warning: _it_ a_b_c 2*3*4 {{ '<' }}\n"
        "{{ table([{'a': 'Näme 日本', 'n': 5}], {'Name': 'a', 'N': 'n|count'}, caption='Cap') }}"
        "{{ bar_chart([{'d': 'x', 'r': 1}, {'d': 'y', 'r': 9}], 'd', {'R': 'r'}, 'Chart') }}"
        "{{ buttons({'Go': 'https://example.com', 'Not': ''}) }}"
    )
    text = as_text(made)
    assert "Head\n════" in text
    assert "A                           B\n1                           2" in text
    assert "open (https://example.com) ⚠ it a_b_c 2*3*4 <" in text
    assert "Cap\n\nName       N\n────────────\nNäme 日本  5" in text
    assert "R  ▁█  9" in text
    assert "[Go] https://example.com" in text
    assert "---" not in text


def test_a_slack_without_native_tables_gets_fixed_width():
    made = build("{{ table([{'a': '```<x>' * 6, 'n': 5}] * 150, {'Name': 'a', 'N': 'n|count'}, caption='Cap') }}hi")
    plain = classic(made)
    body = plain[0]["text"]["text"]
    assert plain[1] == made[1]
    assert len(body) <= 3000
    assert body.count("```") == 2
    assert "&lt;x&gt;" in body


def test_text_helpers():
    assert aligned([["a", "1"], ["bb", "22"]], right=[1]) == "a    1\nbb  22"
    assert aligned([]) == ""
    assert mrkdwn_to_text("<https://a.b> &lt;!here&gt; &amp;amp;") == "https://a.b <!here> &amp;"
    assert as_text([{"type": "video"}]) == "[video]\n"
