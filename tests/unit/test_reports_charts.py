"""Charts: drawn for any figures, said in words, with a font of our own."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from jinja2 import DictLoader, Environment

from signalroom.errors import DataError
from signalroom.reports import charts
from signalroom.reports.charts import Chart

CHART = Chart("trend", "Revenue & cost", "trend", "date", ("revenue", "cost"), "conversions", labels={"cost": "Spend"})


def days(values, conversions=5):
    return [
        {"date": date(2026, 11, 6) + timedelta(days=n), "revenue": value, "cost": value, "conversions": conversions}
        for n, value in enumerate(values)
    ]


def draw(records, chart=CHART):
    loader = DictLoader({charts.TEMPLATE_NAME: charts.template_source()})
    return charts.svg(chart, records, Environment(autoescape=True, loader=loader))


@pytest.mark.parametrize(
    "values",
    [
        [],
        [Decimal(5)],
        [None],
        [0] * 14,
        [None, 1, None, 2, None],
        [Decimal("1e300"), Decimal("-1e300")],
        [-5, -3],
        [10**30] * 3,
        [Decimal("0.0001"), Decimal("0.0002")],
        list(range(400)),
    ],
)
def test_any_figures_can_be_drawn(values):
    picture = draw(days(values))
    png = charts.png(picture)
    assert png[16:24] == (charts.WIDTH * 2).to_bytes(4, "big") + (320 * 2).to_bytes(4, "big")
    for never in ("nan", "inf", "None", "E+"):
        assert never not in picture
    assert charts.alt_text(CHART, days(values))


def test_a_gap_breaks_the_line_and_a_lone_point_is_a_dot():
    picture = draw(days([1, 2, None, 4, None, 5, 6]), Chart("t", "T", "t", "date", ("revenue",)))
    assert picture.count("M") - picture.count('<path d="M') >= 1
    assert picture.count("<circle") == 2


def test_words_for_the_picture():
    assert charts.alt_text(CHART, days([Decimal("1000.4"), None, Decimal(3000)])) == (
        "Revenue & cost, 11/06 to 11/08. Revenue: last $3,000, lowest $1,000, highest $3,000. "
        "Spend: last $3,000, lowest $1,000, highest $3,000. Conversions: last 5, lowest 5, highest 5."
    )
    assert charts.alt_text(CHART, []) == "Revenue & cost: no data."


def test_letters_are_drawn_without_the_fonts_of_the_system():
    with_text = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30">'
        '<text y="20" font-family="Roboto">{}</text></svg>'
    )
    empty, latin, bold = (
        charts.png(with_text.format(text)) for text in ("", "Wy", '<tspan font-weight="700">Wy</tspan>')
    )
    assert len({empty, latin, bold}) == 3


def test_columns_that_are_missing_or_inexact_are_named():
    with pytest.raises(DataError, match=r"shows 'cost', which the query 'trend' does not return. Did you mean 'costs'"):
        draw([{"date": date(2026, 1, 1), "revenue": 1, "costs": 1, "conversions": 1}])
    with pytest.raises(DataError, match="float"):
        draw(days([1.5]))


def test_names_on_the_axis_are_escaped():
    picture = draw([{"date": "<b>&" * 50, "revenue": 1, "cost": 1, "conversions": 1}])
    assert "<b>" not in picture
    assert charts.png(picture)
